"""Mined negatives beside a dataset: ``negatives.parquet``.

A row per question and page that answers it, in the order of the questions::

    question_id, positive           the pair, the page by its id
    positive_score                  of the model that mined, or of its reranker
    negatives                       page ids, the best first
    scores, ranks                   of each of them; ranks from 1 among the pages that are no right answer

What the file was made of stands in the metadata of its schema. It says nothing of when, so that equal runs write
equal files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sightline.documents.records import Document, Page, Question
from sightline.errors import DataError

NEGATIVES = "negatives.parquet"
VERSION = 1
# In the facts of negatives that were carried over to more questions: the content they were mined for.
CARRIED = "carried_from"
_KEY = b"sightline"


@dataclass(frozen=True, slots=True)
class MinedRow:
    """The negatives of one question and right page; see the module."""

    question_id: str
    positive: str
    positive_score: float
    negatives: tuple[str, ...]
    scores: tuple[float, ...]
    ranks: tuple[int, ...]

    def only(self, places: Iterable[int]) -> MinedRow:
        """The row with the negatives at these places, and the scores and ranks beside them."""
        kept = list(places)
        return replace(
            self,
            negatives=tuple(self.negatives[place] for place in kept),
            scores=tuple(self.scores[place] for place in kept),
            ranks=tuple(self.ranks[place] for place in kept),
        )


@dataclass(frozen=True)
class Negatives:
    """What a run of mining left behind.

    Attributes:
        rows: in the order of the questions.
        facts: what they were made of: the dataset's content, model, rules, counts.
    """

    rows: tuple[MinedRow, ...]
    facts: Mapping[str, Any]

    @cached_property
    def by_pair(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Negatives by question id and right page."""
        return {(row.question_id, row.positive): row.negatives for row in self.rows}


def content_digest(pages: Iterable[Page], questions: Iterable[Question]) -> str:
    """Changes when a page or a question is added, removed or altered."""
    found = hashlib.sha256()
    for page in pages:
        facts = [page.page_id, page.content_hash, page.text, page.duplicate_of]
        found.update(json.dumps(facts).encode() + b"\n")
    for question in questions:
        found.update(json.dumps([question.id, question.query, list(question.page_ids)]).encode() + b"\n")
    return found.hexdigest()


def write_negatives(root: Path, rows: Sequence[MinedRow], facts: Mapping[str, Any]) -> Path:
    """Replaces the file in one step.

    Raises:
        OSError: the disk is full or cannot be written; what stood there stays.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number, score = pa.string(), pa.int32(), pa.float32()
    schema = pa.schema(
        {
            "question_id": text,
            "positive": text,
            "positive_score": score,
            "negatives": pa.list_(text),
            "scores": pa.list_(score),
            "ranks": pa.list_(number),
        },
        metadata={_KEY: json.dumps({"version": VERSION, **facts}, sort_keys=True).encode()},
    )
    columns = [[getattr(row, name) for row in rows] for name in schema.names]
    table = pa.table([pa.array(values, kind.type) for values, kind in zip(columns, schema)], schema=schema)
    path, aside = root / NEGATIVES, root / f".{NEGATIVES}.tmp"
    try:
        pq.write_table(table, aside, compression="zstd")
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(root, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def has_negatives(root: Path) -> bool:
    """Whether negatives were mined for the dataset."""
    return (root / NEGATIVES).is_file()


def read_negatives(root: Path) -> Negatives:
    """What was mined for the dataset, whether or not it has changed since.

    Raises:
        DataError: nothing was mined, or the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = root / NEGATIVES
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[_KEY])
        rows = tuple(_row(row) for row in table.to_pylist())
    except FileNotFoundError as error:
        raise DataError(
            f"{root} has no mined negatives; `sightline mine {root} --model MODEL` finds them"
        ) from error
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); run `sightline mine` again") from error
    if facts.get("version") != VERSION:
        raise DataError(
            f"{path} is of version {facts.get('version')}, not {VERSION}; run `sightline mine` again"
        )
    return Negatives(rows, facts)


def _row(values: Mapping[str, Any]) -> MinedRow:
    return MinedRow(
        question_id=values["question_id"],
        positive=values["positive"],
        positive_score=values["positive_score"],
        negatives=tuple(values["negatives"]),
        scores=tuple(values["scores"]),
        ranks=tuple(values["ranks"]),
    )


def carry_negatives(
    root: Path, before: Sequence[Question], after: Sequence[Question], documents: Iterable[Document]
) -> bool:
    """Make what was mined fit questions that are about to be added, so that training goes on with it.

    Pages that the new questions say are right for the same words are no negatives any more. The new questions have no
    mined negatives until `sightline mine` runs again, which it does in full.

    Args:
        root: of the dataset; its questions must be replaced by ``after`` next.
        before, after: the questions as they are, and as they will be.
        documents: of the dataset.

    Returns:
        whether there was something to carry; not where nothing was mined, or it was out of date already.
    """
    if not has_negatives(root):
        return False
    mined = read_negatives(root)
    split = mined.facts["split"]
    pages = [page for item in documents if item.split == split for page in item.pages]
    now, then = (
        content_digest(pages, [one for one in asked if one.split == split]) for asked in (before, after)
    )
    # A call that was killed between the two files has carried them already.
    origin = mined.facts["content"]
    if now not in (origin, mined.facts.get(CARRIED)) or origin == then:
        return False
    right: dict[str, set[str]] = {}
    for one in after:
        right.setdefault(one.query, set()).update(one.page_ids)
    queries = {one.id: one.query for one in after}
    rows = []
    for row in mined.rows:
        if row.question_id in queries:
            wrong = right[queries[row.question_id]]
            kept = [place for place, name in enumerate(row.negatives) if name not in wrong]
            rows.append(row.only(kept))
    facts = {name: value for name, value in mined.facts.items() if name != "version"}
    write_negatives(root, rows, {**facts, "content": then, CARRIED: now})
    return True


def check_current(root: Path, negatives: Negatives, split: str, content: str) -> None:
    """Refuses negatives that were mined for something else.

    Args:
        root: of the dataset.
        negatives: of `read_negatives`.
        split: whose questions are wanted.
        content: `content_digest` of the split now.

    Raises:
        DataError: they are of another split, or pages or questions have changed since.
    """
    mined = negatives.facts["split"]
    if mined != split:
        raise DataError(
            f"{root / NEGATIVES} holds negatives of the split '{mined}', not of '{split}'; "
            f"run `sightline mine {root} --split {split}`"
        )
    if negatives.facts["content"] != content:
        raise DataError(
            f"{root}: pages or questions have changed since its negatives were mined; run `sightline mine` again "
            "(pages that are as they were are not embedded again)"
        )
