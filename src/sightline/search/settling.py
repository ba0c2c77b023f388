"""From the floats of an unfinished build to int8: the ranges of all vectors, then their codes.

int8 codes lie between the least and the greatest value of each component in the collection, as in evaluation, and so
can be written only when all vectors are there.

Shape letters: D components.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.evaluation.quantized import wider_ranges
from sightline.search.layout import Layout
from sightline.types import Embeddings

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

_ROWS, _TOKEN_ROWS = 4096, 64


def ranges_of(table: Any, staged: Layout, layout: Layout) -> dict[int, Tensor]:
    """(2, dim) least and greatest value of each component, for each searchable prefix.

    Args:
        table: the LanceDB table of floats.
        staged: its layout.
        layout: the one wanted.
    """
    import torch

    column = staged.column()
    kept = layout.dims[:1] if layout.tokens else layout.dims
    # Without any vector there is nothing to keep; then any range will do.
    found = {dim: torch.zeros(2, dim) for dim in kept}
    seen = False
    for batch in _batches(table, staged):
        values = batch[column.name]
        vectors = column.read(values.filter(values.is_valid()))
        if not len(vectors):
            continue
        for dim in kept:
            cut = layout.column(dim).cut(vectors)
            values_nD = cut.values if cut.mask is None else cut.values[cut.mask.bool()]
            pieces = [*found[dim].split(1), values_nD] if seen else [values_nD]
            found[dim] = wider_ranges(pieces)
        seen = True
    return found


def settled_batches(
    table: Any, staged: Layout, layout: Layout, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of the table of floats in their own layout."""
    import pyarrow as pa

    column = staged.column()
    for batch in _batches(table, staged):
        values = batch[column.name]
        given = column.read(values.filter(values.is_valid()))
        vectors: list[np.ndarray | None] = [None] * len(batch)
        for place, vector in zip(
            np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False)), _each(given)
        ):
            vectors[place] = vector
        columns = layout.arrays(vectors)
        arrays = [columns[field.name] if field.name in columns else batch[field.name] for field in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _each(vectors: Embeddings) -> list[np.ndarray]:
    if vectors.mask is None:
        return list(vectors.values.numpy())
    return [tokens_tD.numpy() for tokens_tD in vectors.tokens()]


def _batches(table: Any, staged: Layout) -> Iterator[pa.RecordBatch]:
    rows = table.search().limit(table.count_rows())
    yield from rows.to_batches(batch_size=_TOKEN_ROWS if staged.tokens else _ROWS)
