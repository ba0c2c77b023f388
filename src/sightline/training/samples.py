"""The items a memory plan is measured on: the costliest of each kind, and some as they come."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.errors import SightlineError
from sightline.training.batches import BatchBuilder, ItemIdentity
from sightline.training.rows import Rows
from sightline.training.streams import Stream
from sightline.types import Features, Item

# Rows remembered per column and modality.
COSTLIEST = 3
# Rows taken evenly from the whole dataset.
TYPICAL = 8

# Column and modalities -> (size, row) of the largest items, whatever size means there.
Sizes = dict[tuple[str, str], list[tuple[int, int]]]


@dataclass(frozen=True)
class Sample:
    """An item of the dataset, preprocessed.

    Attributes:
        row: its row's number.
        column: its column.
        features: what a micro-batch is made of.
        typical: taken as it came, not for its size.
    """

    row: int
    column: str
    features: Features
    typical: bool

    def __str__(self) -> str:
        cost = self.features.cost
        patches = f" and {cost.patches:,} patches" if cost.patches else ""
        return f"row {self.row}, column {self.column!r} ({cost.tokens:,} tokens{patches})"


def note_size(sizes: Sizes, column: str, item: Item, row: int, features: Features | None = None) -> None:
    """Remembers an item if it is among the largest of its kind.

    Text counts by its letters, everything else by the cost of its features.
    """
    kind = (column, "+".join(sorted(item.modalities)))
    size = sum(len(part.value) for part in item.parts if part.modality == "text")
    _push(sizes.setdefault(kind, []), (size if features is None else features.cost.total, row))


def merge_sizes(into: Sizes, more: Sizes) -> None:
    """Keeps the largest of both."""
    for kind, entries in more.items():
        for entry in entries:
            _push(into.setdefault(kind, []), entry)


def take_samples(
    rows: Rows | Stream, builder: BatchBuilder, usable: Sequence[int], sizes: Sizes | None
) -> list[Sample]:
    """Preprocesses the largest items and some typical ones, each once.

    Args:
        rows: the dataset.
        builder: how training reads it.
        usable: numbers of the rows that can be read.
        sizes: of `note_size`; None where nobody has looked, and the costliest of the typical rows must do.
    """
    step = max(1, len(usable) // TYPICAL)
    typical = list(usable[::step])[:TYPICAL]
    wanted: dict[int, set[str]] = {row: set() for row in typical}
    for (column, _), entries in (sizes or {}).items():
        for _, row in entries:
            wanted.setdefault(row, set()).add(column)
    samples: list[Sample] = []
    seen: set[ItemIdentity] = set()
    for row, columns in wanted.items():
        samples += _of_row(rows[row], builder, columns, row in typical, seen)
    return samples


def _of_row(
    numbered: tuple[int, Mapping[str, Any]],
    builder: BatchBuilder,
    columns: Iterable[str],
    typical: bool,
    seen: set[ItemIdentity],
) -> list[Sample]:
    """All items of the columns, and of a typical row the first of each other column."""
    samples = []
    number, row = numbered
    taken: set[str] = set()
    try:
        for column, item, role, prompt in builder.row_reader.read(number, row):
            if item is None or (column not in columns and (column in taken or not typical)):
                continue
            taken.add(column)
            if (item.key, role, prompt) not in seen:
                seen.add((item.key, role, prompt))
                features = builder.preprocess(item, role=role, prompt=prompt)
                samples.append(Sample(number, column, features, typical))
    except SightlineError:
        pass  # of rows that nobody has looked at; they are named, or left out, where batches are made
    return samples


def _push(heap: list[tuple[int, int]], entry: tuple[int, int]) -> None:
    if len(heap) < COSTLIEST:
        heapq.heappush(heap, entry)
    elif entry > heap[0]:
        heapq.heapreplace(heap, entry)
