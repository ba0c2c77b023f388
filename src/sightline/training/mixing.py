"""Several datasets in one run: their rows numbered through, batches of one dataset each, and which comes when.

Rows of the k-th dataset have the numbers from ``k * STRIDE`` on, so that a number tells its dataset, and those of
the first are what they are when it is alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset

from sightline.errors import ConfigError, DataError
from sightline.losses.base import Loss
from sightline.losses.compose import ByDataset
from sightline.training.batches import BatchBuilder, Delivery, PreparedRows
from sightline.training.distributed import ALONE, Ranks
from sightline.training.labels import LabelOrder
from sightline.training.rows import Rows
from sightline.training.sampling import BatchOrder
from sightline.training.seeds import mix
from sightline.training.streams import Stream
from sightline.training.transport import PackedMicroBatches
from sightline.types import MicroBatch

# More rows than any dataset has.
STRIDE = 1 << 40
# How datasets take turns, besides weights by name; the names are sentence-transformers'.
PROPORTIONAL, ROUND_ROBIN = "proportional", "round_robin"


@dataclass(frozen=True)
class MixedRows(Dataset):
    """The rows of several datasets (or of one) by their numbers.

    Attributes:
        by_name: the datasets.
    """

    by_name: Mapping[str, Rows | Stream]

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.by_name.values())

    def __getitem__(self, number: int) -> tuple[int, Mapping[str, Any]]:
        """The row's number and its cells."""
        rows, own = self.place(number)
        return number, rows[own][1]

    def set_epoch(self, seed: int, epoch: int) -> None:
        """See `Rows.set_epoch`."""
        for rows in self.by_name.values():
            rows.set_epoch(seed, epoch)

    def place(self, number: int) -> tuple[Rows | Stream, int]:
        """A row's dataset and its number there."""
        which, own = divmod(number, STRIDE)
        return list(self.by_name.values())[which], own

    def numbers(self, dataset: str, rows: Sequence[int]) -> list[int]:
        """The numbers of rows of one dataset."""
        if not rows:
            return []
        begin = list(self.by_name).index(dataset) * STRIDE
        return [begin + row for row in rows]

    def ready(self, numbers: Sequence[int]) -> list[Any]:
        """See `NumberedRows.ready`."""
        if not numbers or not isinstance(self.place(numbers[0])[0], Stream):
            return list(numbers)
        return [self[number] for number in numbers]

    @property
    def fingerprint(self) -> str | None:
        """What `datasets` knows a single dataset by; None for others, and for several."""
        (*_, rows) = self.by_name.values() or (None,)
        return rows.fingerprint if len(self.by_name) == 1 and isinstance(rows, Rows) else None

    @property
    def has_streams(self) -> bool:
        """Whether the rows have no end."""
        return any(isinstance(rows, Stream) for rows in self.by_name.values())

    def row_name(self, number: int) -> str:
        """What messages call a row."""
        rows, own = self.place(number)
        return rows.row_name(own)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns of all datasets, each once."""
        return tuple(dict.fromkeys(name for rows in self.by_name.values() for name in rows.column_names))


@dataclass(frozen=True)
class MixedBuilder:
    """Makes each batch as its dataset's rows are read; see `BatchBuilder`.

    Attributes:
        by_name: how the rows of each dataset become batches, in the order of `MixedRows`.
    """

    by_name: Mapping[str, BatchBuilder]

    @property
    def needs_whole_batch(self) -> bool:
        """See `BatchBuilder`; of one dataset at least."""
        return any(builder.needs_whole_batch for builder in self.by_name.values())

    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Delivery:
        """One batch out of numbered rows, all of one dataset."""
        return self.assemble([self.prepare(rows)])

    def prepare(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> PreparedRows:
        """See `BatchBuilder.prepare`; rows have their dataset's own numbers from here on."""
        which = rows[0][0] // STRIDE if rows else 0
        builder = list(self.by_name.values())[which]
        return builder.prepare([(number % STRIDE, row) for number, row in rows])

    def assemble(
        self,
        parts: Sequence[PreparedRows],
        pack: Callable[[list[MicroBatch]], PackedMicroBatches] | None = None,
    ) -> Delivery:
        """See `BatchBuilder.assemble`."""
        return self.by_name[parts[0].dataset].assemble(parts, pack)


