"""Cells of a table by id, each read from the disk when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets


def cell_id(row: int, column: str) -> str:
    """How questions and documents of a table are named."""
    return f"{row}:{column}"


class Cells(Mapping[str, Any]):
    """``row:column`` -> cell. A table lies on the disk and may be larger than memory; no cell is kept here.

    Args:
        table: as it was opened; media stay files, or their bytes.
        places: the cells, in order.
    """

    def __init__(self, table: datasets.Dataset, places: Sequence[tuple[int, str]]) -> None:
        from sightline.training.undecoded import undecoded

        # A row of the whole table would be read with the cells of all columns.
        columns = dict.fromkeys(column for _, column in places)
        self._columns = {name: undecoded(table.select_columns([name])) for name in columns}
        self._places = {cell_id(row, column): (row, column) for row, column in places}

    def __getitem__(self, identifier: str) -> Any:
        row, column = self._places[identifier]
        return self._columns[column][row][column]

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
