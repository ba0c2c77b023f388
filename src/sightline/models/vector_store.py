"""Vectors on the disk by the key of what they are of: an append-only file of blocks, each whole or not there.

A block holds a number of items::

    header   64 bytes: mark, version, items, dimension, rows, whether a vector per token, checksums of index and vectors
    index    per item its key (16 bytes) and how many rows it has (4 bytes), then zeros up to 64 bytes
    vectors  rows x dimension, float32, little-endian, then zeros up to 64 bytes

Writers take turns by a lock on the file, and first cut off what a killed one has left unfinished at its end. A block
whose checksum is wrong is not used, and its items count as missing.

Shape letters: n items, R rows of all of them (one per item, or one per token), D dimension, T tokens.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
import xxhash
from torch import Tensor

from sightline.errors import DataError
from sightline.types import Embeddings

logger = logging.getLogger(__name__)

KEY = 16  # bytes
_MARK, _VERSION = b"SLvector", 1
_HEADER = struct.Struct("<8sIIIQI16s16s")
_ALIGN = 64
_ENTRY = np.dtype([("key", f"V{KEY}"), ("rows", "<u4")])
_PIECE = 1 << 24  # bytes read at a time for a checksum


class Vectors(Protocol):
    """Vectors of items by number, wherever they lie."""

    @property
    def dim(self) -> int:
        """Components of a vector."""
        ...

    @property
    def multi_vector(self) -> bool:
        """Whether an item has a vector per token."""
        ...

    @property
    def tokens_n(self) -> np.ndarray:
        """(n,) int64: rows of each item."""
        ...

    def take(self, items: np.ndarray) -> Embeddings:
        """Vectors of some items, in their order: (k, D), or (k, T, D) with a mask."""
        ...


class GivenVectors:
    """Vectors in memory; see `Vectors`."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        mask = embeddings.mask
        self.dim = embeddings.dim
        self.multi_vector = mask is not None
        count = len(embeddings)
        self.tokens_n = np.ones(count, np.int64) if mask is None else mask.sum(1).cpu().numpy()

    def take(self, items: np.ndarray) -> Embeddings:
        first = int(items[0]) if len(items) else 0
        if np.array_equal(items, np.arange(first, first + len(items))):
            return self._embeddings[first : first + len(items)]
        return self._embeddings[items]


class VectorFile:
    """See the module. Any number of processes may use one file.

    Args:
        path: the file; made if need be, as are the folders it lies in.

    Raises:
        DataError: it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[bytes, int] = {}  # key -> number in the two lists
        self._starts: list[int] = []  # where an item's first row stands, in floats from the start of the file
        self._rows: list[int] = []
        self._good = 0  # bytes of whole blocks
        self._facts: tuple[int, bool] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b", buffering=0)
        except OSError as error:
            raise DataError(f"{path}: cannot be opened for vectors ({error.strerror or error})") from error
        with self._locked(fcntl.LOCK_SH):
            self._catch_up()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._file.close()

    def refresh(self) -> None:
        """Finds what other processes have added."""
        with self._locked(fcntl.LOCK_SH):
            self._catch_up()

    def add(self, keys: Sequence[bytes], embeddings: Embeddings) -> None:
        """Appends a block; when this returns, it survives a power cut.

        Args:
            keys: of the items, `KEY` bytes each.
            embeddings: (n, D), or (n, T, D) with a mask; of one kind and dimension in all blocks.

        Raises:
            DataError: the disk is full or cannot be written.
        """
        values_RD, counts = _flat(embeddings)
        index = np.zeros(len(keys), _ENTRY)
        index["key"] = np.frombuffer(b"".join(keys), f"V{KEY}")
        index["rows"] = counts
        body = (_padded(index.tobytes()), _padded(values_RD.tobytes()))
        header = _HEADER.pack(
            _MARK, _VERSION, len(keys), embeddings.dim, len(values_RD), embeddings.mask is not None,
            *(xxhash.xxh3_128_digest(part) for part in body),
        )  # fmt: skip
        try:
            with self._locked(fcntl.LOCK_EX):
                self._catch_up()
                self._file.truncate(self._good)
                self._file.seek(self._good)
                for part in (_padded(header), *body):
                    _write(self._file, part)
                os.fsync(self._file.fileno())
                self._catch_up()
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error.strerror or error}); what was embedded so far is kept"
            ) from error

    def vectors(self, keys: Sequence[bytes]) -> StoredVectors:
        """Vectors of items that are all there, by number in ``keys``."""
        places = [self._places[key] for key in keys]
        dim, multi_vector = self._facts or (0, False)
        return StoredVectors(
            self.path,
            np.array([self._starts[place] for place in places], np.int64),
            np.array([self._rows[place] for place in places], np.int64),
            dim,
            multi_vector,
        )

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        fcntl.flock(self._file, how)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Reads the blocks that are new since the last time; call it with the lock."""
        size = os.fstat(self._file.fileno()).st_size
        while (block := _read_block(self._file, self._good, size)) is not None:
            start = self._good
            self._good = block.end
            if not block.sound:
                logger.warning("%s: a block at %d is damaged; its items are embedded again", self.path, start)
                continue
            self._facts = (block.dim, block.multi_vector)
            floats = block.values // 4
            rows = block.index["rows"].astype(np.int64)
            starts = floats + block.dim * (np.cumsum(rows) - rows)
            for key, first, count in zip(block.index["key"], starts.tolist(), rows.tolist(), strict=True):
                self._places[key.tobytes()] = len(self._starts)
                self._starts.append(first)
                self._rows.append(count)
        if self._good < size:
            logger.info("%s: %d bytes at its end are unfinished", self.path, size - self._good)


