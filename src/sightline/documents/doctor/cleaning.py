"""What is taken out to cure everything that can be cured, and where it is written down."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.documents import store
from sightline.documents.doctor.contents import Contents
from sightline.documents.doctor.findings import Case, curable
from sightline.errors import DataError
from sightline.files import write_text

REMOVED = "removed.jsonl"


@dataclass(frozen=True)
class Cleaning:
    """What is left out of a cleaned copy, by numbers in the contents.

    Attributes:
        sheets: pages or cells.
        questions: questions or rows; those that lose all their pages among them.
        negatives: (question, sheet) that is no negative any more.
        removed: one record for each of them: what, name, kind, reason.
    """

    sheets: frozenset[int]
    questions: frozenset[int]
    negatives: frozenset[tuple[int, int]]
    removed: tuple[dict[str, Any], ...] = field(default=())

    @staticmethod
    def of(contents: Contents, cases: tuple[Case, ...]) -> Cleaning:
        """Everything that the cases' cures take out."""
        sheets: dict[int, str] = {}  # and the kind of the case
        questions: set[int] = set()
        negatives: set[tuple[int, int]] = set()
        removed: list[dict[str, Any]] = []
        what = ("cell", "row") if contents.table else ("page", "question")

        def record(kind: str, name: str, reason: str, thing: str, **further: str) -> None:
            removed.append({"what": thing, "name": name, "kind": kind, "reason": reason, **further})

        for case in curable(cases):
            for drop in case.drops:
                if drop.what == "sheet" and drop.index not in sheets:
                    sheets[drop.index] = case.kind
                    record(case.kind, contents.sheets[drop.index].name, case.message, what[0])
                elif drop.what == "question" and drop.index not in questions:
                    questions.add(drop.index)
                    record(case.kind, contents.asked[drop.index].name, case.message, what[1])
                elif drop.what == "negative" and (drop.index, drop.sheet) not in negatives:
                    negatives.add((drop.index, drop.sheet))
                    name, page = contents.asked[drop.index].name, contents.sheets[drop.sheet].name
                    record(case.kind, name, case.message, "negative", page=page)
        for number, one in enumerate(contents.asked):
            if number in questions:
                continue
            if one.positives and all(sheet in sheets for sheet in one.positives):
                questions.add(number)
                page = contents.sheets[one.positives[0]].name
                record(sheets[one.positives[0]], one.name, f"{page}, which answers it, is left out", what[1])
        return Cleaning(frozenset(sheets), frozenset(questions), frozenset(negatives), tuple(removed))

    def lost(self, number: int, contents: Contents) -> frozenset[int]:
        """The negatives that a question loses, by their sheets."""
        one = contents.asked[number]
        return frozenset(
            sheet for sheet in one.negatives if sheet in self.sheets or (number, sheet) in self.negatives
        )

    def summary(self) -> str:
        """What was taken out, in words."""
        tally = Counter(record["what"] for record in self.removed)
        told = ", ".join(f"{count:,} {name}{'s' if count > 1 else ''}" for name, count in tally.items())
        return told or "nothing"

    def write(self, folder: Path) -> None:
        """Writes `REMOVED` into a folder: one JSON object per line."""
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in self.removed)
        write_text(folder / REMOVED, "".join(lines), errors="backslashreplace")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``output`` in one step when everything is in it.

    Raises:
        DataError: there is something at ``output`` already, or it cannot be written.
    """
    output = output.absolute()
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise DataError(f"{output} has something in it; name a new folder for the cleaned dataset")
        output.parent.mkdir(parents=True, exist_ok=True)
        aside = output.with_name(f".{output.name}.part")
        aside.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{output}: the cleaned dataset cannot be written there ({error.strerror})"
        ) from error
    with store.locked(aside), store.writing(output):
        for left in aside.iterdir():  # by a process that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        aside.replace(output)
        _sync(output.parent)


def link(source: Path, target: Path) -> None:
    """The same file at a second place; a copy where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileExistsError:
        return  # two pages with one image
    except OSError:
        shutil.copyfile(source, target)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
