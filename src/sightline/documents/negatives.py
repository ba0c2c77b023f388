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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sightline.documents.records import Page, Question
from sightline.errors import DataError

NEGATIVES = "negatives.parquet"
VERSION = 1
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
