"""Labelled pairs out of rows of a query and its right document: what pointwise losses are trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from sightline.errors import ConfigError, DataError
from sightline.inputs.parse import parse
from sightline.training.rows import Rows, as_rows, choose_columns
from sightline.training.seeds import mix

# Rows looked at for one negative before the dataset is said to have no other documents.
_TRIES = 64


class LabelledPairs(Dataset):
    """A dataset of pairs, made of another as it is read: each right pair is followed by its wrong ones.

    Row ``i`` comes from row ``i // (1 + negatives)``. Made by `labelled_pairs`.
    """

    def __init__(
        self, rows: Rows, query: str, positive: str, own: Sequence[str], negatives: int, seed: int
    ) -> None:
        self.rows = rows
        self.query = query
        self.positive = positive
        self.own = tuple(own)
        self.negatives = negatives
        self.seed = seed

    def __len__(self) -> int:
        return len(self.rows) * (1 + self.negatives)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number, place = divmod(index, 1 + self.negatives)
        _, row = self.rows[number]
        document = row[self.positive] if place == 0 else self._negative(number, place - 1)
        return {self.query: row[self.query], self.positive: document, "label": 1 if place == 0 else 0}

    def _negative(self, number: int, place: int) -> Any:
        """The negative at a place: of the row's own, then of other rows, drawn by the seed."""
        _, row = self.rows[number]
        own = [row[column] for column in self.own if row[column] is not None]
        if place < len(own):
            return own[place]
        chance = random.Random(mix(self.seed, number))
        asked = self._key(number, self.query, row[self.query])
        taken = {self._key(number, self.positive, value) for value in [row[self.positive], *own]}
        value = None
        for _ in range(place - len(own) + 1):
            value = self._other(number, asked, taken, chance)
        return value

    def _other(self, number: int, asked: str, taken: set[str], chance: random.Random) -> Any:
        """Another row's right document, which is none of those taken; adds it to them."""
        for _ in range(_TRIES):
            other = chance.randrange(len(self.rows))
            if other == number:
                continue
            _, row = self.rows[other]
            key = self._key(other, self.positive, row[self.positive])
            if key not in taken and self._key(other, self.query, row[self.query]) != asked:
                taken.add(key)
                return row[self.positive]
        raise DataError(
            f"row {number}: {self.negatives} negatives are wanted, but the dataset has too few other documents in "
            f"column {self.positive!r}; ask for fewer"
        )

    @staticmethod
    def _key(number: int, column: str, value: Any) -> str:
        return parse(value, source=f"row {number}, column {column!r}").key


def labelled_pairs(
    dataset: Any,
    *,
    negatives: int,
    query: str | None = None,
    positive: str | None = None,
    negative_columns: Sequence[str] | None = None,
    seed: int = 0,
) -> LabelledPairs:
    """Rows of a query, its right document and perhaps wrong ones as pairs labelled 1 and 0.

    Columns go by the convention (query, positive, negatives) unless they are named. A row with fewer negatives of its
    own than wanted gets other rows' right documents, drawn by the seed: none that it holds itself, and none that
    answers an equal query. To train both directions, make two datasets, the second with ``query`` and ``positive``
    exchanged.

    Args:
        dataset: anything that the `Trainer` takes.
        negatives: wrong pairs per right one; about what `BinaryCrossEntropy` wants as ``pos_weight``.
        query, positive: columns.
        negative_columns: columns of the row's own negatives; none if one of the other two is named.
        seed: of the draws.

    Raises:
        ConfigError: a negative number of negatives.
        DataError: columns that are not there; when read, too few other documents to draw from.
    """
    if negatives < 0:
        raise ConfigError(f"labelled_pairs needs a number of negatives from 0 up, not {negatives}")
    rows = as_rows(dataset, name="the dataset")
    names = choose_columns(rows.column_names, name="the dataset").names
    by_name = query is not None or positive is not None
    chosen = [query or names[0], *([positive] if positive else names[1:2])]
    if len(chosen) < 2:
        raise DataError(f"the dataset has one column, {names[0]!r}, and no document to pair it with")
    own = list(negative_columns if negative_columns is not None else () if by_name else names[2:])
    missing = [column for column in [*chosen, *own] if column not in rows.column_names]
    if missing:
        raise DataError(f"the dataset has no column {missing[0]!r}, only {', '.join(rows.column_names)}")
    return LabelledPairs(rows, chosen[0], chosen[1], own, negatives, seed)
