"""Sequences without padding: all tokens of a micro-batch in one row, each sequence a segment of it.

A padded micro-batch (n, L) computes on every padded position; packed, the same tokens stand in one row (1, T)
and only attention has to know where a sequence ends. The backbone packs before it calls the model and unpacks
what comes out, so nothing outside of it sees the packed form.

Shape letters: n sequences, L longest of them, T tokens of all of them, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """Where the sequences of a packed row lie.

    Attributes:
        lengths: tokens of each sequence, in order.
    """

    lengths: tuple[int, ...]
    _bounds: dict[torch.device, Tensor] = field(default_factory=dict, compare=False, repr=False)

    @property
    def total(self) -> int:
        """T, tokens of all sequences."""
        return sum(self.lengths)

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """(count, length) of neighbours of equal length: attention takes them as one batch."""
        return tuple((len(list(run)), length) for length, run in groupby(self.lengths))

    def bounds(self, device: torch.device) -> Tensor:
        """(n + 1,) int32: where each sequence begins, and T; what flash attention calls cu_seqlens.

        Moved to a device once, not by every layer.
        """
        if device not in self._bounds:
            ends = torch.tensor((0, *self.lengths), dtype=torch.int32)
            self._bounds[device] = ends.cumsum(0, dtype=torch.int32).to(device)
        return self._bounds[device]

    def positions(self, device: torch.device) -> Tensor:
        """(1, T) long: the position of every token in its own sequence, counted from 0."""
        steps = torch.arange(max(self.lengths, default=0))
        return torch.cat([steps[:length] for length in self.lengths]).unsqueeze(0).to(device)


_CURRENT: ContextVar[Segments | None] = ContextVar("sightline_segments", default=None)


def current() -> Segments | None:
    """The segments of the row that the model is working on in this context, or None for a padded batch."""
    return _CURRENT.get()


@contextmanager
def working_on(segments: Segments) -> Iterator[None]:
    """Attention calls inside keep the segments apart."""
    token = _CURRENT.set(segments)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def pack(values: Tensor, real_R: Tensor) -> Tensor:
    """(1, T) out of padded (n, L): the real positions, row after row."""
    return values.flatten()[real_R].unsqueeze(0)


def unpack(tokens_1TD: Tensor, real_R: Tensor, shape: tuple[int, int]) -> Tensor:
    """(n, L, D) out of packed (1, T, D), zeros where there is no token."""
    tokens_TD = tokens_1TD[0]
    flat = tokens_TD.new_zeros(shape[0] * shape[1], tokens_TD.shape[-1])
    return flat.index_copy(0, real_R, tokens_TD).view(*shape, -1)
