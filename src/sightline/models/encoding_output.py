"""Where vectors go while they are made: into memory, or into a ``.npy`` file.

Shape letters: N items in all, n of one piece, D components.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from sightline.errors import ConfigError
from sightline.types import Embeddings


class Output(Protocol):
    """Takes the vectors in the order of the inputs, piece by piece."""

    def add(self, piece: Embeddings) -> None:
        """The next n vectors."""
        ...

    def rows(self, numbers: list[int]) -> Embeddings:
        """Vectors (n, D) added before, by their row."""
        ...

    def finish(self) -> Embeddings:
        """All vectors (N, D)."""
        ...

    def close(self) -> None:
        """Lets go of what `finish` would have completed; after `finish` it does nothing."""
        ...


class MemoryOutput:
    """Vectors in memory; where N is known, in one piece from the start.

    Args:
        count: N, or None.
        dim: D, for the case that nothing is added.
    """

    def __init__(self, count: int | None, dim: int) -> None:
        self.count, self.dim = count, dim
        self._values_ND: Tensor | None = None
        self._pieces: list[Embeddings] = []
        self._starts: list[int] = []
        self._filled = 0

    def add(self, piece: Embeddings) -> None:
        if self.count is not None and piece.mask is None:
            if self._values_ND is None:
                with torch.inference_mode(False):  # tensors of inference mode cannot enter a graph later on
                    self._values_ND = piece.values.new_empty(self.count, piece.dim)
            self._values_ND[self._filled : self._filled + len(piece)] = piece.values
        else:
            self._pieces.append(piece)
            self._starts.append(self._filled)
        self._filled += len(piece)

    def rows(self, numbers: list[int]) -> Embeddings:
        if self._values_ND is not None:
            return Embeddings(self._values_ND[numbers])
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        return Embeddings.concatenate(
            [
                self._pieces[place][number - self._starts[place]]
                for place, number in zip(places, numbers, strict=True)
            ]
        )

    def finish(self) -> Embeddings:
        if self._values_ND is not None:
            assert self._filled == self.count, f"{self._filled} of {self.count} vectors"
            return Embeddings(self._values_ND)
        if self._pieces:
            return _joined(self._pieces)
        return Embeddings(torch.zeros(0, self.dim))

    def close(self) -> None:
        self._pieces.clear()


def _joined(pieces: list[Embeddings]) -> Embeddings:
    """All pieces as one, padded to the longest; each is let go of when it is copied, so memory holds little more."""
    if pieces[0].mask is None or len(pieces) == 1:
        return Embeddings.concatenate(pieces)
    count, longest = sum(map(len, pieces)), max(piece.values.shape[1] for piece in pieces)
    with torch.inference_mode(False):
        values = pieces[0].values.new_zeros(count, longest, pieces[0].dim)
        mask = torch.zeros(count, longest, dtype=torch.bool)
    end = count
    while pieces:
        piece = pieces.pop()
        assert piece.mask is not None
        begin, width = end - len(piece), piece.values.shape[1]
        values[begin:end, :width], mask[begin:end, :width] = piece.values, piece.mask
        end = begin
    return Embeddings(values, mask)


class FileOutput:
    """Vectors in a ``.npy`` file of float32 (N, D), which any NumPy reads; none of them stays in memory.

    The file is written beside its place and moved there when it is whole, so that what stands under the name
    is never half a file.

    Args:
        path: the file; its folder is made if needed, a file that is there is replaced.
        dim: D.

    Raises:
        ConfigError: the path does not end in ``.npy`` or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], dim: int) -> None:
        self.path, self.dim = Path(path), dim
        if self.path.suffix != ".npy":
            raise ConfigError(f"output {str(path)!r} must end in .npy: it holds a NumPy array")
        self._aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._count = 0
        self._open = True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self._aside.open("w+b")
        except OSError as error:
            raise ConfigError(
                f"output {str(path)!r} cannot be written ({error.strerror or error})"
            ) from error
        self._write_header()
        self._start = self._file.tell()

    def add(self, piece: Embeddings) -> None:
        if piece.mask is not None:
            raise ConfigError("this model gives a vector per token; a .npy file holds one vector per item")
        values_ND = np.ascontiguousarray(piece.values.numpy(), dtype="<f4")
        self._file.seek(0, os.SEEK_END)
        self._file.write(values_ND.data.cast("B"))
        self._count += len(piece)

    def rows(self, numbers: list[int]) -> Embeddings:
        values_nD = np.empty((len(numbers), self.dim), dtype="<f4")
        for row, number in enumerate(numbers):
            self._file.seek(self._start + number * self.dim * 4)
            values_nD[row] = np.frombuffer(self._file.read(self.dim * 4), dtype="<f4")
        return Embeddings(torch.from_numpy(values_nD))

    def finish(self) -> Embeddings:
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._aside, self.path)
        self._open = False
        if not self._count:
            return Embeddings(torch.zeros(0, self.dim))
        # Copy on write: changing the vectors in memory does not change the file.
        return Embeddings(torch.from_numpy(np.load(self.path, mmap_mode="c")))

    def close(self) -> None:
        if self._open:
            self._open = False
            self._file.close()
            self._aside.unlink(missing_ok=True)

    def _write_header(self) -> None:
        # NumPy leaves room in the header for a first axis of any length, so that it can be written again.
        facts: dict[str, Any] = {
            "descr": "<f4", "fortran_order": False, "shape": (self._count, self.dim),
        }  # fmt: skip
        npy.write_array_header_1_0(self._file, facts)
