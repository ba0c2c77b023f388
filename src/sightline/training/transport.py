"""Tensors as one buffer, so that a batch crosses the process boundary, and the bus to the device, as one piece.

torch hands every tensor over as its own file descriptor, which a batch of 64 triplets in micro-batches of
one (768 tensors) times the prefetched batches would run out of. One buffer is one descriptor; the tensors are
views into it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, overload

import torch
from torch import Tensor

from sightline.types import Cost, Features, MicroBatch

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


class _Packer:
    """Gives tensors their places, then copies them into one buffer."""

    def __init__(self) -> None:
        self._copies: list[tuple[_Place, Tensor]] = []
        self._end = 0

    def place(self, tensor: Tensor) -> _Place:
        here = _Place(self._end, tensor.dtype, tuple(tensor.shape))
        self._copies.append((here, tensor))
        self._end = -(-(self._end + here.nbytes) // ALIGNMENT) * ALIGNMENT
        return here

    def buffer(self, *, pinned: bool = False) -> Tensor:
        buffer = torch.empty(self._end, dtype=torch.uint8, pin_memory=pinned)
        for where, tensor in self._copies:
            where.view(buffer).copy_(tensor)
        return buffer


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
    def pack(cls, micro_batches: Sequence[MicroBatch], *, pinned: bool = False) -> PackedMicroBatches:
        """Copies the tensors of ``micro_batches`` (on the CPU) into one buffer.

        Args:
            micro_batches: what to pack.
            pinned: in page-locked memory, from which CUDA copies while the program goes on.
        """
        packer = _Packer()
        layouts = []
        for micro_batch in micro_batches:
            features = micro_batch.features
            layouts.append(
                _Layout(
                    places={name: packer.place(v) for name, v in features.items() if isinstance(v, Tensor)},
                    constants={name: v for name, v in features.items() if not isinstance(v, Tensor)},
                    indices=packer.place(micro_batch.indices),
                    cost=micro_batch.cost,
                    padded_tokens=micro_batch.padded_tokens,
                )
            )
        return cls(packer.buffer(pinned=pinned), layouts)

    @property
    def nbytes(self) -> int:
        """Size of the buffer in bytes."""
        return self._buffer.numel()

    def pinned(self) -> PackedMicroBatches:
        """The same in page-locked memory."""
        return PackedMicroBatches(self._buffer.pin_memory(), self._layouts)

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


class PackedFeatures:
    """Features of several items whose tensors are views into one buffer."""

    def __init__(self, features: Sequence[Features]) -> None:
        packer = _Packer()
        self._places = [{name: packer.place(v) for name, v in one.values.items()} for one in features]
        self._bare = [replace(one, values={}) for one in features]
        self._buffer = packer.buffer()

    @property
    def nbytes(self) -> int:
        """Size of the buffer in bytes."""
        return self._buffer.numel()

    def unpack(self) -> list[Features]:
        """The features again, in the same order."""
        return [
            replace(bare, values={name: place.view(self._buffer) for name, place in places.items()})
            for bare, places in zip(self._bare, self._places, strict=True)
        ]


def ahead(micro_batches: Sequence[MicroBatch], device: torch.device) -> Iterator[MicroBatch]:
    """Micro-batches on ``device``, in order; on CUDA each is copied while the one before is computed with.

    The copy overlaps where the micro-batches lie in page-locked memory. On other devices a micro-batch is moved
    when it is asked for.
    """
    if device.type != "cuda":
        for micro_batch in micro_batches:
            yield micro_batch.to(device)
        return
    copying = torch.cuda.Stream(device)

    def start(number: int) -> tuple[MicroBatch, torch.cuda.Event] | None:
        if number == len(micro_batches):
            return None
        with torch.cuda.stream(copying):
            moved = micro_batches[number].to(device, non_blocking=True)
            return moved, copying.record_event()

    coming = start(0)
    number = 0
    while coming is not None:
        micro_batch, copied = coming
        number += 1
        coming = start(number)
        computing = torch.cuda.current_stream(device)
        computing.wait_event(copied)
        _used_by(micro_batch.features, computing)
        yield micro_batch


def _used_by(features: Mapping[str, Any], stream: torch.cuda.Stream) -> None:
    """Keeps the allocator from giving memory of the copying stream away before ``stream`` has read it."""
    for value in features.values():
        if isinstance(value, Tensor):
            value.record_stream(stream)
