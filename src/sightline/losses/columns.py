"""What pairwise, triplet and distillation losses read from a batch: vectors by column, and targets.

Shape letters::

    B  rows of the batch     C  columns     P  rows that have every column in question     D  embedding dimension
"""

from __future__ import annotations

from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses.similarity import at_least_float32
from sightline.types import Batch, Embeddings


def single_vectors(embeddings: Embeddings) -> Tensor:
    """The (N, D) values of single-vector embeddings."""
    if embeddings.values.ndim != 2:
        raise ConfigError(
            "this loss compares one vector per item, but the model gives one per token; use a pooled model"
        )
    return embeddings.values


def whole_rows(embeddings: Embeddings, batch: Batch, *, loss: str, columns: int) -> tuple[Tensor, Tensor]:
    """Vectors of the rows without an absent cell among the first ``columns``, in float32 at least.

    Args:
        embeddings: of the batch's items.
        batch: columns beyond those asked for are ignored.
        loss: its name, for the message.
        columns: how many the loss compares.

    Returns:
        (columns, P, D) vectors, and (P,) the numbers of these rows in the batch.

    Raises:
        ConfigError: the batch has fewer columns, or the model gives several vectors per item.
    """
    values_ND = at_least_float32(single_vectors(embeddings))
    cells_PC, rows_P = chosen_rows(batch, loss=loss, columns=columns)
    return values_ND[cells_PC.t()], rows_P


def chosen_rows(batch: Batch, *, loss: str, columns: int) -> tuple[Tensor, Tensor]:
    """(P, columns) items of the rows without an absent cell among the first ``columns``, and (P,) their numbers.

    Raises:
        ConfigError: the batch has fewer columns.
    """
    if batch.columns_BC.shape[1] < columns:
        raise ConfigError(
            f"{loss} compares {columns} columns, but the batch has only "
            f"{', '.join(batch.column_names) or batch.columns_BC.shape[1]}"
        )
    cells_BC = batch.columns_BC[:, :columns]
    rows_P = (cells_BC >= 0).all(1).nonzero().squeeze(1)
    return cells_BC[rows_P], rows_P


def target(batch: Batch, *, loss: str, ndims: tuple[int, ...] = (1,)) -> Tensor:
    """(B, ...) float32 targets: the batch's only target column.

    Args:
        batch: its targets.
        loss: its name, for the message.
        ndims: how many dimensions the targets may have, rows included: 1 for a number per row, 2 for a list.

    Raises:
        ConfigError: no target column, several of them, or one of another shape.
    """
    if len(batch.targets) != 1:
        found = ", ".join(batch.targets) or "none"
        raise ConfigError(
            f"{loss} needs exactly one target column (label, labels, score or scores), but the data has {found}"
        )
    ((name, values),) = batch.targets.items()
    if values.ndim == 2 and values.shape[1] == 1 and 1 in ndims:
        values = values.squeeze(1)
    if values.ndim not in ndims:
        wanted = " or ".join(_SHAPES[ndim] for ndim in ndims)
        raise ConfigError(
            f"{loss} needs {wanted} per row in column {name!r}, but its values have shape "
            f"{tuple(values.shape[1:])}"
        )
    return values.float()


_SHAPES = {1: "one number", 2: "a list of numbers", 3: "a list of vectors"}
