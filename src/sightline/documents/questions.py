"""Question files: JSON lines ``{"id", "query", "document", "pages": [zero-based]}``, checked line by line.

A collection of images may write ``"image"`` for ``"document"``; ``pages`` may be left out where the
document has one page. ``"split"`` decides the side of the whole document. ``"kind"``, ``"origin"`` and
``"language"`` are text, see `Question`. ``"negatives"`` are ids of pages that do not answer it,
``["reports/2023.pdf#p4"]``. Other columns are kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.documents.records import PERSON, SPLITS, Document, Question, page_id
from sightline.errors import DataError, Problems
from sightline.files import text_lines


@dataclass(frozen=True, slots=True)
class Asked:
    """A line of a question file, its document found but its pages not yet checked.

    Attributes:
        where: ``"questions.jsonl:12"``.
        pages: None where the line names none.
        negatives: document and page of each.
    """

    where: str
    id: str
    query: str
    document: str
    pages: tuple[int, ...] | None
    split: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    origin: str = PERSON
    language: str = ""
    negatives: tuple[tuple[str, int], ...] = ()


class Names:
    """Finds documents by the names people give them.

    A name matches the document id itself; else the only document whose id ends in it ("2023.pdf" for
    "reports/2023.pdf"), or that it ends in ("images/7.png" where the folder ``images`` was ingested).
    """

    def __init__(self, documents: Iterable[str], gone: Collection[str] = ()) -> None:
        self._exact = set(documents)
        self._gone = Names(gone) if gone else None
        self._by_tail: dict[str, set[str]] = {}
        for name in self._exact:
            parts = name.split("/")
            for start in range(1, len(parts)):
                self._by_tail.setdefault("/".join(parts[start:]), set()).add(name)

    def find(self, name: str) -> str:
        """The document id.

        Raises:
            DataError: when no document or more than one matches; without the place, which the caller knows.
        """
        name = name.replace("\\", "/").removeprefix("./") if name not in self._exact else name
        if name in self._exact:
            return name
        if longer := self._by_tail.get(name):
            if len(longer) == 1:
                return next(iter(longer))
            examples = ", ".join(sorted(longer)[:3])
            raise DataError(f"document '{name}' may be any of {examples}; write the whole path")
        parts = name.split("/")
        for start in range(1, len(parts)):
            if (tail := "/".join(parts[start:])) in self._exact:
                return tail
        if self._gone is not None:
            return self._gone.find(name)
        raise DataError(f"document '{name}' is not in the folder")


def read_questions(
    paths: Sequence[Path], documents: Iterable[str], gone: Collection[str] = ()
) -> list[Asked]:
    """The questions of all files, their documents found among ``documents``, else among those that are ``gone``.

    Raises:
        DataError: naming file and line of everything wrong, up to 20 at once.
    """
    names, problems = Names(documents, gone), Problems()
    asked: list[Asked] = []
    first_use: dict[str, str] = {}
    sides: dict[str, Asked] = {}
    for path in paths:
        for where, line in text_lines(path, "question file"):
            try:
                item = _parse(where, line, names)
            except DataError as error:
                problems.add(where, str(error))
                continue
            if item.id in first_use:
                problems.add(where, f"id '{item.id}' is taken by {first_use[item.id]}; ids must differ")
                continue
            first_use[item.id] = where
            if item.split is not None:
                other = sides.setdefault(item.document, item)
                if other.split != item.split:
                    problems.add(
                        where,
                        f"split '{item.split}', but {other.where} puts '{item.document}' in '{other.split}';"
                        " a document is on one side",
                    )
            asked.append(item)
    problems.raise_any()
    if paths and not asked:
        raise DataError(f"{', '.join(map(str, paths))}: no question in it")
    return asked


def place_questions(
    asked: Sequence[Asked], documents: Sequence[Document], splits: Mapping[str, str]
) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """The questions whose pages were read, and a note for each one that had to be dropped.

    Raises:
        DataError: naming file and line where a page is outside its document.
    """
    by_name = {item.document: item for item in documents}
    readable = {page.page_id for item in documents for page in item.pages}
    problems = Problems()
    questions: list[Question] = []
    dropped: list[str] = []
    for item in asked:
        document = by_name.get(item.document)
        if document is None:
            dropped.append(
                f"{item.where}: question '{item.id}' is dropped because {item.document} is not in the folder any more"
            )
            continue
        if document.status != "ok":
            dropped.append(
                f"{item.where}: question '{item.id}' is dropped because {item.document} was skipped"
            )
            continue
        pages = item.pages
        if pages is None:
            if document.page_count != 1:
                problems.add(
                    item.where, f"'pages' is missing; {item.document} has {document.page_count} pages"
                )
                continue
            pages = (0,)
        outside = [page for page in pages if not 0 <= page < document.page_count]
        if outside:
            problems.add(
                item.where,
                f"page {outside[0]} is outside {item.document}, whose pages are 0 to"
                f" {document.page_count - 1} (counted from 0)",
            )
            continue
        present = {page.page for page in document.pages}
        kept = tuple(page for page in dict.fromkeys(pages) if page in present)
        if kept:
            split = splits[item.document]
            questions.append(
                Question(
                    item.id,
                    item.query,
                    item.document,
                    kept,
                    split,
                    item.extra,
                    kind=item.kind,
                    origin=item.origin,
                    language=item.language,
                    negatives=tuple(name for one in item.negatives if (name := page_id(*one)) in readable),
                )
            )
        else:
            dropped.append(f"{item.where}: question '{item.id}' is dropped because its pages cannot be read")
    problems.raise_any()
    return tuple(questions), tuple(dropped)


def _parse(where: str, line: str, names: Names) -> Asked:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(record, dict):
        raise DataError("a line must be one JSON object")
    identity = record.pop("id", None)
    if isinstance(identity, int) and not isinstance(identity, bool):
        identity = str(identity)
    query = record.pop("query", None)
    name = record.pop("document") if "document" in record else record.pop("image", None)
    pages = record.pop("pages", None)
    split = record.pop("split", None)
    for column, value in (("id", identity), ("query", query), ("document", name)):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"'{column}' is missing or empty")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise DataError(f"'{column}' holds half a character (a lone surrogate)")
    if pages is not None:
        if not isinstance(pages, list) or not pages:
            raise DataError("'pages' must be a list of page numbers counted from 0, like [3, 4]")
        if not all(isinstance(page, int) and not isinstance(page, bool) for page in pages):
            raise DataError(f"'pages' holds something that is no page number: {pages}")
    if split is not None and split not in SPLITS:
        raise DataError(f"split '{split}' is not one of {', '.join(SPLITS)}")
    negatives = _page_names(record.pop("negatives", None), names)
    kind, origin, language = (_word(record, column) for column in ("kind", "origin", "language"))
    return Asked(
        where,
        identity,
        query.strip(),
        names.find(name),
        tuple(pages) if pages else None,
        split,
        record,
        kind=kind,
        origin=origin or PERSON,
        language=language,
        negatives=negatives,
    )


def _page_names(value: object, names: Names) -> tuple[tuple[str, int], ...]:
    """The document and page of each page id of a list."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise DataError("'negatives' must be a list of page ids, like [\"report.pdf#p3\"]")
    found = []
    for name in value:
        document, mark, page = name.rpartition("#p")
        if not mark or not page.isdecimal():
            raise DataError(f"'negatives' holds '{name}', which is no page id like \"report.pdf#p3\"")
        found.append((names.find(document), int(page)))
    return tuple(dict.fromkeys(found))


def _word(record: dict[str, Any], column: str) -> str:
    """Take a column out that holds text where it is there at all; ``""`` where it is not."""
    value = record.pop(column, None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"'{column}' must be text, not {json.dumps(value)[:60]}")
    return value.strip()
