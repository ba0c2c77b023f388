"""Rows to a Batch, in a worker process: parse, find the distinct items, preprocess, plan, pad, pack.

Shape letters::

    N  distinct items of the batch     B  rows     C  columns
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch

from sightline.errors import DataError, SightlineError
from sightline.inputs.parse import parse
from sightline.inputs.planning import plan
from sightline.training.limits import Limits
from sightline.training.rows import Columns
from sightline.training.transport import PackedMicroBatches
from sightline.types import Batch, Features, Item, MicroBatch

Collate = Callable[[Sequence[Features], Sequence[int]], MicroBatch]
# Equal content behind another role or prompt is another vector.
ItemIdentity = tuple[str, str, str | None]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why; the reason names the column and the file."""

    row: int
    reason: str


class Delivery(TypedDict):
    """What a worker hands over. ``batch`` is None where no row could be used.

    A plain dict, which is what transformers' training loop knows how to look into.
    """

    batch: Batch | None
    bad: tuple[BadRow, ...]


@dataclass(frozen=True)
class BatchBuilder:
    """The DataLoader's collate function. Picklable if its two callables are.

    Args:
        preprocess: ``preprocess(item, role=, prompt=) -> Features``, the encoder's.
        collate: ``collate(features, indices) -> MicroBatch``, the encoder's.
        columns: what the columns mean.
        modalities: what the model takes, for values that could be text or a path.
        limits: how large a micro-batch may be, read for every batch.
    """

    preprocess: Callable[..., Features]
    collate: Collate
    columns: Columns
    modalities: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)

    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Delivery:
        """One batch out of numbered rows. Rows that cannot be read are left out and reported."""
        items: dict[ItemIdentity, int] = {}
        features: list[Features] = []
        cells: list[list[int]] = []
        good: list[tuple[int, Mapping[str, Any]]] = []
        bad: list[BadRow] = []
        for number, row in rows:
            try:
                identities, new = self._read(number, row, items)
            except SightlineError as error:
                bad.append(BadRow(number, str(error)))
                continue
            # Only a row that is whole adds items: a batch has none that no cell points to.
            for identity, feature in new.items():
                items[identity] = len(features)
                features.append(feature)
            cells.append([-1 if identity is None else items[identity] for identity in identities])
            good.append((number, row))
        if not good:
            return {"batch": None, "bad": tuple(bad)}
        groups = plan(
            [feature.cost for feature in features],
            [feature.group for feature in features],
            token_budget=self.limits.token_budget,
            max_items=self.limits.max_items,
        )
        micro_batches = [self.collate([features[i] for i in group], group) for group in groups]
        batch = Batch(
            micro_batches=PackedMicroBatches.pack(micro_batches),
            keys_N=torch.tensor([content_key(key) for key, _, _ in items], dtype=torch.long),
            columns_BC=torch.tensor(cells, dtype=torch.long),
            roles=self.columns.roles,
            column_names=self.columns.names,
            targets={name: _targets(name, good) for name in self.columns.targets},
            rows=tuple(number for number, _ in good),
            identities_N=torch.tensor([identity_key(one) for one in items], dtype=torch.long),
        )
        return {"batch": batch, "bad": tuple(bad)}

    def _read(
        self, number: int, row: Mapping[str, Any], known: Mapping[ItemIdentity, int]
    ) -> tuple[list[ItemIdentity | None], dict[ItemIdentity, Features]]:
        """The identity behind each cell of a row (None where it is empty), and the features of new items."""
        for column in self.columns.targets:
            check_target(number, row, column)
        identities: list[ItemIdentity | None] = []
        new: dict[ItemIdentity, Features] = {}
        for column, role, prompt in self.columns.cells:
            item = read_cell(number, row, column, self.modalities)
            if item is None:
                identities.append(None)
                continue
            identity = (item.key, role, prompt)
            identities.append(identity)
            if identity not in known and identity not in new:
                new[identity] = self.preprocess(item, role=role, prompt=prompt)
        return identities, new


def read_cell(number: int, row: Mapping[str, Any], column: str, modalities: tuple[str, ...]) -> Item | None:
    """The item in a cell, or None where it is empty.

    Raises:
        SightlineError: with the row and the column in front.
    """
    source = f"row {number}, column {column!r}"
    if column not in row:
        raise DataError(f"{source}: the row has no such column, only {', '.join(row)}")
    value = row[column]
    return None if value is None else parse(value, source=source, modalities=modalities)


def content_key(key: str) -> int:
    """60 bits of an item's content hash as an integer."""
    return int(key[:15], 16)


def identity_key(identity: ItemIdentity) -> int:
    """60 bits of a hash of an item's content, role and prompt: equal where the vector is."""
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=8).hexdigest()
    return content_key(digest)


def check_target(number: int, row: Mapping[str, Any], column: str) -> None:
    """Whether a target can be used.

    Raises:
        DataError: the cell is no number and no list of numbers.
    """
    try:
        torch.as_tensor(row[column])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        shown = repr(row.get(column))[:60]
        raise DataError(
            f"row {number}, column {column!r}: expected a number or a list of numbers, got {shown}"
        ) from error


def _targets(name: str, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> torch.Tensor:
    values = [torch.as_tensor(row[name]) for _, row in rows]
    for (number, _), value in zip(rows, values, strict=True):
        if value.shape != values[0].shape:
            raise DataError(
                f"row {number}, column {name!r}: {value.numel()} numbers, where row {rows[0][0]} "
                f"has {values[0].numel()}; every row needs as many"
            )
    stacked = torch.stack(values)
    return stacked.float() if stacked.is_floating_point() else stacked