@dataclass(frozen=True)
class StoredVectors:
    """Vectors in a `VectorFile`, read when they are taken; see `Vectors`. Picklable.

    Attributes:
        path: the file.
        starts_n: where each item's first row stands, in floats from the start of the file.
        tokens_n: rows of each item.
        dim: D.
        multi_vector: a vector per token.
    """

    path: Path
    starts_n: np.ndarray
    tokens_n: np.ndarray
    dim: int
    multi_vector: bool

    def __len__(self) -> int:
        return len(self.starts_n)

    def take(self, items: np.ndarray) -> Embeddings:
        if not len(items):
            empty = torch.zeros(0, 0, self.dim) if self.multi_vector else torch.zeros(0, self.dim)
            return Embeddings(empty, torch.zeros(0, 0, dtype=torch.bool) if self.multi_vector else None)
        starts_k, tokens_k = self.starts_n[items], self.tokens_n[items]
        end = int((starts_k + self.dim * tokens_k).max())
        # Mapped anew each time: a mapping that is kept would count all that was ever read as this process's memory.
        floats = np.memmap(self.path, "<f4", mode="r", shape=(end,))
        rows_k = tokens_k.cumsum() - tokens_k
        if np.array_equal(starts_k, starts_k[0] + self.dim * rows_k):
            values_RD = np.array(floats[starts_k[0] :]).reshape(-1, self.dim)
        else:
            place_R = np.arange(tokens_k.sum()) - np.repeat(rows_k, tokens_k)
            first_R = np.repeat(starts_k, tokens_k) + self.dim * place_R
            values_RD = np.lib.stride_tricks.sliding_window_view(floats, self.dim)[first_R]
        found = torch.from_numpy(values_RD)
        if not self.multi_vector:
            return Embeddings(found)
        return Embeddings.ragged(list(found.split(tokens_k.tolist())))


@dataclass(frozen=True)
class _Block:
    """What stands in a block, and where: ``values`` and ``end`` are bytes from the start of the file."""

    index: np.ndarray
    dim: int
    multi_vector: bool
    values: int
    end: int
    sound: bool


def _read_block(file: BinaryIO, start: int, size: int) -> _Block | None:
    """The block that begins at ``start``, or None where no whole one does."""
    file.seek(start)
    header = file.read(_ALIGN)
    if len(header) < _ALIGN:
        return None
    mark, version, items, dim, rows, multi_vector, index_sum, values_sum = _HEADER.unpack_from(header)
    if mark != _MARK or version != _VERSION:
        return None
    index_bytes, values_bytes = _rounded(items * _ENTRY.itemsize), _rounded(rows * dim * 4)
    values = start + _ALIGN + index_bytes
    if values + values_bytes > size:
        return None
    raw = file.read(index_bytes)
    index = np.frombuffer(raw, _ENTRY, count=items)
    sound = xxhash.xxh3_128_digest(raw) == index_sum and int(index["rows"].sum()) == rows
    contents = xxhash.xxh3_128()
    left = values_bytes
    while left:
        piece = file.read(min(left, _PIECE))
        contents.update(piece)
        left -= len(piece)
    sound = sound and contents.digest() == values_sum
    return _Block(index, dim, bool(multi_vector), values, values + values_bytes, sound)


def _flat(embeddings: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """All rows (R, D) of items as float32, and how many each has."""
    if embeddings.mask is None:
        return _array(embeddings.values), np.ones(len(embeddings), np.int64)
    tokens = embeddings.tokens()
    return _array(torch.cat(tokens)), np.array([len(one) for one in tokens], np.int64)


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().cpu().float().numpy(), dtype="<f4")


def _rounded(count: int) -> int:
    return -(-count // _ALIGN) * _ALIGN


def _padded(content: bytes) -> bytes:
    return content.ljust(_rounded(len(content)), b"\0")


def _write(file: BinaryIO, content: bytes) -> None:
    """All of the bytes; an unbuffered file may take fewer at a time."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
