"""Attention of one head over a long sequence on a CPU, in blocks of query rows.

For images of a thousand patches and more the fused kernel of torch is bound by its matrix products, which it
gives to MKL (see `cpu`). Here they go to oneDNN where that is faster; a block's weights stay in the cache.

Shape letters: r query rows (those of all heads that share the key head), l keys, d head dimension.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sightline.modules.cpu import product
from sightline.modules.randomness import MaskSource

# Keys from which on this way is faster than one batched product per head.
LONG = 400
# Attention weights worked on at once: 4 MB in float32. Fewer and the operators are too short for several cores, more
# and they leave the caches.
BLOCK_WEIGHTS = 1_000_000


def forward(
    query_rd: Tensor,
    key_ld: Tensor,
    value_ld: Tensor,
    scale: float,
    hidden_rl: Tensor | None,
    masks: MaskSource | None,
) -> Tensor:
    """(r, d) attention; arguments contiguous.

    Args:
        scale: of the scores.
        hidden_rl: True where a row may not look, or None.
        masks: dropout of the weights, or None.
    """
    result_rd = torch.empty_like(query_rd)
    key_ld = key_ld * scale
    value_dl = value_ld.t().contiguous()
    for rows in _row_blocks(len(query_rd), len(key_ld)):
        weights = _weights(query_rd[rows], key_ld, hidden_rl, rows)
        if masks is not None:
            weights.mul_(masks.draw(tuple(weights.shape)))
        result_rd[rows] = product(weights, value_dl, None)
    return result_rd if masks is None else result_rd.mul_(masks.scale)


def backward(
    gradient_rd: Tensor,
    query_rd: Tensor,
    key_ld: Tensor,
    value_ld: Tensor,
    scale: float,
    hidden_rl: Tensor | None,
    masks: MaskSource | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query (r, d), key and value (l, d)."""
    for_query = torch.empty_like(query_rd)
    # Summed transposed: a product whose right side is a block of weights as it lies is two to three times as
    # fast as one whose left side is that block transposed.
    for_key_dl, for_value_dl = (torch.zeros(one.shape[1], len(one)) for one in (key_ld, value_ld))
    key_ld = key_ld * scale
    key_dl = key_ld.t().contiguous()
    for rows in _row_blocks(len(query_rd), len(key_ld)):
        weights = _weights(query_rd[rows], key_ld, hidden_rl, rows)
        gradient = gradient_rd[rows] if masks is None else gradient_rd[rows] * masks.scale
        for_weights = product(gradient, value_ld, None)
        if masks is None:
            dropped = weights
        else:
            mask = masks.draw(tuple(weights.shape))
            for_weights.mul_(mask)
            dropped = mask.mul_(weights)
        for_value_dl.add_(product(gradient.t().contiguous(), dropped.t(), None))
        for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)
        for_query[rows] = product(for_scores, key_dl, None)
        for_key_dl.add_(product(query_rd[rows].t().contiguous(), for_scores.t(), None))
    return for_query, for_key_dl.t().mul(scale), for_value_dl.t()


def _weights(query: Tensor, scaled_key_ld: Tensor, hidden_rl: Tensor | None, rows: slice) -> Tensor:
    scores = product(query, scaled_key_ld, None)
    if hidden_rl is not None:
        scores.masked_fill_(hidden_rl[rows], -torch.inf)
    return torch.softmax(scores, -1, out=scores)


def _row_blocks(rows: int, keys: int) -> Iterator[slice]:
    step = max(16, BLOCK_WEIGHTS // keys)
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
