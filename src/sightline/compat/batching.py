"""Which rows form which batch under Sentence Transformers 6.2: of the same seed, the very same batches.

Its samplers (sentence_transformers/base/sampler.py) behind accelerate's loader draw from one generator, which all
datasets of a run share and which is seeded anew each epoch. Here too, with torch's samplers where it uses them, so that
the draws come in the same order.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import torch
from torch.utils.data import BatchSampler, RandomSampler, SubsetRandomSampler

from sightline.compat.contents import Contents
from sightline.errors import DataError
from sightline.training.arguments import TrainingArguments
from sightline.training.distributed import ALONE, Ranks
from sightline.training.labels import LabelOrder, label_turns, labels_of
from sightline.training.mixing import ROUND_ROBIN, STRIDE
from sightline.training.ordering import Shuffled
from sightline.training.rows import Rows
from sightline.training.sampling import Order, check_filled
from sightline.training.source import RowSource

logger = logging.getLogger(__name__)

_MORE_PASSES = 2


class Sampler(Protocol):
    """Batches of one dataset, as places among its rows; ``len`` is what ST promises, not always what comes."""

    def __len__(self) -> int: ...
    def batches(self, generator: torch.Generator, seed: int) -> Iterator[list[int]]: ...


@dataclass(frozen=True)
class Plain:
    """BATCH_SAMPLER: rows in random order."""

    rows: int
    batch_size: int
    drop_last: bool

    def __len__(self) -> int:
        return _promised(self.rows, self.batch_size, self.drop_last)

    def batches(self, generator: torch.Generator, seed: int) -> Iterator[list[int]]:
        """Drawn from the generator as it stands."""
        return iter(
            BatchSampler(
                RandomSampler(range(self.rows), generator=generator), self.batch_size, self.drop_last
            )
        )


@dataclass(frozen=True)
class NoDuplicates:
    """NO_DUPLICATES, hashed or not: a row of which a value is in the batch already waits for a later one.

    A pass may give more batches than are promised, and with ``drop_last`` fewer: then rows are drawn again.
    """

    contents: Contents
    batch_size: int
    drop_last: bool

    def __len__(self) -> int:
        return _promised(len(self.contents), self.batch_size, self.drop_last)

    def batches(self, generator: torch.Generator, seed: int) -> Iterator[list[int]]:
        """Drawn from the generator after seeding it."""
        generator.manual_seed(seed)
        count = 0
        for again in range(1 + _MORE_PASSES):
            for batch in self._one_pass(generator):
                yield batch
                count += 1
                if again and count >= len(self):
                    return
            if count >= len(self) or not count:
                break
        if count < len(self):
            logger.warning(
                "%d of %d batches without duplicates; the dataset has too few distinct values for batches of %d",
                count, len(self), self.batch_size,
            )  # fmt: skip

    def _one_pass(self, generator: torch.Generator) -> Iterator[list[int]]:
        order = torch.randperm(len(self.contents), generator=generator, dtype=torch.int32)
        waiting = deque(order.tolist())
        while waiting:
            batch: list[int] = []
            seen: set[int] = set()
            passed_over: list[int] = []
            while waiting and len(batch) < self.batch_size:
                place = waiting.popleft()
                values = self.contents[place]
                if values.isdisjoint(seen):
                    batch.append(place)
                    seen |= values
                else:
                    passed_over.append(place)
            waiting.extendleft(reversed(passed_over))
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


@dataclass(frozen=True)
class ByLabel:
    """GROUP_BY_LABEL: labels take turns with two rows each.

    Attributes:
        order: our order of the same kind, which checked the labels; its numbers are places.
    """

    order: LabelOrder

    def __len__(self) -> int:
        return len(self.order)

    def batches(self, generator: torch.Generator, seed: int) -> Iterator[list[int]]:
        """Drawn from the generator after seeding it."""
        generator.manual_seed(seed)
        waiting = []
        for group in sorted(self.order.groups):  # by their first rows
            drawn = torch.randperm(len(group), generator=generator).tolist()[: len(group) // 2 * 2]
            waiting.append([group[place] for place in reversed(drawn)])
        return label_turns(waiting, generator, self.order.batch_size, drop_last=self.order.drop_last)


@dataclass
class StOrder:
    """Row numbers batch by batch, of one dataset or of several in turn; see `MixedRows` for the numbers.

    Attributes:
        samplers: of each dataset.
        rows: of each dataset the numbers of the rows that the samplers' places mean.
        seed: see `Order`.
        draws: the seed of the batches, with the epoch.
        strategy: how several datasets take turns; None for a single one.
        ranks: the processes of the run.
        shares: they share each batch; False deals out whole batches.
    """

    samplers: Sequence[Sampler]
    rows: Sequence[Sequence[int]]
    seed: int
    draws: int
    strategy: str | None = None
    ranks: Ranks = ALONE
    shares: bool = True
    epoch: int = field(default=0, init=False)

    def set_epoch(self, epoch: int) -> None:
        """Chooses what is drawn; accelerate and transformers call this."""
        self.epoch = epoch

    def __len__(self) -> int:
        lengths = [len(sampler) for sampler in self.samplers]
        whole = min(lengths) * len(lengths) if self.strategy == ROUND_ROBIN else sum(lengths)
        return whole if self.shares else len(range(self.ranks.rank, whole, self.ranks.size))

    def __iter__(self) -> Iterator[list[int]]:
        whole = (
            [which * STRIDE + self.rows[which][place] for place in batch] for which, batch in self._batches()
        )
        if self.shares:
            return (batch[self.ranks.share(len(batch))] for batch in whole)
        return islice(whole, self.ranks.rank, None, self.ranks.size)

    def _batches(self) -> Iterator[tuple[int, list[int]]]:
        seed = self.draws + self.epoch
        # Of this pass alone: the loader's own pass and the one that works ahead must not draw from one generator.
        generator = torch.Generator().manual_seed(seed)
        coming = [sampler.batches(generator, seed) for sampler in self.samplers]
        if self.strategy is None:
            yield from ((0, batch) for batch in coming[0])
        elif self.strategy == ROUND_ROBIN:
            for turn in zip(*coming, strict=False):  # ends with the first that has none left
                yield from enumerate(turn)
        else:
            turns = [which for which, sampler in enumerate(self.samplers) for _ in range(len(sampler))]
            for which in SubsetRandomSampler(turns, generator=generator):
                batch = next(coming[which], None)
                if batch is not None:
                    yield which, batch


class StOrdering:
    """ST's batches, for training and for evaluation; streams and weights per dataset, which it has not, as ours."""

    def training(self, source: RowSource, batch_size: int) -> Order:
        """See `Ordering.training`; the batches that one process of ST with this batch size would have.

        Raises:
            ConfigError, DataError: a dataset that does not fill a batch, or cannot be grouped by label.
        """
        args = source.args
        tables = [rows for rows in source.training.values() if isinstance(rows, Rows)]
        if len(tables) < len(source.training) or isinstance(args.multi_dataset_batch_sampler, Mapping):
            return Shuffled().training(source, batch_size)
        samplers = [_sampler(source, rows, batch_size) for rows in tables]
        alone = list(source.training) == [""]
        return StOrder(
            samplers,
            [source.usable(rows) for rows in tables],
            args.order_seed,
            _seed(args, samplers[0]) if alone else args.seed,
            None if alone else args.multi_dataset_batch_sampler,
            source.ranks,
        )

    def evaluation(self, source: RowSource, rows: Rows) -> Order:
        """See `Ordering.evaluation`; ST shuffles these too, always as in the first epoch.

        Raises:
            See `training`.
        """
        args = source.args
        sampler = _sampler(source, rows, args.eval_batch_size)
        return StOrder(
            [sampler], [source.usable(rows)], args.order_seed, _seed(args, sampler), None, source.ranks,
            shares=False,
        )  # fmt: skip


def _sampler(source: RowSource, rows: Rows, batch_size: int) -> Sampler:
    """The one that the arguments ask for."""
    usable, columns, drop_last = source.usable(rows), source.columns(rows), source.args.dataloader_drop_last
    check_filled(len(usable), batch_size, drop_last=drop_last)
    name = source.args.batch_sampler
    if name == "group_by_label":
        labels = labels_of(rows, columns, usable)
        if labels is None:
            raise DataError(
                f'batch_sampler="group_by_label" needs a label column of whole numbers; {rows.title} has none'
            )
        return ByLabel(LabelOrder(range(len(usable)), labels, batch_size, drop_last=drop_last))
    if name == "batch_sampler":
        return Plain(len(usable), batch_size, drop_last)
    return NoDuplicates(Contents(rows, usable, columns.names), batch_size, drop_last)


def _seed(args: TrainingArguments, sampler: Sampler) -> int:
    """Of a single dataset: accelerate seeds the plain sampler, by ``data_seed`` where there is one."""
    return args.order_seed if isinstance(sampler, Plain) else args.seed


def _promised(rows: int, batch_size: int, drop_last: bool) -> int:
    return rows // batch_size if drop_last else -(-rows // batch_size)
