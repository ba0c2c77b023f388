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
from sightline.inputs.planning import plan
from sightline.training.alike import Pattern
from sightline.training.limits import Limits
from sightline.training.reading import Cell, ItemReader, RowReader
from sightline.training.rows import Columns
from sightline.training.transport import PackedMicroBatches
from sightline.types import Batch, Features, MicroBatch

Collate = Callable[[Sequence[Features], Sequence[int]], MicroBatch]
# Equal content behind another role or prompt is another vector.
ItemIdentity = tuple[str, str | None, str | None]


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
        others: the same of the further cells that depend on the other rows.
        features: those of each distinct item, by its identity, in order of appearance.
        targets: per target column, one array per usable row.
        bad: the other rows.
        dataset: the name of theirs.
    """

    numbers: list[int] = field(default_factory=list)
    cells: list[list[ItemIdentity | None]] = field(default_factory=list)
    others: list[list[ItemIdentity | None]] = field(default_factory=list)
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
        reader: how rows are read; by default each column's cell as an item.
        pattern: what rows have to have in common, where nobody has looked at them before.
    """

    preprocess: Callable[..., Features]
    collate: Collate
    columns: Columns
    modalities: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    packed: frozenset[str] = frozenset()
    dataset: str = ""
    reader: RowReader | None = None
    pattern: Pattern | None = None

    @property
    def row_reader(self) -> RowReader:
        """How rows are read."""
        return self.reader or ItemReader(self.columns, self.modalities)

    @property
    def needs_whole_batch(self) -> bool:
        """`prepare` needs all rows of a batch together."""
        return self.row_reader.needs_whole_batch

    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Delivery:
        """One batch out of numbered rows. Rows that cannot be read are left out and reported."""
        return self.assemble([self.prepare(rows)])

    def prepare(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> PreparedRows:
        """The rows read and their items preprocessed; the part of the work that can be divided by rows.

        Raises:
            DataError: something other than a bad row went wrong; names the row.
        """
        done, reader = PreparedRows(dataset=self.dataset), self.row_reader
        usable: list[tuple[int, Mapping[str, Any]]] = []
        for number, row in rows:
            try:
                if self.pattern is not None:
                    self.pattern.check(number, row)
                labels = reader.labels(number, row)
                cells, new = self._features(reader.read(number, row), done.features)
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
            usable.append((number, row))
            for name, values in labels.items():
                done.targets.setdefault(name, []).append(values)
        for others in reader.others(usable):
            cells, new = self._features(others, done.features)
            done.features |= new
            done.others.append(cells)
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
        own = [row for part in parts for row in part.cells]
        others = [row for part in parts for row in part.others]
        columns_BC = torch.cat([_padded(own, index), _padded(others, index)], 1)
        width = max(map(len, own))
        names, roles = self.row_reader.header(width, columns_BC.shape[1] - width)
        counts = [len(row) for row in own] if self.row_reader.ragged else None
        targets = {
            name: _targets(
                name, numbers, [value for part in parts for value in part.targets.get(name, ())], counts
            )
            for name in dict.fromkeys(name for part in parts for name in part.targets)
        }
        batch = Batch(
            micro_batches=(pack or PackedMicroBatches.pack)(micro_batches),
            keys_N=torch.tensor([content_key(key) for key, _, _ in features], dtype=torch.long),
            columns_BC=columns_BC,
            roles=roles,
            column_names=names,
            targets=targets,
            rows=tuple(numbers),
            identities_N=torch.tensor([identity_key(one) for one in features], dtype=torch.long),
            dataset=self.dataset,
        )
        return {"batch": batch, "bad": bad, "dataset": self.dataset}

    def _features(
        self, cells: Sequence[Cell], known: Mapping[ItemIdentity, Features]
    ) -> tuple[list[ItemIdentity | None], dict[ItemIdentity, Features]]:
        """The identity behind each cell (None where it is empty), and the features of new items."""
        identities: list[ItemIdentity | None] = []
        new: dict[ItemIdentity, Features] = {}
        for _, item, role, prompt in cells:
            if item is None:
                identities.append(None)
                continue
            identity = (item.key, role, prompt)
            identities.append(identity)
            if identity not in known and identity not in new:
                new[identity] = self.preprocess(item, role=role, prompt=prompt)
        return identities, new


def _padded(
    cells: Sequence[Sequence[ItemIdentity | None]], index: Mapping[ItemIdentity, int]
) -> torch.Tensor:
    """(rows, longest row) item index per cell, -1 where there is none."""
    width = max(map(len, cells))
    numbers = [
        [-1 if cell is None else index[cell] for cell in row] + [-1] * (width - len(row)) for row in cells
    ]
    return torch.tensor(numbers, dtype=torch.long).reshape(len(cells), width)


def content_key(key: str) -> int:
    """60 bits of an item's content hash as an integer."""
    return int(key[:15], 16)


def identity_key(identity: ItemIdentity) -> int:
    """60 bits of a hash of an item's content, role and prompt: equal where the vector is."""
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=8).hexdigest()
    return content_key(digest)


def _targets(
    name: str, numbers: Sequence[int], arrays: Sequence[np.ndarray], counts: Sequence[int] | None
) -> torch.Tensor:
    """One tensor of the rows' values; lists of one value per cell are filled up with zeros.

    Args:
        name: the column.
        numbers: of the rows.
        arrays: of the rows.
        counts: cells per row where rows may have different numbers of them.
    """
    values = [torch.as_tensor(array) for array in arrays]
    if counts is not None and all(
        value.shape == (count,) for value, count in zip(values, counts, strict=True)
    ):
        values = list(torch.nn.utils.rnn.pad_sequence([value.float() for value in values], batch_first=True))
    for number, value in zip(numbers, values, strict=True):
        if value.shape != values[0].shape:
            raise DataError(
                f"row {number}, column {name!r}: {value.numel()} numbers, where row {numbers[0]} "
                f"has {values[0].numel()}; every row needs as many"
            )
    stacked = torch.stack(values)
    return stacked.float() if stacked.is_floating_point() else stacked
