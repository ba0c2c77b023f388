"""Attention over segments, and attention with dropout on a CPU.

transformers calls an attention function by name (its AttentionInterface); `NAME` is ours. For a packed row it
attends within each segment: in one kernel on a GPU (`varlen_attention`), elsewhere neighbours of equal length as one
batch. For an ordinary batch it is transformers' ``sdpa``.

On a CPU ``scaled_dot_product_attention`` with dropout falls back to a path that writes several (L, L) matrices
per head and keeps them. `_BlockAttention` works in blocks that stay in the cache and keeps only query, key and
value; its backward pass computes the weights again (as Dao et al. 2022, arXiv:2205.14135, do on a GPU).

Shape letters: T tokens of the row, H heads, K key heads, d head dimension, g sequences of length l, b = g * H.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sightline.modules import long_attention, segments, varlen_attention
from sightline.modules.cpu import onednn_is_faster
from sightline.modules.randomness import MaskSource, fresh_seed

NAME = "sightline"

# Attention weights worked on at once: about 800 kB in float32, which stays in a core's second-level cache.
BLOCK_WEIGHTS = 200_000


# Arguments of transformers' attention functions that only its own ``sdpa`` knows what to do with.
_EXTRAS = ("position_bias", "softcap", "cache", "s_aux")


# Not for the compiler: it cannot follow the seeds of dropout, nor loops over segments.
@torch.compiler.disable
def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: (N, H, T, d) query and (N, K, T, d) key, value -> (N, T, H, d)."""
    packed = segments.current()
    on_cpu = query.device.type == "cpu"
    if query.dtype != value.dtype:
        # Under autocast norms of queries and keys give float32; autocast makes them alike for torch's own attention.
        query, key = query.to(value.dtype), key.to(value.dtype)
    if packed is None or packed.total != query.shape[2] or query.shape[0] != 1:
        length = query.shape[2]
        plain = attention_mask is None and length == key.shape[2] and value.shape[-1] == query.shape[-1]
        plain = plain and all(kwargs.get(name) is None for name in _EXTRAS)
        if not (on_cpu and plain and _in_blocks(length, query, dropout)):
            return sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
                is_causal=is_causal, **kwargs,
            )  # fmt: skip
        count = len(query)
        query, key, value = (_row(one) for one in (query, key, value))
        packed = segments.Segments((length,) * count)
        shape = (count, length)
    else:
        query, key, value = (_row(one) for one in (query, key, value))
        shape = (1, packed.total)
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if on_cpu and _in_blocks(max(packed.lengths), query, dropout):
        result = _BlockAttention.apply(
            query,
            key,
            value,
            packed.groups,
            scale,
            causal,
            sliding_window,
            dropout,
            fresh_seed() if dropout else 0,
        )
    elif varlen_attention.suits(query, dropout):
        result = varlen_attention.varlen(query, key, value, packed, scale, causal, sliding_window)
    else:
        result = _per_group(query, key, value, packed.groups, scale, causal, sliding_window, dropout)
    return result.view(*shape, *result.shape[1:]), None


AttentionInterface.register(NAME, attention)


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """No mask for a packed row: `attention` keeps its segments apart."""
    return sdpa_mask(*args, **kwargs) if segments.current() is None else None


AttentionMaskInterface.register(NAME, _mask)


def _row(heads: Tensor) -> Tensor:
    """(T, H, d) out of (N, H, L, d), T = N * L; no copy where the model's own layout was (N, L, H * d)."""
    return heads.transpose(1, 2).flatten(0, 1)


def _window(length: int, causal: bool, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """(l, l) bool of what a position may look at, or None where that is everything or only causality."""
    if sliding_window is None or length <= sliding_window:
        return None
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None, :]
    near = distance.abs() < sliding_window
    return near & (distance >= 0) if causal else near


