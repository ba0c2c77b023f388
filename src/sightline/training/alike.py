"""What the rows of a dataset must have in common, found out before the first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sightline.errors import DataError
from sightline.losses.base import Loss
from sightline.losses.layers import AdaptiveLayers
from sightline.losses.needs import Needs, needs_of
from sightline.training.label_check import numbers
from sightline.training.rows import TARGET_COLUMNS, Columns, Rows
from sightline.training.streams import Stream


@dataclass(frozen=True)
class Pattern:
    """What every row is to have as the first one has it.

    Attributes:
        columns: all columns there are; None where some are left out on purpose.
        shapes: shape of each target.
        first: number of the row that the shapes are of.
    """

    columns: frozenset[str] | None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    first: int = 0

    @staticmethod
    def of(
        rows: Rows | Stream, columns: Columns, *, lists: Callable[[Mapping[str, Any]], bool] | None = None
    ) -> Pattern:
        """The pattern of a dataset; targets that cannot be read in its first row are not compared.

        Args:
            rows: the dataset.
            columns: what its columns mean.
            lists: tells of a row whether it holds a list with a target for each element; such lists may differ in
                length.
        """
        used = {*columns.names, *columns.targets}
        _, first = rows[0]
        shapes = {}
        for name in () if lists is not None and lists(first) else columns.targets:
            shape = target_shape(first.get(name))
            if shape is not None:
                shapes[name] = shape
        return Pattern(frozenset(rows.column_names) if used == set(rows.column_names) else None, shapes)

    def check(self, number: int, row: Mapping[str, Any]) -> None:
        """Compares a row.

        Raises:
            DataError: it has further columns, or a target with more or fewer numbers.
        """
        further = [name for name in row if self.columns is not None and name not in self.columns]
        if further:
            raise DataError(
                f"row {number}: it has the column {', '.join(map(repr, further))}, which row {self.first} has not; "
                "give every row the same columns, with None where there is nothing"
            )
        for name, wanted in self.shapes.items():
            shape = target_shape(row.get(name))
            if shape is not None and shape != wanted:
                raise DataError(
                    f"row {number}, column {name!r}: {numbers(shape)}, where row {self.first} has "
                    f"{numbers(wanted)}; every row needs as many"
                )


def target_shape(value: Any) -> tuple[int, ...] | None:
    """The shape of a number or of lists of numbers; None where they are no such thing."""
    try:
        return tuple(torch.as_tensor(value).shape)
    except (TypeError, ValueError, RuntimeError):
        return None


def check_needs(
    loss: Loss, rows: Rows | Stream, columns: Columns, *, has_guide: bool, dim: int | None = None
) -> None:
    """Whether a dataset has what a loss needs.

    Args:
        loss: that of the dataset's batches.
        rows: the dataset.
        columns: what its columns mean.
        has_guide: the run has a guide model.
        dim: components of the model's vectors, for losses that compare them with a teacher's; None where not known.

    Raises:
        DataError: too few columns, no target or several, or a target of another shape; names the dataset, and of a
            target the row and column.
    """
    for need in needs_of(loss):
        if len(columns.names) < need.columns:
            raise DataError(
                f"{need.loss} compares {need.columns} columns, but {rows.title} has only "
                f"{', '.join(map(repr, columns.names))} to embed"
            )
        if need.target:
            _check_target(need, rows, columns, need.projection or dim)
        if need.layers and not isinstance(loss, AdaptiveLayers):
            raise DataError(
                f"{need.loss} has to stand outermost, as in AdaptiveLayers(Matryoshka(InfoNCE(), dims)), not inside of "
                f"{type(loss).__name__}"
            )
        if need.guide and not has_guide:
            raise DataError(
                f"{need.loss} finds false negatives by a guide; give Trainer(guide=an Encoder), or use "
                'FalseNegatives(by="model")'
            )


def _check_target(need: Needs, rows: Rows | Stream, columns: Columns, dim: int | None) -> None:
    if not columns.targets:
        raise DataError(
            f"{need.loss} needs a label column, but {rows.title} has none, only "
            f"{', '.join(map(repr, rows.column_names))}; name it {', '.join(TARGET_COLUMNS[:-1])} or "
            f"{TARGET_COLUMNS[-1]}"
        )
    check_single_target(need.loss, columns, rows.title)
    (name,) = columns.targets
    _, first = rows[0]
    shape = target_shape(first.get(name))
    if shape is None:
        return  # named with all other rows that cannot be read
    ndim = 1 if shape == (1,) and 1 in need.target else len(shape) + 1
    if ndim not in need.target:
        wanted = " or ".join(_KINDS[one] for one in need.target)
        raise DataError(
            f"{need.loss} needs {wanted} per row, but row 0 of {rows.title} has {numbers(shape)} in column {name!r}"
        )
    if not need.teacher:
        return
    if len(shape) == 2 and shape[0] != len(columns.names):
        raise DataError(
            f"{need.loss} needs one vector per row or one for each of its {len(columns.names)} columns, but row 0 of "
            f"{rows.title} has {shape[0]} in column {name!r}"
        )
    if dim is not None and shape[-1] != dim:
        raise DataError(
            f"{need.loss} compares vectors of {dim} components, but those of row 0 of {rows.title} have {shape[-1]} in "
            f"column {name!r}; use projection={shape[-1]}"
        )


def check_single_target(loss: str, columns: Columns, title: str) -> None:
    """Whether there is no more than one label column, so that it is clear which one a loss means.

    Raises:
        DataError: there are several.
    """
    if len(columns.targets) > 1:
        raise DataError(
            f"{loss} takes one label column, but {title} has {', '.join(map(repr, columns.targets))}; "
            "choose one with columns=[...]"
        )


_KINDS = {1: "one number", 2: "a list of numbers", 3: "a list of vectors"}