class MixedOrder:
    """Row numbers batch by batch, each batch of one dataset: seeded, and the same on every machine.

    - "proportional": every row of every dataset once per epoch; the datasets' batches in a random order, so that
      larger ones come more often.
    - "round_robin": the datasets in turn, until the first has no batch left.
    - weights by name: as many batches as with "proportional", each of a dataset drawn with a probability
      proportional to its weight. One that runs out begins anew, in another order.

    The first two are sentence-transformers' samplers of the same names. Ranks share batches as in `BatchOrder`, and all
    of them train on the same dataset at a time.

    Args:
        rows: numbers of each dataset's rows, counted by itself, by name in the order of `MixedRows`; None for a
            stream.
        batch_size: rows per batch, of all ranks together.
        strategy: one of the above.
        seed: of everything that is drawn, with the epoch.
        drop_last: leave out the rows of each dataset that do not fill a batch.
        ranks: who shares the batches.
        labels: of the rows of datasets that are to be grouped by label (see `LabelOrder`).
        batches: how many there are in all where there is a stream. Every dataset begins anew as often as needed
            then, and "proportional" means nothing among several.

    Raises:
        ConfigError: an unknown strategy, weights that do not name the datasets or are not above 0, a dataset that does
            not fill a batch with ``drop_last``.
    """

    def __init__(
        self,
        rows: Mapping[str, Sequence[int] | None],
        batch_size: int,
        *,
        strategy: str | Mapping[str, float] = PROPORTIONAL,
        seed: int = 0,
        drop_last: bool = False,
        ranks: Ranks = ALONE,
        labels: Mapping[str, Sequence[int]] | None = None,
        batches: int | None = None,
    ) -> None:
        check_strategy(strategy, list(rows), streams=None in rows.values())
        self.batch_size = batch_size
        self.seed = seed
        self.ranks = ranks
        self.epoch = 0
        self._strategy = strategy
        self._batches = batches
        self._orders: list[BatchOrder | LabelOrder | _StreamOrder] = []
        for which, (name, numbers) in enumerate(rows.items()):
            if numbers is None:
                self._orders.append(_StreamOrder(batch_size))
                continue
            try:
                # The first dataset has the order that it has alone.
                own = mix(seed, which) if which else seed
                known = (labels or {}).get(name)
                order: BatchOrder | LabelOrder
                if known is not None:
                    order = LabelOrder(numbers, known, batch_size, seed=own, drop_last=drop_last)
                else:
                    order = BatchOrder(numbers, batch_size, seed=own, drop_last=drop_last)
                self._orders.append(order)
            except (ConfigError, DataError) as error:
                raise type(error)(f"dataset {name!r}: {error}" if name else str(error)) from None
        if isinstance(strategy, Mapping):
            self._weights = [float(strategy[name]) for name in rows]

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order; accelerate and transformers call this."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self._batches is not None:
            return self._batches
        lengths = [len(order) for order in self._orders if not isinstance(order, _StreamOrder)]
        return min(lengths) * len(lengths) if self._strategy == ROUND_ROBIN else sum(lengths)

    def __iter__(self) -> Iterator[list[int]]:
        batches = [_passes(order, self.epoch) for order in self._orders]
        for which in self._turns():
            batch = next(batches[which])
            yield [which * STRIDE + number for number in batch[self.ranks.share(len(batch))]]

    def _turns(self) -> list[int]:
        """Which dataset each batch is of."""
        count = len(self._orders)
        if count == 1:
            return [0] * len(self)
        if self._strategy == ROUND_ROBIN:
            return [number % count for number in range(len(self))]
        generator = torch.Generator().manual_seed(mix(mix(self.seed, self.epoch), count))
        if isinstance(self._strategy, Mapping):
            weights = torch.tensor(self._weights, dtype=torch.float64)
            return torch.multinomial(weights, len(self), replacement=True, generator=generator).tolist()
        lengths = [len(order) for order in self._orders if not isinstance(order, _StreamOrder)]
        turns = torch.tensor([which for which, length in enumerate(lengths) for _ in range(length)])
        return turns[torch.randperm(len(turns), generator=generator)].tolist()


