"""What a row of a dataset holds for a model: the items of its cells, and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from sightline.errors import DataError
from sightline.inputs.parse import parse
from sightline.training.label_check import LabelCheck
from sightline.training.rows import Columns
from sightline.types import Item


class Cell(NamedTuple):
    """One thing of a row to run the model on.

    Attributes:
        column: its column.
        item: None where the cell is empty.
        role, prompt: how it is run.
    """

    column: str
    item: Item | None
    role: str | None
    prompt: str | None


class RowReader(Protocol):
    """What rows hold for a model. Picklable."""

    @property
    def ragged(self) -> bool:
        """Rows may give different numbers of cells."""
        ...

    @property
    def needs_whole_batch(self) -> bool:
        """`others` needs all rows of a batch together."""
        ...

    def holds_list(self, row: Mapping[str, Any]) -> bool:
        """Whether a row holds a list of items with a target for each."""
        ...

    def read(self, number: int, row: Mapping[str, Any]) -> list[Cell]:
        """The cells of a row."""
        ...

    def labels(self, number: int, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The targets of a row by their name.

        Raises:
            DataError: some are missing, or the loss does not take them; names row and column.
        """
        ...

    def others(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[list[Cell]]:
        """Further cells of each of a batch's rows, which depend on the other rows."""
        ...

    def header(self, own: int, others: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Name and role of each column of a batch of so many cells and further cells per row."""
        ...

    def width(self, rows: Sequence[tuple[int, Mapping[str, Any]]], batch_rows: int) -> int:
        """Items a row gives at most in a batch of so many rows, as far as some rows tell."""
        ...


@dataclass(frozen=True)
class ItemReader:
    """Reads each column's cell as an item; a `RowReader`.

    Attributes:
        columns: what the columns mean.
        modalities: what the model takes, for values that could be text or a path.
        check: looks at the labels.
    """

    columns: Columns
    modalities: tuple[str, ...]
    check: LabelCheck = field(default_factory=LabelCheck)
    ragged = False
    needs_whole_batch = False

    def holds_list(self, row: Mapping[str, Any]) -> bool:
        return False

    def read(self, number: int, row: Mapping[str, Any]) -> list[Cell]:
        return [
            Cell(column, read_cell(number, row, column, self.modalities), role, prompt)
            for column, role, prompt in self.columns.cells
        ]

    def labels(self, number: int, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found = {name: read_target(number, row, name) for name in self.columns.targets}
        self.check(number, found, len(self.columns.names) - 1)
        return found

    def others(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[list[Cell]]:
        return [[] for _ in rows]

    def header(self, own: int, others: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.columns.names, self.columns.roles

    def width(self, rows: Sequence[tuple[int, Mapping[str, Any]]], batch_rows: int) -> int:
        return len(self.columns.names)


def read_cell(number: int, row: Mapping[str, Any], column: str, modalities: tuple[str, ...]) -> Item | None:
    """The item in a cell, or None where it is empty.

    Raises:
        SightlineError: with the row and the column in front.
    """
    value = cell_value(number, row, column)
    if value is None:
        return None
    return parse(value, source=f"row {number}, column {column!r}", modalities=modalities)


def cell_value(number: int, row: Mapping[str, Any], column: str) -> Any:
    """What stands in a cell.

    Raises:
        DataError: the row has no such column.
    """
    if column not in row:
        raise DataError(f"row {number}, column {column!r}: the row has no such column, only {', '.join(row)}")
    return row[column]


def read_target(number: int, row: Mapping[str, Any], column: str) -> np.ndarray:
    """A target of a row.

    Raises:
        DataError: the cell is no number and no list of numbers, or one of them is not finite.
    """
    try:
        values: np.ndarray = torch.as_tensor(row[column]).numpy()
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        shown = repr(row.get(column))[:60]
        raise DataError(
            f"row {number}, column {column!r}: expected a number or a list of numbers, got {shown}"
        ) from error
    if not np.isfinite(values).all():
        shown = repr(row[column])[:60]
        raise DataError(f"row {number}, column {column!r}: not a finite number: {shown}")
    return values
