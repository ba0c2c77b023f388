"""From a row to the pairs of a query and a document that a reranker scores.

Three kinds of rows, told apart by their cells:

- a query, a document and a label: one pair;
- a query, a list of documents and a list of labels: a pair per document;
- a query, a positive and negatives, each in a column of its own: a pair per document column. Where there is no label
  column, the first document is labelled 1 and the others 0.

A loss with in-batch negatives also pairs each query with documents of the other rows of its batch.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sightline.errors import DataError
from sightline.inputs.messages import is_messages
from sightline.inputs.pairs import parse_pair
from sightline.inputs.parse import parse
from sightline.losses.base import Loss
from sightline.losses.needs import needs_of
from sightline.losses.pair_scores import IN_BATCH, PAIR
from sightline.training.alike import check_single_target
from sightline.training.fitting import pair_losses
from sightline.training.label_check import LabelCheck
from sightline.training.reading import Cell, cell_value, read_target
from sightline.training.rows import Columns, Rows
from sightline.training.seeds import mix
from sightline.training.streams import Stream

LABEL = "label"


@dataclass(frozen=True)
class PairReader:
    """Reads rows as pairs; a `RowReader`.

    Attributes:
        query: the column of the query.
        documents: the columns of its documents; a single one may hold a list per row.
        targets: label columns.
        prompt: text put in front of each query.
        modalities: what the model takes.
        in_batch: documents of other rows per query; None for all of the batch.
        seed: of their choice, together with the numbers of the batch's rows.
        check: looks at the labels.
    """

    query: str
    documents: tuple[str, ...]
    targets: tuple[str, ...] = ()
    prompt: str | None = None
    modalities: tuple[Any, ...] = ("text",)
    in_batch: int | None = 0
    seed: int = 0
    check: LabelCheck = field(default_factory=LabelCheck)

    @property
    def ragged(self) -> bool:
        """Rows may have lists of different lengths."""
        return len(self.documents) == 1

    @property
    def needs_whole_batch(self) -> bool:
        """Which pairs a row gives depends on the other rows of its batch."""
        return self.in_batch != 0

    def holds_list(self, row: Mapping[str, Any]) -> bool:
        """Whether a row's documents are a list in one column."""
        value = row.get(self.documents[0])
        return self.ragged and isinstance(value, (list, tuple)) and not is_messages(value)

    def read(self, number: int, row: Mapping[str, Any]) -> list[Cell]:
        """A pair per document, in order.

        Raises:
            SightlineError: with the row and its columns in front.
        """
        query = self._query(number, row)
        return [
            self._cell(number, column, where, query, value)
            for column, where, value in self._values(number, row)
        ]

    def labels(self, number: int, row: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Target column -> a number, or one per document.

        Raises:
            DataError: labels that are missing or no numbers, that the loss does not take, or as many as there are no
                documents.
        """
        found = {name: read_target(number, row, name) for name in self.targets}
        documents = self._values(number, row)
        if not found and len(self.documents) > 1:
            return {LABEL: np.array([1.0] + [0.0] * (len(documents) - 1), dtype=np.float32)}
        if self.holds_list(row):
            for name, values in found.items():
                if values.shape != (len(documents),):
                    had = f"{len(values)} labels" if values.ndim else "a single label"
                    raise DataError(
                        f"row {number}: {len(documents)} documents in column {self.documents[0]!r}, but {had} in "
                        f"column {name!r}; every document needs one"
                    )
        self.check(number, found, len(documents))
        return found

    def others(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[list[Cell]]:
        """Each row's query with documents of the other rows: as many, drawn at random, as there are and are wanted.

        Equal documents count once. No document is taken that stands in a row of an equal query.

        Args:
            rows: those of the batch that `read` took.
        """
        if self.in_batch == 0 or len(rows) < 2:
            return [[] for _ in rows]
        candidates: dict[str, tuple[int, Any]] = {}
        answers: dict[str, set[str]] = {}
        asked = [self._key(number, self.query, self._query(number, row)) for number, row in rows]
        for query, (number, row) in zip(asked, rows, strict=True):
            for column, _, value in self._values(number, row):
                if value is not None:
                    key = self._key(number, column, value)
                    candidates.setdefault(key, (number, value))
                    answers.setdefault(query, set()).add(key)
        numbers = repr([number for number, _ in rows]).encode()
        digest = int.from_bytes(hashlib.blake2b(numbers, digest_size=7).digest(), "big")
        chance = random.Random(mix(self.seed, digest))
        keys = list(candidates)
        found = []
        for query, (number, row) in zip(asked, rows, strict=True):
            own = answers.get(query, set())
            drawn = keys
            if self.in_batch is not None:
                # That many more, because the row's own may be among those drawn.
                drawn = chance.sample(keys, min(len(keys), self.in_batch + len(own)))
            chosen = [candidates[key] for key in drawn if key not in own][: self.in_batch]
            found.append(
                [
                    self._cell(
                        number, IN_BATCH, f"a document of row {other}", self._query(number, row), value
                    )
                    for other, value in chosen
                ]
            )
        return found

    def header(self, own: int, others: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Name and role of each column of a batch.

        Args:
            own: columns of the rows' own documents.
            others: columns of other rows' documents.
        """
        names = self.documents * own if self.ragged else self.documents
        return (*names, *[IN_BATCH] * others), (PAIR,) * (own + others)

    def width(self, rows: Sequence[tuple[int, Mapping[str, Any]]], batch_rows: int) -> int:
        """Pairs per row at most, as far as some rows tell."""
        own = max((len(self._values(number, row)) for number, row in rows), default=1)
        most = own * (batch_rows - 1)
        return own + (most if self.in_batch is None else min(self.in_batch, most))

    def _query(self, number: int, row: Mapping[str, Any]) -> Any:
        value = cell_value(number, row, self.query)
        if value is None:
            raise DataError(f"row {number}, column {self.query!r}: empty; every pair needs a query")
        return value

    def _values(self, number: int, row: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
        """Column, what messages call the place, and value of each document; None where a cell is empty."""
        columns = self.documents
        if self.holds_list(row):
            if self.needs_whole_batch:
                raise DataError(
                    f"row {number}, column {columns[0]!r}: a list of documents, of which none is the positive; a loss "
                    "with in-batch negatives needs a column for the positive, and one for each negative"
                )
            values = list(row[columns[0]])
            missing = [place for place, value in enumerate(values) if value is None]
            if missing or not values:
                what = f"document {missing[0]} is empty" if missing else "the list is empty"
                raise DataError(f"row {number}, column {columns[0]!r}: {what}")
            return [
                (columns[0], f"column '{columns[0]}[{place}]'", value) for place, value in enumerate(values)
            ]
        found = [(column, f"column {column!r}", cell_value(number, row, column)) for column in columns]
        if all(value is None for _, _, value in found):
            raise DataError(f"row {number}, column {columns[0]!r}: empty; the row has no document")
        return found

    def _cell(self, number: int, column: str, where: str, query: Any, document: Any) -> Cell:
        item = None
        if document is not None:
            source = f"row {number}, column {self.query!r} with {where}"
            item = parse_pair((query, document), source=source, modalities=self.modalities)
        return Cell(column, item, None, self.prompt)

    def _key(self, number: int, column: str, value: Any) -> str:
        return parse(value, source=f"row {number}, column {column!r}", modalities=self.modalities).key


def pair_reader(
    columns: Columns,
    loss: Loss,
    *,
    modalities: tuple[Any, ...],
    seed: int = 0,
    classes: int = 0,
    name: str = "the training dataset",
) -> PairReader:
    """How the rows of one dataset become pairs for one loss.

    Args:
        columns: of `choose_columns`; the one in the role of the query is paired with each of the others.
        loss: says whether labels are needed, and how many in-batch negatives.
        modalities: what the model takes.
        seed: of the in-batch negatives.
        classes: scores per pair that the model gives; 0 where it is not known.
        name: the dataset, for messages.

    Raises:
        DataError: there is not exactly one query column, no document column, no label where the loss needs one or
            several of them, or several documents where it wants single pairs.
        ConfigError: the loss is for vectors.
    """
    losses = pair_losses(loss)
    queries = [column for column, role, _ in columns.cells if role == "query"]
    documents = tuple(column for column, role, _ in columns.cells if role != "query")
    if len(queries) != 1 or not documents:
        raise DataError(
            f"a reranker learns from a query column and document columns, but {name} has "
            f"{', '.join(queries) or 'no column'} as queries and {', '.join(documents) or 'no column'} as documents; "
            "columns= and roles= say which is which"
        )
    if not columns.targets and len(documents) == 1 and any(one.needs_labels for one in losses):
        needing = next(type(one).__name__ for one in losses if one.needs_labels)
        raise DataError(
            f"{name} has the columns {', '.join(columns.names)} and no label; {needing} needs one, in a column label, "
            "labels, score or scores, or negatives in columns of their own"
        )
    needs = tuple(need for one in losses for need in needs_of(one))
    for need in needs:
        if need.counts or need.classes:
            check_single_target(need.loss, columns, name)
        if need.classes and len(documents) > 1:
            raise DataError(
                f"{need.loss} needs rows of one pair with its class, but {name} has the documents "
                f"{', '.join(documents)}; labelled_pairs makes such rows"
            )
    wanted = [one.in_batch_negatives for one in losses]
    return PairReader(
        query=queries[0],
        documents=documents,
        targets=columns.targets,
        prompt=next(prompt for _, role, prompt in columns.cells if role == "query"),
        modalities=modalities,
        in_batch=None if None in wanted else max(number for number in wanted if number is not None),
        seed=seed,
        check=LabelCheck(needs, classes),
    )


def check_documents(reader: PairReader, loss: Loss, rows: Rows | Stream) -> None:
    """Whether rows have as many documents as the loss needs to compare any; lists may have them row by row.

    Raises:
        DataError: they have not; names the dataset.
    """
    for need in needs_of(*pair_losses(loss)):
        if len(reader.documents) < need.documents and not reader.holds_list(rows[0][1]):
            raise DataError(
                f"{need.loss} compares a query's documents, but the rows of {rows.title} have one, in column "
                f"{reader.documents[0]!r}; give negatives in columns of their own, or lists of documents"
            )
