"""Micro-batches as one buffer, so that a batch crosses the process boundary as one tensor.

torch hands every tensor over as its own file descriptor, which a batch of 64 triplets in micro-batches of
one (768 tensors) times the prefetched batches would run out of. One buffer is one descriptor; the tensors are
views into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, overload

import torch
from torch import Tensor

from sightline.types import Cost, MicroBatch

ALIGNMENT = 64  # bytes; a view as a wider type needs an aligned start, and kernels like a cache line


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in the buffer."""

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def view(self, buffer: Tensor) -> Tensor:
        return buffer[self.offset : self.offset + self.nbytes].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class _Layout:
    """One micro-batch without its tensors' bytes."""

    places: dict[str, _Place]
    constants: dict[str, Any]
    indices: _Place
    cost: Cost
    padded_tokens: int


class PackedMicroBatches(Sequence[MicroBatch]):
    """Micro-batches whose tensors are views into one buffer, made when asked for."""

    def __init__(self, buffer: Tensor, layouts: Sequence[_Layout]) -> None:
        self._buffer = buffer
        self._layouts = tuple(layouts)

    @classmethod
    def pack(cls, micro_batches: Sequence[MicroBatch]) -> PackedMicroBatches:
        """Copies the tensors of ``micro_batches`` (on the CPU) into one buffer."""
        layouts: list[_Layout] = []
        copies: list[tuple[_Place, Tensor]] = []
        end = 0

        def place(tensor: Tensor) -> _Place:
            nonlocal end
            here = _Place(end, tensor.dtype, tuple(tensor.shape))
            copies.append((here, tensor))
            end = -(-(end + here.nbytes) // ALIGNMENT) * ALIGNMENT
            return here

        for micro_batch in micro_batches:
            features = micro_batch.features
            layouts.append(
                _Layout(
                    places={name: place(v) for name, v in features.items() if isinstance(v, Tensor)},
                    constants={name: v for name, v in features.items() if not isinstance(v, Tensor)},
                    indices=place(micro_batch.indices),
                    cost=micro_batch.cost,
                    padded_tokens=micro_batch.padded_tokens,
                )
            )
        buffer = torch.empty(end, dtype=torch.uint8)
        for where, tensor in copies:
            where.view(buffer).copy_(tensor)
        return cls(buffer, layouts)

    @property
    def nbytes(self) -> int:
        """Size of the buffer in bytes."""
        return self._buffer.numel()

    def __len__(self) -> int:
        return len(self._layouts)

    @overload
    def __getitem__(self, index: int) -> MicroBatch: ...
    @overload
    def __getitem__(self, index: slice) -> list[MicroBatch]: ...
    def __getitem__(self, index: int | slice) -> MicroBatch | list[MicroBatch]:
        if isinstance(index, slice):
            return [self._unpack(layout) for layout in self._layouts[index]]
        return self._unpack(self._layouts[index])

    def _unpack(self, layout: _Layout) -> MicroBatch:
        tensors = {name: place.view(self._buffer) for name, place in layout.places.items()}
        return MicroBatch(
            features=tensors | layout.constants,
            indices=layout.indices.view(self._buffer),
            cost=layout.cost,
            padded_tokens=layout.padded_tokens,
        )
