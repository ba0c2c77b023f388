"""Vectors as columns of the table: numbers of some precision, and the way back to floats.

Shape letters: N pages, n pages that have vectors, R tokens of all of them, T tokens of a page, D components,
W numbers stored per vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sightline.evaluation.quantized import Bits, Codes, prefix
from sightline.types import Embeddings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor


@dataclass(frozen=True)
class Column:
    """One column of vectors.

    Attributes:
        name: of the column.
        dim: leading components that are kept.
        precision: "float32", "float16", "int8" (codes) or "binary" (signs, eight to a byte).
        unit: prefixes are brought to unit length before they are stored.
        tokens: a page has a vector per token.
        ranges_2D: least and greatest value of each component, between which int8 codes lie.
    """

    name: str
    dim: int
    precision: str
    unit: bool = False
    tokens: bool = False
    ranges_2D: Tensor | None = None

    @property
    def width(self) -> int:
        """W: numbers stored per vector."""
        return -(-self.dim // 8) if self.precision == "binary" else self.dim

    @property
    def bytes_per_vector(self) -> int:
        return self.width * {"float32": 4, "float16": 2, "int8": 1, "binary": 1}[self.precision]

    def type(self) -> pa.DataType:
        import pyarrow as pa

        numbers = {
            "float32": pa.float32(),
            "float16": pa.float16(),
            "int8": pa.int8(),
            "binary": pa.uint8(),
        }[self.precision]
        vector = pa.list_(numbers, self.width)
        return pa.list_(vector) if self.tokens else vector

    def cut(self, vectors: Embeddings) -> Embeddings:
        """Wider vectors as this column takes them, in float32."""
        if vectors.mask is None:
            return prefix(vectors, self.dim, unit=self.unit)
        # As evaluation does it: tokens that are cut get unit length, whole ones stay as the model gives them.
        cut = prefix(Embeddings(vectors.values), self.dim, unit=self.dim < vectors.dim)
        return Embeddings(cut.values, vectors.mask)

    def stored(self, vectors: Embeddings, present_N: np.ndarray) -> pa.Array:
        """The column for N pages.

        Args:
            vectors: (n, >= D), or (n, T, >= D) with a mask, of the pages that have some.
            present_N: which pages these are, bool; the others get null.
        """
        import numpy as np
        import pyarrow as pa

        cut = self.cut(vectors)
        if cut.mask is None:
            numbers_NW = np.zeros((len(present_N), self.width), self._numbers(cut.values[:0]).dtype)
            if len(cut):
                numbers_NW[present_N] = self._numbers(cut.values)
            return pa.FixedSizeListArray.from_arrays(
                pa.array(numbers_NW.reshape(-1)), self.width, mask=pa.array(~present_N)
            )
        mask = cut.mask.bool()
        counts_N = np.zeros(len(present_N), np.int32)
        counts_N[present_N] = mask.sum(1).numpy()
        flat = pa.FixedSizeListArray.from_arrays(
            pa.array(self._numbers(cut.values[mask]).reshape(-1)), self.width
        )
        offsets = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=pa.array(~present_N))

    def read(self, column: pa.Array) -> Embeddings:
        """float32 vectors (n, D), or (n, T, D) with a mask, of rows without null; signs as 1 and -1."""
        import torch

        flat = column.flatten() if self.tokens else column
        values_RD = self.floats(self.raw(flat))
        if not self.tokens:
            return Embeddings(values_RD)
        counts = column.value_lengths().to_pylist()
        return Embeddings.ragged(list(torch.split(values_RD, counts)))

    def raw(self, vectors: pa.Array) -> np.ndarray:
        """(R, W) stored numbers of rows without null."""
        numbers: np.ndarray = vectors.flatten().to_numpy(zero_copy_only=False)
        return numbers.reshape(-1, self.width)

    def floats(self, numbers_RW: np.ndarray) -> Tensor:
        """(R, D) float32 of what is stored."""
        import torch

        if self.precision == "binary":
            return Bits(numbers_RW, self.dim)[0 : len(numbers_RW)]
        # Arrow's memory must not be written to, which torch cannot promise: it gets a copy.
        values = torch.from_numpy(numbers_RW.copy())
        if self.precision == "int8":
            assert self.ranges_2D is not None
            return Codes(values, self.ranges_2D)[0 : len(values)]
        return values.float()

    def _numbers(self, values_RD: Tensor) -> np.ndarray:
        flat = Embeddings(values_RD)
        if self.precision == "binary":
            packed: np.ndarray = flat.quantize("ubinary").values.numpy()
            return packed
        if self.precision == "int8":
            assert self.ranges_2D is not None, "int8 needs the ranges of the collection first"
            codes: np.ndarray = flat.quantize("int8", ranges=self.ranges_2D).values.numpy()
            return codes
        numbers: np.ndarray = (values_RD.half() if self.precision == "float16" else values_RD.float()).numpy()
        return numbers


def gathered(vectors: list[np.ndarray], *, tokens: bool, dim: int) -> Embeddings:
    """Vectors (D,), or token vectors (T, D), of pages, together."""
    import numpy as np
    import torch

    if tokens:
        # A page of no tokens at all is a page like others.
        parts = [torch.from_numpy(np.ascontiguousarray(one, np.float32)) for one in vectors]
        return Embeddings.ragged(parts) if parts else _none(dim)
    stacked: Any = np.stack(vectors).astype(np.float32) if vectors else np.zeros((0, dim), np.float32)
    return Embeddings(torch.from_numpy(stacked))


def _none(dim: int) -> Embeddings:
    import torch

    return Embeddings(torch.zeros(0, 0, dim), torch.zeros(0, 0, dtype=torch.bool))
