"""Exact search: every vector of a column is compared, a block at a time.

Columns of codes, signs and tokens, which Lance does not compare with a float query, are searched this way, and the
recall of an approximate search is measured against it.

Shape letters: q queries, n pages of a block, D components, k results, K results kept.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.evaluation.best import Best
from sightline.evaluation.quantized import Bits, Codes
from sightline.search.approximate import KEPT
from sightline.search.columns import Column
from sightline.types import Embeddings

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

# Rows that are read and compared at a time: of single vectors, of token vectors.
_ROWS, _TOKEN_ROWS = 2**13, 64
# Up to so many queries differing bits are counted; more are faster as products of signs.
_COUNTED = 8


class Scan:
    """The vectors of one column. Thread-safe.

    Args:
        table: the LanceDB table.
        column: which vectors.
        similarity: of the model.
    """

    def __init__(self, table: Any, column: Column, similarity: str) -> None:
        self._table = table
        self.column = column
        self._similarity = "dot" if column.unit else similarity
        self._lock = threading.Lock()
        self._kept: list[tuple[np.ndarray, pa.Array]] | None = None
        self._too_large = False

    def search(
        self, queries: Embeddings, k: int, where: str | None = None, *, dim: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest rows of each query, fewer where there are fewer.

        Args:
            queries: (q, D), or (q, T, D) with a mask, cut as the column is.
            k: how many.
            where: compare the pages that meet this only.
            dim: of token vectors the components compared, by default all.

        Returns:
            Scores (q, k) float32, best first, and Lance's row ids (q, k). Of binary vectors the score is minus the
            number of differing bits.
        """
        best, rows, start = Best(k), [], 0
        for block_rows_n, block in self._blocks(where):
            best.add(self.compared(queries, block, dim), start)
            rows.append(block_rows_n)
            start += len(block)
        if not rows:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        scores_qk, found_qk = best.merged()
        return scores_qk.numpy(), np.concatenate(rows)[found_qk.numpy()]

    def counts(self) -> tuple[int, int]:
        """Pages that have vectors, and their tokens (or vectors, where a page has one)."""
        pages = tokens = 0
        for rows_n, block in self._blocks(None):
            pages += len(rows_n)
            tokens += len(block.flatten()) if self.column.tokens else len(block)
        return pages, tokens

    def compared(self, queries: Embeddings, block: pa.Array, dim: int | None = None) -> Tensor:
        """(q, n) scores of queries with stored vectors without null; larger is nearer."""
        import torch

        if self.column.tokens:
            from sightline.models.similarity import similarity

            cut = Column(self.column.name, dim or self.column.dim, "float32", tokens=True)
            asked = cut.cut(queries)
            if self.column.precision == "binary":
                # Signs with signs, as evaluation compares them; a 1-bit vector has no other scale.
                asked = Embeddings(torch.where(asked.values > 0, 1.0, -1.0), asked.mask)
            return similarity(self._similarity, asked, cut.cut(self.column.read(block)))
        if self.column.precision == "binary":
            return -_differing(queries.values, Bits(self.column.raw(block), self.column.dim))
        if self.column.precision == "int8" and self._similarity == "dot":
            assert self.column.ranges_2D is not None
            codes = Codes(torch.from_numpy(self.column.raw(block).copy()), self.column.ranges_2D)
            return codes.products(queries.values)
        values_nD = self.column.read(block).values
        if self._similarity == "dot":
            return queries.values @ values_nD.t()
        return -torch.cdist(queries.values, values_nD)

    def _blocks(self, where: str | None) -> Iterator[tuple[np.ndarray, pa.Array]]:
        """Row ids and vectors, without the pages that have none."""
        if where is None and not self._too_large:
            with self._lock:
                if self._kept is None:
                    self._load()
        kept = self._kept
        if kept is None:
            yield from self._read(where)
            return
        allowed = None if where is None else self._rows(where)
        for rows_n, block in kept:
            if allowed is None:
                yield rows_n, block
                continue
            inside_n = np.isin(rows_n, allowed)
            if inside_n.any():
                yield rows_n[inside_n], block.filter(_mask(inside_n))

    def _load(self) -> None:
        kept, size = [], 0
        for rows_n, block in self._read(None):
            size += block.nbytes
            if size > KEPT:
                self._too_large = True
                return
            kept.append((rows_n, block))
        self._kept = kept

    def _read(self, where: str | None) -> Iterator[tuple[np.ndarray, pa.Array]]:
        import pyarrow.compute as pc

        query = self._table.search().select([self.column.name]).with_row_id(True)
        query = query.limit(self._table.count_rows())
        if where is not None:
            query = query.where(where)
        for batch in query.to_batches(batch_size=_TOKEN_ROWS if self.column.tokens else _ROWS):
            present = pc.is_valid(batch[self.column.name])
            block = batch.filter(present)
            if len(block):
                rows_n = block["_rowid"].to_numpy().astype(np.int64)
                yield rows_n, block[self.column.name]

    def _rows(self, where: str) -> np.ndarray:
        """Row ids of the pages that meet a condition."""
        query = self._table.search().where(where).select(["position"]).with_row_id(True)
        found: np.ndarray = query.limit(self._table.count_rows()).to_arrow()["_rowid"].to_numpy()
        return found.astype(np.int64)


def _differing(queries_qD: Tensor, bits: Bits) -> Tensor:
    """(q, n) float32: in how many bits the signs of queries differ from those stored."""
    import torch

    if len(queries_qD) <= _COUNTED:
        packed_qB = Embeddings(queries_qD).quantize("ubinary").values.numpy()
        return torch.from_numpy(np.stack([bits.distances(row) for row in packed_qB])).float()
    signs_qD = torch.where(queries_qD > 0, 1.0, -1.0)
    return (bits.dim - signs_qD @ bits[0 : len(bits)].t()) / 2


def _mask(inside_n: np.ndarray) -> pa.Array:
    import pyarrow as pa

    return pa.array(inside_n)
