"""What the doctor looks at: pages (or cells of a table) and the questions about them, in one shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ReadBytes = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Sheet:
    """Something that can be found: a page, or a cell of a table.

    Attributes:
        name: its page id, or the row and column where it stands first.
        side: the split it belongs to.
        text: its text, ``""`` where there is none.
        image: the file of its image, or what reads the file's bytes; None without an image.
        content_hash: SHA-256 that the image's file had when it was ingested; ``""`` where nobody knows.
        key: equal for equal content; ``""`` where the image's hash is to serve.
        compared: ingestion has compared its image with those of all other pages.
        like: name of the page that ingestion found to be nearly the same, or ``""``.
    """

    name: str
    side: str
    text: str = ""
    image: Path | ReadBytes | None = None
    content_hash: str = ""
    key: str = ""
    compared: bool = False
    like: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, or a row of a table.

    Attributes:
        name: its id, or its row.
        side: the split it belongs to.
        query: its text; ``""`` where it is empty, None where it is no text but an image, say.
        positives: indices of the sheets that answer it.
        negatives: indices of the sheets that do not.
        row: number of the row in its table, -1 without a table.
        cells: of a table, the column of each negative; ``""`` where it is one of a list.
        one_of_several: pages of other documents may answer it too, in a question of their own.
    """

    name: str
    side: str
    query: str | None
    positives: tuple[int, ...]
    negatives: tuple[int, ...] = ()
    row: int = -1
    cells: tuple[str, ...] = ()
    one_of_several: bool = False


@dataclass(frozen=True)
class Contents:
    """All of it.

    Attributes:
        subject: what it is called in messages.
        sheets: everything that can be found.
        asked: the questions.
        train: name of the side that is trained on.
        labels: label column -> number of the row among ``asked``, and its label.
        table: whether it comes from a table, in which the same cell may well stand in many rows.
    """

    subject: str
    sheets: tuple[Sheet, ...]
    asked: tuple[Ask, ...]
    train: str = "train"
    labels: Mapping[str, tuple[tuple[int, object], ...]] = field(default_factory=dict)
    table: bool = False

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides there are, that of training first."""
        found = {one.side for one in self.sheets} | {one.side for one in self.asked}
        return tuple(sorted(found, key=lambda side: (side != self.train, side)))

    def counts(self) -> dict[str, int]:
        """How much there is to look at, in words."""
        negatives = sum(len(one.negatives) for one in self.asked)
        what = "cells" if self.table else "pages"
        return {
            what: len(self.sheets),
            "rows" if self.table else "questions": len(self.asked),
            "negatives": negatives,
        }
