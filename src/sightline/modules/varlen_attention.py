"""Attention over segments in one kernel on a GPU: torch's own flash attention for sequences of any lengths.

It needs no package beside torch, computes in half precision only, and knows no dropout.

Shape letters: T tokens of the row, H heads, K key heads, d head dimension, n sequences.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.modules.segments import Segments

# What flash attention computes in.
HALF = (torch.bfloat16, torch.float16)


def suits(query: Tensor, dropout: float) -> bool:
    """Whether the kernel takes such queries."""
    return query.device.type == "cuda" and query.dtype in HALF and not dropout


def varlen(
    query_THd: Tensor,
    key_TKd: Tensor,
    value_TKd: Tensor,
    packed: Segments,
    scale: float,
    causal: bool,
    sliding_window: int | None,
) -> Tensor:
    """(T, H, d) attention within each segment.

    Args:
        packed: where the segments lie.
        scale: factor of the scores.
        causal: no position sees a later one.
        sliding_window: positions nearer than this see each other; None for all.

    Raises:
        ImportError: this release of torch has no such kernel.
        RuntimeError: this GPU, head size or number type is not for it.
    """
    # Not at the top: releases of torch before 2.10 lack it.
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = packed.bounds(query_THd.device), max(packed.lengths)
    # The kernel counts neighbours without the position itself; -1 is all of them.
    near = -1 if sliding_window is None else sliding_window - 1
    found = varlen_attn(
        query_THd,
        key_TKd,
        value_TKd,
        bounds,
        bounds,
        longest,
        longest,
        scale=scale,
        window_size=(near, 0 if causal else near),
        enable_gqa=key_TKd.shape[1] != query_THd.shape[1],
    )
    assert isinstance(found, Tensor)  # more than the result comes only where it is asked for
    return found
