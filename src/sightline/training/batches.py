"""Rows to a Batch, in worker processes: parse, find the distinct items, preprocess, plan, pad, pack.

Shape letters::

    N  distinct items of the batch     B  rows     C  columns
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
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
    """A row that cannot be used, and why; the reason names the column and the file.

    Attributes:
        row: its number in its dataset.
        reason: what is wrong.
        dataset: the name of its dataset, empty for a single one.
    """

    row: int
    reason: str
    dataset: str = ""


class Delivery(TypedDict):
    """What a worker hands over. ``batch`` is None where no row of the ``dataset`` could be used.

    A plain dict, which is what transformers' training loop knows how to look into.
    """

    batch: Batch | None
    bad: tuple[BadRow, ...]
    dataset: str


@dataclass
class PreparedRows:
    """Some rows of a batch after reading.

    Attributes:
        numbers: the usable rows.
        cells: per usable row, the identity behind each cell, None where it is empty.
        features: those of each distinct item, by its identity, in order of appearance.
        targets: per target column, one array per usable row.
        bad: the other rows.
        dataset: the name of theirs.
    """

    numbers: list[int] = field(default_factory=list)
    cells: list[list[ItemIdentity | None]] = field(default_factory=list)
    features: dict[ItemIdentity, Features] = field(default_factory=dict)
    targets: dict[str, list[np.ndarray]] = field(default_factory=dict)
    bad: list[BadRow] = field(default_factory=list)
    dataset: str = ""


@dataclass(frozen=True)
class BatchBuilder:
    """The DataLoader's collate function. Picklable if its two callables are.

    Args:
        preprocess: ``preprocess(item, role=, prompt=) -> Features``, the encoder's.
        collate: ``collate(features, indices) -> MicroBatch``, the encoder's.
        columns: what the columns mean.
        modalities: what the model takes, for values that could be text or a path.
        limits: how large a micro-batch may be, read for every batch.
        packed: groups whose texts the encoder runs without padding.
        dataset: the name of the rows' dataset among several.
    """

    preprocess: Callable[..., Features]
    collate: Collate
    columns: Columns
    modalities: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    packed: frozenset[str] = frozenset()
    dataset: str = ""

    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Delivery:
        """One batch out of numbered rows. Rows that cannot be read are left out and reported."""
        return self.assemble([self.prepare(rows)])

    def prepare(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> PreparedRows:
        """The rows read and their items preprocessed; the part of the work that can be divided by rows.

        Raises:
            DataError: something other than a bad row went wrong; names the row.
        """
        done = PreparedRows(dataset=self.dataset)
        for number, row in rows:
            try:
                cells, new = self._read(number, row, done.features)
            except SightlineError as error:
                done.bad.append(BadRow(number, str(error), self.dataset))
                continue
            except Exception as error:
                raise DataError(
                    f"row {number}: {type(error).__name__} while preparing it: {error}"
                ) from error
            # Only a row that is whole adds items: a batch has none that no cell points to.
            done.features |= new
            done.cells.append(cells)
            done.numbers.append(number)
            for name in self.columns.targets:
                done.targets.setdefault(name, []).append(torch.as_tensor(row[name]).numpy())
        return done

    def assemble(
        self,
        parts: Sequence[PreparedRows],
        pack: Callable[[list[MicroBatch]], PackedMicroBatches] | None = None,
    ) -> Delivery:
        """One batch out of its prepared rows, the same however they were divided.

        Args:
            parts: in the order of the rows.
            pack: how the micro-batches become one buffer; `PackedMicroBatches.pack` by default.
        """
        bad = tuple(one for part in parts for one in part.bad)
        features: dict[ItemIdentity, Features] = {}
        for part in parts:
            for identity, feature in part.features.items():
                features.setdefault(identity, feature)
        numbers = [number for part in parts for number in part.numbers]
        if not numbers:
            return {"batch": None, "bad": bad, "dataset": self.dataset}
        index = {identity: place for place, identity in enumerate(features)}
        ordered = list(features.values())
        groups = plan(
            [feature.cost for feature in ordered],
            [feature.group for feature in ordered],
            token_budget=self.limits.token_budget,
            max_items=self.limits.max_items,
            packed=self.packed,
        )
        micro_batches = [self.collate([ordered[i] for i in group], group) for group in groups]
        rows = [row for part in parts for row in part.cells]
        cells = [[-1 if cell is None else index[cell] for cell in row] for row in rows]
        targets = {
            name: _targets(name, numbers, [value for part in parts for value in part.targets.get(name, ())])
            for name in self.columns.targets
        }
        batch = Batch(
            micro_batches=(pack or PackedMicroBatches.pack)(micro_batches),
            keys_N=torch.tensor([content_key(key) for key, _, _ in features], dtype=torch.long),
            columns_BC=torch.tensor(cells, dtype=torch.long),
            roles=self.columns.roles,
            column_names=self.columns.names,
            targets=targets,
            rows=tuple(numbers),
            identities_N=torch.tensor([identity_key(one) for one in features], dtype=torch.long),
            dataset=self.dataset,
        )
        return {"batch": batch, "bad": bad, "dataset": self.dataset}

    def _read(
        self, number: int, row: Mapping[str, Any], known: Mapping[ItemIdentity, Features]
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


def _targets(name: str, numbers: Sequence[int], arrays: Sequence[np.ndarray]) -> torch.Tensor:
    values = [torch.as_tensor(array) for array in arrays]
    for number, value in zip(numbers, values, strict=True):
        if value.shape != values[0].shape:
            raise DataError(
                f"row {number}, column {name!r}: {value.numel()} numbers, where row {numbers[0]} "
                f"has {values[0].numel()}; every row needs as many"
            )
    stacked = torch.stack(values)
    return stacked.float() if stacked.is_floating_point() else stacked
