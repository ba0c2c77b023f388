"""Metadata files: JSON lines ``{"document": name, ...any fields}``, what people know of their documents."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from sightline.documents.questions import Names
from sightline.errors import DataError, Problems
from sightline.files import text_lines


def read_metadata(
    path: Path, documents: Iterable[str], gone: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """The fields of each document named, by document id.

    Args:
        path: JSON lines; names are found as in question files, see `Names`.
        documents: the documents there are.
        gone: documents of earlier runs; lines about them are passed over.

    Raises:
        DataError: naming file and line of everything wrong, up to 20 at once.
    """
    names, problems = Names(documents, gone), Problems()
    found: dict[str, dict[str, Any]] = {}
    first: dict[str, str] = {}
    for where, line in text_lines(path, "metadata file"):
        try:
            document, fields = _parse(line, names)
        except DataError as error:
            problems.add(where, str(error))
            continue
        if document in found:
            problems.add(where, f"'{document}' is described by {first[document]} already; one line each")
            continue
        found[document], first[document] = fields, where
    problems.raise_any()
    return found


def _parse(line: str, names: Names) -> tuple[str, dict[str, Any]]:
    try:
        record = json.loads(line, parse_constant=_no_number)
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(record, dict):
        raise DataError("a line must be one JSON object")
    name = record.pop("document", None)
    if not isinstance(name, str) or not name.strip():
        raise DataError("'document' is missing or empty")
    return names.find(name), record


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number JSON knows")
