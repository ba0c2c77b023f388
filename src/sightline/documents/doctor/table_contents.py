"""Tables as the doctor looks at them: a row holds a question, the document that answers it, and others that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.documents.doctor.contents import Ask, Contents, ReadBytes, Sheet
from sightline.documents.doctor.findings import Case, Drop
from sightline.errors import SightlineError
from sightline.inputs.parse import parse
from sightline.types import Item, Part

LABELS = ("label", "labels", "score", "scores")
# Of these a value above 0 says that the document answers the question; scores have no such line.
_JUDGING = ("label", "labels")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows of one side.

    Attributes:
        side: the split they are, or the table, for messages.
        rows: by number, with ``len``.
        columns: the question's, the answer's and those of other documents, in this order; labels by name.
        is_trained_on: whether training sees them.
    """

    side: str
    rows: Any
    columns: Sequence[str]
    is_trained_on: bool = True


@dataclass
class _Reader:
    """Reads rows into sheets and questions; equal cells of one side are one sheet."""

    sheets: list[Sheet] = field(default_factory=list)
    asked: list[Ask] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    labels: dict[str, list[tuple[int, object]]] = field(default_factory=dict)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    modalities: Sequence[str] | None = None

    def read(self, table: Table, side: str) -> None:
        """Adds a table's rows under the side's name."""
        names = [name for name in table.columns if name not in LABELS]
        targets = [name for name in table.columns if name in LABELS]
        for number in range(len(table.rows)):
            row = table.rows[number]
            place = f"{table.side} row {number}"
            query, *others = (row.get(name) for name in names)
            found = [
                ("" if isinstance(value, (list, tuple)) else column, sheet)
                for column, value in zip(names[1:], others, strict=True)
                for sheet in self._sheets(table, number, column, value, side)
            ]
            right, wrong = _judged(names[1:], found, row, targets)
            self.asked.append(
                Ask(
                    place,
                    side,
                    self._question(query, f"{place}, column {names[0]!r}"),
                    tuple(sheet for _, sheet in right),
                    tuple(sheet for _, sheet in wrong),
                    number,
                    tuple(column for column, _ in wrong),
                )
            )
            if table.is_trained_on:
                for name in targets:
                    self.labels.setdefault(name, []).append((len(self.asked) - 1, row.get(name)))
            if not targets and others and others[0] is None:
                drop = (Drop("question", len(self.asked) - 1),)
                self.cases.append(Case("missing-page", place, f"column {names[1]!r} is empty", drop))

    def _question(self, value: Any, place: str) -> str | None:
        """The text of a question; ``""`` for an empty cell, None where it is something else than text."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return ""
        try:
            item = parse(value, source=place, modalities=self.modalities)
        except SightlineError as error:
            self.cases.append(Case("unreadable", place, str(error), (Drop("question", len(self.asked)),)))
            return None
        return _text_of(item) if item.modalities == {"text"} else None

    def _sheets(self, table: Table, number: int, column: str, value: Any, side: str) -> Iterable[int]:
        """The sheets of a cell: none of an empty one, several of a list."""
        several = isinstance(value, (list, tuple)) and not (
            value and isinstance(value[0], Mapping) and "role" in value[0]
        )
        for position, one in enumerate(value if several else [value]):
            if one is not None:
                yield self._sheet(table, number, column, one, side, position if several else -1)

    def _sheet(self, table: Table, number: int, column: str, value: Any, side: str, position: int) -> int:
        place = f"{table.side} row {number}, column {column!r}"
        try:
            item = parse(value, source=place, modalities=self.modalities)
        except SightlineError as error:
            self.sheets.append(Sheet(place, side))
            # Of a list one element cannot go alone: its labels stand in another list.
            drop = Drop("sheet", len(self.sheets) - 1) if position < 0 else Drop("question", len(self.asked))
            self.cases.append(Case("unreadable", place, str(error), (drop,)))
            return len(self.sheets) - 1
        known = self.numbers.setdefault((side, item.key), len(self.sheets))
        if known == len(self.sheets):
            image = _image_of(item)
            reading: Path | ReadBytes | None = image if isinstance(image, Path) else None
            if isinstance(image, bytes):
                # The table keeps the bytes; here they would be in memory a second time.
                reading = _CellBytes(table.rows, number, column, position, self.modalities)
            self.sheets.append(Sheet(place, side, _text_of(item), image=reading, key=item.key))
            if image is None and item.modalities != {"text"}:
                self.cases.append(Case("not-examined", place, "neither text nor an image that lies here"))
        return known


@dataclass(frozen=True)
class _CellBytes:
    """Reads the image of a cell again."""

    rows: Any
    number: int
    column: str
    position: int
    modalities: Sequence[str] | None

    def __call__(self) -> bytes:
        value = self.rows[self.number][self.column]
        image = _image_of(
            parse(value if self.position < 0 else value[self.position], modalities=self.modalities)
        )
        assert isinstance(image, bytes)
        return image


def _judged(
    columns: Sequence[str], found: Sequence[tuple[str, int]], row: Row, targets: Sequence[str]
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Which documents of a row answer its question and which do not, by the labels where these say so."""
    judging = next((row.get(name) for name in targets if name in _JUDGING), None)
    if isinstance(judging, (list, tuple)) and len(judging) == len(found):
        right = [isinstance(label, (int, float)) and label > 0 for label in judging]
    elif isinstance(judging, (list, tuple)) or (targets and len(columns) > 1):
        return list(found), []  # scores of each document: none is plainly wrong
    elif isinstance(judging, (int, float)):
        right = [judging > 0] * len(found)
    elif targets:
        return list(found), []
    else:
        right = [column in (columns[0], "") for column, _ in found]
    pairs = list(zip(found, right, strict=True))
    return [one for one, good in pairs if good], [one for one, good in pairs if not good]


def _text_of(item: Item) -> str:
    return "\n".join(part.value for part in item.parts if part.modality == "text")


def _image_of(item: Item) -> Path | bytes | None:
    """The first image of an item, where it is a file or its bytes."""
    image: Part | None = next((part for part in item.parts if part.modality == "image"), None)
    if image is not None and isinstance(image.value, (Path, bytes)):
        return image.value
    return None


def contents_of_tables(
    subject: str, tables: Sequence[Table], *, modalities: Sequence[str] | None = None
) -> tuple[Contents, list[Case]]:
    """The cells and rows of some tables, and what was found while they were read.

    Args:
        subject: what messages call them.
        tables: what is trained on and what is measured with.
        modalities: what the model reads, for values that could be text or a path.
    """
    reader = _Reader(modalities=modalities)
    for table in tables:
        reader.read(table, "train" if table.is_trained_on else table.side)
    labels = {name: tuple(values) for name, values in reader.labels.items()}
    contents = Contents(subject, tuple(reader.sheets), tuple(reader.asked), "train", labels, table=True)
    return contents, reader.cases
