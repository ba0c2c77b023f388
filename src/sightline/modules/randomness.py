"""Dropout masks on a CPU, drawn from a seed twice rather than kept.

torch's own dropout on a CPU draws a float per element and keeps it for the backward pass: for attention
weights that alone is more memory than the rest of the graph. Here a mask is 16 random bits per element, drawn
again from the same seed in the backward pass. A probability is rounded to a multiple of 1/65536.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

_LEVELS = 65_536  # of a 16-bit draw


def fresh_seed() -> int:
    """A seed from torch's global generator, so that replaying its state replays the masks."""
    return int(torch.randint(2**62, (1,)).item())


class MaskSource:
    """Draws keep masks, the same ones in the same order for the same seed.

    Args:
        probability: of an element to be dropped.
        seed: from `fresh_seed`.
    """

    def __init__(self, probability: float, seed: int) -> None:
        dropped = round(probability * _LEVELS)
        self.threshold = dropped - _LEVELS // 2  # draws are signed
        self.scale = _LEVELS / (_LEVELS - dropped) if dropped < _LEVELS else 0.0
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """1 where an element is kept and 0 where it is dropped; multiply what is kept by ``scale``."""
        count = prod(shape)
        bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(
            torch.iinfo(torch.int64).min, None, generator=self._generator
        )
        # Comparing floats in place is several times faster on a CPU than making and applying a bool mask.
        mask = torch.empty(shape, dtype=dtype)
        mask.view(-1).copy_(bits.view(torch.int16)[:count])
        return mask.ge_(self.threshold)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float, seed: int) -> Tensor:
        ctx.probability, ctx.seed = probability, seed
        return _masked(values, probability, seed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _masked(gradients[0], ctx.probability, ctx.seed), None, None


def _masked(values: Tensor, probability: float, seed: int) -> Tensor:
    source = MaskSource(probability, seed)
    mask = source.draw(tuple(values.shape)).mul_(source.scale)
    return values * mask if values.dtype == torch.float32 else (values * mask).to(values.dtype)


@torch.compiler.disable
def dropout(values: Tensor, probability: float) -> Tensor:
    """Dropout of a CPU tensor that keeps eight bytes for the backward pass instead of a mask."""
    result: Tensor = _Dropout.apply(values, probability, fresh_seed())
    return result
