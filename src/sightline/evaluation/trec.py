"""TREC's files as trec_eval reads them: qrels (``query 0 document gain``), runs (``query Q0 document rank score tag``).

Columns stand apart by blanks, so an id must not hold one. Where ours does (``annual report.pdf#p3``), blanks and the
percent sign are written ``%20`` and ``%25``, and read back; what is written and read again is the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.errors import DataError, Problems
from sightline.evaluation.metrics import Qrels, Run, gains_of, rank_documents
from sightline.files import new_folder, text_lines, write_text

if TYPE_CHECKING:
    from sightline.evaluation.collection import Collection

_BLANK = re.compile(r"[\s%]")
_WRITTEN = re.compile(r"(?:%[0-9A-F]{2})+")


def read_qrels(path: str | PathLike[str]) -> dict[str, dict[str, float]]:
    """Judgments: query id -> document id -> gain.

    Raises:
        DataError: naming file and line of everything wrong, up to 20 at once.
    """
    return _by_query(
        Path(path), ("query 0 document gain", "file of judgments"), "gain", "judged", "no judgment in it"
    )


def write_qrels(qrels: Qrels, path: str | PathLike[str]) -> Path:
    """Writes judgments, atomically; gains as whole numbers where they are."""
    lines = [
        f"{_quoted(query)} 0 {_quoted(document)} {number_text(gain)}\n"
        for query, judged in qrels.items()
        for document, gain in gains_of(judged).items()
    ]
    return write_text(path, "".join(lines))


def read_run(path: str | PathLike[str]) -> dict[str, dict[str, float]]:
    """What a system retrieved: query id -> document id -> score. Ranks are not looked at, as trec_eval does not.

    Raises:
        DataError: naming file and line of everything wrong, up to 20 at once.
    """
    line = ("query Q0 document rank score tag", "run")
    return _by_query(Path(path), line, "score", "retrieved", "nothing retrieved in it")


def write_run(run: Run, path: str | PathLike[str], *, tag: str = "sightline") -> Path:
    """Writes a run, atomically, best document first; scores with every digit."""
    lines = [
        f"{_quoted(query)} Q0 {_quoted(document)} {rank} {scores[document]!r} {_quoted(tag)}\n"
        for query, scores in run.items()
        for rank, document in enumerate(rank_documents(scores, query), start=1)
    ]
    return write_text(path, "".join(lines))


def write_trec(collection: Collection, folder: str | PathLike[str]) -> Path:
    """Writes ``queries.tsv`` (id, tab, text) and ``qrels.<split>`` for each split into a new folder, in one step.

    Raises:
        DataError: the folder is there already.
    """
    with new_folder(folder) as aside:
        lines = [f"{_quoted(qid)}\t{' '.join(text.split())}\n" for qid, text in collection.queries.items()]
        (aside / "queries.tsv").write_text("".join(lines), encoding="utf-8")
        for split, judged in collection.qrels.items():
            write_qrels(judged, aside / f"qrels.{split}")
    return Path(folder)


def number_text(value: float) -> str:
    """A whole number without a point, any other with every digit."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _by_query(
    path: Path, line: tuple[str, str], number: str, done: str, empty: str
) -> dict[str, dict[str, float]]:
    """query id -> document id -> the column called ``number``, of a file whose lines are as ``line`` says."""
    expected, what = line
    names = expected.split()
    place = names.index(number)
    found: dict[str, dict[str, float]] = {}
    problems = Problems()
    for where, columns in _columns(path, len(names), expected, what, problems):
        query, document, value = _plain(columns[0]), _plain(columns[2]), _number(columns[place])
        if value is None:
            problems.add(where, f"the {number} '{columns[place]}' is no number")
        elif document in found.setdefault(query, {}):
            problems.add(where, f"document '{document}' is {done} twice for query '{query}'")
        else:
            found[query][document] = value
    problems.raise_any()
    if not found:
        raise DataError(f"{path}: {empty}")
    return found


def _columns(
    path: Path, count: int, expected: str, what: str, problems: Problems
) -> Iterator[tuple[str, list[str]]]:
    for where, line in text_lines(path, what):
        columns = line.split()
        if len(columns) == count:
            yield where, columns
        else:
            problems.add(where, f"{len(columns)} columns, not {count}: {expected}")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _quoted(identifier: str) -> str:
    """Blanks and percent signs as the bytes of their UTF-8, ``%20``."""
    if not identifier:
        raise DataError("an empty id cannot be written into a TREC file")
    return _BLANK.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), identifier)


def _plain(identifier: str) -> str:
    return _WRITTEN.sub(_decoded, identifier)


def _decoded(found: re.Match[str]) -> str:
    """Blanks and percent signs again; any other bytes are some foreign id's own and stay."""
    try:
        text = bytes.fromhex(found.group().replace("%", "")).decode()
    except UnicodeDecodeError:
        return found.group()
    return "".join(
        one if _BLANK.fullmatch(one) else "".join(f"%{byte:02X}" for byte in one.encode()) for one in text
    )