def _per_group(
    query_THd: Tensor,
    key_TKd: Tensor,
    value_TKd: Tensor,
    groups: Sequence[tuple[int, int]],
    scale: float,
    causal: bool,
    sliding_window: int | None,
    dropout: float,
) -> Tensor:
    """(T, H, d): the fused kernel, once per group."""
    sizes = [count * length for count, length in groups]
    results: list[Tensor] = []
    # split, not slices: the backward pass of a slice fills a whole tensor with zeros, that of split is one cat.
    parts = zip(groups, *(one.split(sizes) for one in (query_THd, key_TKd, value_TKd)), strict=True)
    for (count, length), query, key, value in parts:
        query, key, value = (one.unflatten(0, (count, length)).transpose(1, 2) for one in (query, key, value))
        if key.shape[1] != query.shape[1]:
            repeats = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        mask = _window(length, causal, sliding_window, query.device)
        found = nn.functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            scale=scale,
            dropout_p=dropout,
            is_causal=causal and mask is None,
        )
        results.append(found.transpose(1, 2).flatten(0, 1))
    return results[0] if len(results) == 1 else torch.cat(results)


class _BlockAttention(torch.autograd.Function):
    """(T, H, d) attention within each group's sequences, with dropout on the weights."""

    @staticmethod
    def forward(
        ctx: Any,
        query_THd: Tensor,
        key_TKd: Tensor,
        value_TKd: Tensor,
        groups: Sequence[tuple[int, int]],
        scale: float,
        causal: bool,
        sliding_window: int | None,
        dropout: float,
        seed: int,
    ) -> Tensor:
        ctx.save_for_backward(query_THd, key_TKd, value_TKd)
        ctx.facts = (groups, scale, causal, sliding_window, dropout, seed)
        result_THd = torch.empty(query_THd.shape, dtype=query_THd.dtype)
        masks = MaskSource(dropout, seed) if dropout else None
        heads = key_TKd.shape[1]
        repeats = query_THd.shape[1] // heads
        for block in _blocks(groups, heads, repeats, causal, sliding_window):
            query, key, value = block.of(query_THd, repeats), block.of(key_TKd), block.of(value_TKd)
            if _is_long(block.length, query):
                query_rd, key_ld, value_ld = (one[0].contiguous() for one in (query, key, value))
                alone = long_attention.forward(query_rd, key_ld, value_ld, scale, block.hidden, masks)
                block.put(alone[None], result_THd, repeats)
                continue
            weights = _weights(query, key, scale, block.hidden)
            if masks is not None:
                weights.mul_(masks.draw(tuple(weights.shape), weights.dtype))
            found = torch.bmm(weights.to(value.dtype), value)
            block.put(found if masks is None else found.mul_(masks.scale), result_THd, repeats)
        return result_THd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query_THd, key_TKd, value_TKd = ctx.saved_tensors
        groups, scale, causal, sliding_window, dropout, seed = ctx.facts
        masks = MaskSource(dropout, seed) if dropout else None
        gradient_THd = gradients[0]
        result = tuple(torch.empty(one.shape, dtype=one.dtype) for one in (query_THd, key_TKd, value_TKd))
        heads = key_TKd.shape[1]
        repeats = query_THd.shape[1] // heads
        for block in _blocks(groups, heads, repeats, causal, sliding_window):
            query, key, value = block.of(query_THd, repeats), block.of(key_TKd), block.of(value_TKd)
            gradient = block.of(gradient_THd, repeats)
            if _is_long(block.length, query):
                gradient_rd, query_rd, key_ld, value_ld = (
                    one[0].contiguous() for one in (gradient, query, key, value)
                )
                found = long_attention.backward(
                    gradient_rd, query_rd, key_ld, value_ld, scale, block.hidden, masks
                )
                for one, place, stacked in zip(found, result, (repeats, 1, 1), strict=True):
                    block.put(one[None], place, stacked)
                continue
            weights = _weights(query, key, scale, block.hidden)
            if masks is None:
                dropped = weights
            else:
                gradient = gradient * masks.scale
                mask = masks.draw(tuple(weights.shape), weights.dtype)
                dropped = weights * mask
            for_value = torch.bmm(dropped.to(value.dtype).transpose(1, 2), gradient)
            for_weights = torch.bmm(gradient, value.transpose(1, 2)).to(weights.dtype)
            if masks is not None:
                for_weights.mul_(mask)
            for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype).to(key.dtype)
            block.put(torch.bmm(for_scores, key).mul_(scale), result[0], repeats)
            block.put(torch.bmm(for_scores.transpose(1, 2), query).mul_(scale), result[1])
            block.put(for_value, result[2])
        return (*result, None, None, None, None, None, None)