class _StreamOrder:
    """Full batches of a stream's rows as they come, without end."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def set_epoch(self, epoch: int) -> None:
        """Nothing: a run over streams is one epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        for begin in itertools.count(0, self.batch_size):
            yield list(range(begin, begin + self.batch_size))


def check_strategy(
    strategy: str | Mapping[str, float], names: Sequence[str], *, streams: bool = False
) -> None:
    """Whether datasets of these names can take turns so.

    Raises:
        ConfigError: they cannot.
    """
    if streams and len(names) > 1 and strategy == PROPORTIONAL:
        raise ConfigError(
            f"a stream has no size that others could be in proportion to; set multi_dataset_batch_sampler to "
            f"{ROUND_ROBIN!r} or to a weight per dataset"
        )
    if isinstance(strategy, str):
        if strategy not in (PROPORTIONAL, ROUND_ROBIN):
            raise ConfigError(
                f"multi_dataset_batch_sampler must be {PROPORTIONAL!r}, {ROUND_ROBIN!r} or a weight per dataset, "
                f"not {strategy!r}"
            )
        return
    if set(strategy) != set(names):
        raise ConfigError(
            f"multi_dataset_batch_sampler gives weights to {', '.join(map(repr, strategy)) or 'nothing'}, but the "
            f"training datasets are {', '.join(map(repr, names))}; give each of them one"
        )
    for name, weight in strategy.items():
        if not 0 < weight < float("inf"):
            raise ConfigError(f"the weight of dataset {name!r} must be above 0, not {weight}")


def _passes(order: BatchOrder | LabelOrder | _StreamOrder, epoch: int) -> Iterator[list[int]]:
    """The batches of an epoch, and of as many more passes as are asked for, each in another order."""
    again = 0
    while True:
        order.set_epoch(mix(epoch, again) if again else epoch)
        yield from order
        again += 1


def setting_of(value: Any, dataset: str, columns: Mapping[str, Sequence[str]], what: str) -> Any:
    """One dataset's part of an argument that may be given for all datasets, by dataset, or by column.

    Args:
        value: of ``columns``, ``roles`` or ``prompts``.
        dataset: whose part.
        columns: the columns of each dataset.
        what: the argument's name, for messages.

    Raises:
        DataError: a name that is neither a dataset's nor a column's.
    """
    if len(columns) == 1 or not isinstance(value, Mapping):
        return value
    everywhere = {column for names in columns.values() for column in names}
    unknown = [name for name in value if name not in columns and name not in everywhere]
    if unknown:
        raise DataError(
            f"{what} names {', '.join(map(repr, unknown))}, which is no dataset ({', '.join(columns)}) and no column "
            f"of one ({', '.join(sorted(everywhere))})"
        )
    if dataset in value:
        return value[dataset]
    own = {name: one for name, one in value.items() if name not in columns and name in columns[dataset]}
    return own or None


def loss_by_dataset(
    loss: Loss | Mapping[str, Loss], training: Sequence[str], evaluation: Sequence[str]
) -> Loss:
    """A loss, or one per dataset as `ByDataset`.

    Args:
        loss: one for all datasets, or one per dataset by name.
        training, evaluation: names of the datasets that need one; empty names of single ones.

    Raises:
        ConfigError: a dataset without a loss.
    """
    if not isinstance(loss, Mapping):
        return loss
    names = [*training, *evaluation]
    if "" in names:
        what = "train_dataset" if "" in training else "eval_dataset"
        raise ConfigError(
            f"there is a loss for each of {', '.join(map(repr, loss))}, but {what} has no names; give it as "
            f"{{{next(iter(loss), 'name')!r}: rows, ...}}"
        )
    without = [name for name in dict.fromkeys(names) if name not in loss]
    if without:
        raise ConfigError(
            f"there is no loss for the dataset {', '.join(map(repr, without))}; there are losses for "
            f"{', '.join(map(repr, loss))}"
        )
    return ByDataset(dict(loss))