def _in_blocks(length: int, query: Tensor, dropout: float) -> bool:
    """Whether `_BlockAttention` is the faster way on a CPU.

    In bfloat16 the fused kernel's forward pass is a tenth faster than plain products, its backward pass up to
    five times slower.
    """
    low = query.dtype == torch.bfloat16 and torch.is_grad_enabled()
    return bool(dropout) or low or _is_long(length, query)


def _is_long(length: int, query: Tensor) -> bool:
    """Whether a block goes row by row; such a block is a single head of a single sequence."""
    return length >= long_attention.LONG and query.dtype == torch.float32 and onednn_is_faster()


def _weights(query: Tensor, key: Tensor, scale: float, hidden: Tensor | None) -> Tensor:
    """Softmax of the scores, (b, l, l), in float32 at least."""
    scores = torch.bmm(query, key.transpose(1, 2))
    if scores.dtype in (torch.bfloat16, torch.float16):
        scores = scores.float()
    scores.mul_(scale)
    if hidden is not None:
        scores.masked_fill_(hidden, -torch.inf)
    return torch.softmax(scores, -1, out=scores)


class _Block:
    """Some key heads of some sequences of one length, as one batch of matrices.

    Query heads that share a key head (grouped-query attention) are stacked as further rows of its matrix, so
    that nothing is repeated and the key's gradient sums itself.
    """

    def __init__(self, tokens: slice, length: int, key_heads: slice, hidden: Tensor | None) -> None:
        self.tokens, self.length, self.key_heads, self.hidden = tokens, length, key_heads, hidden

    def of(self, row_THd: Tensor, repeats: int = 1) -> Tensor:
        """(b, repeats * l, d) of a row with ``repeats`` heads per key head."""
        return (
            self._view(row_THd, repeats)
            .permute(0, 2, 3, 1, 4)
            .reshape(-1, repeats * self.length, row_THd.shape[-1])
        )

    def put(self, found: Tensor, row_THd: Tensor, repeats: int = 1) -> None:
        """Writes (b, repeats * l, d) to where `of` reads."""
        view = self._view(row_THd, repeats)
        sequences, length, heads, _, dim = view.shape
        view.copy_(found.view(sequences, heads, repeats, length, dim).permute(0, 3, 1, 2, 4))

    def _view(self, row_THd: Tensor, repeats: int) -> Tensor:
        """(g, l, key heads, repeats, d)."""
        by_key_head = row_THd[self.tokens].unflatten(1, (-1, repeats))[:, self.key_heads]
        return by_key_head.unflatten(0, (-1, self.length))


def _blocks(
    groups: Sequence[tuple[int, int]], heads: int, repeats: int, causal: bool, sliding_window: int | None
) -> Iterator[_Block]:
    """All blocks of a row, each of about `BLOCK_WEIGHTS` attention weights.

    Args:
        groups: (count, length) of sequences of equal length.
        heads: K, key heads.
        repeats: query heads per key head.
    """
    start = 0
    for count, length in groups:
        hidden = None
        if causal or (sliding_window is not None and length > sliding_window):
            seen = _window(length, causal, sliding_window, torch.device("cpu"))
            hidden = ~(torch.ones(length, length, dtype=torch.bool).tril_() if seen is None else seen)
            hidden = hidden.repeat(repeats, 1)
        one_head = repeats * length * length
        sequences = max(1, BLOCK_WEIGHTS // (one_head * heads))
        some_heads = heads if sequences > 1 else min(heads, max(1, BLOCK_WEIGHTS // one_head))
        if length >= long_attention.LONG:
            sequences = some_heads = 1
        for first in range(0, count, sequences):
            tokens = slice(start + first * length, start + min(count, first + sequences) * length)
            for head in range(0, heads, some_heads):
                yield _Block(tokens, length, slice(head, min(heads, head + some_heads)), hidden)
        start += count * length
