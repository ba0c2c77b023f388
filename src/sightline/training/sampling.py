"""Which rows form which batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from sightline.errors import ConfigError
from sightline.training.distributed import ALONE, Ranks
from sightline.training.seeds import mix


class Order(Protocol):
    """Row numbers batch by batch.

    Attributes:
        seed: of what the rows themselves draw, with the epoch.
        epoch: the current one.
    """

    seed: int
    epoch: int

    def set_epoch(self, epoch: int) -> None: ...
    def __iter__(self) -> Iterator[list[int]]: ...


class BatchOrder:
    """Row numbers batch by batch: a fresh seeded permutation each epoch, the same on every machine.

    Several ranks share each batch in order, as evenly as can be: together they train on the batches that one
    process with the same ``batch_size`` trains on, each row once. The last batch of an epoch may leave some of
    them without rows; they still give (empty) batches as often as the others.

    Args:
        rows: row numbers to draw from.
        batch_size: rows per batch, of all ranks together.
        seed: of the permutations; epoch e uses the pair (seed, e).
        drop_last: leave out the rows that do not fill a batch (others each epoch).
        shuffle: False keeps the order of ``rows``.
        ranks: who shares the batches.
    """

    def __init__(
        self,
        rows: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
        shuffle: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"the batch size must be at least 1, not {batch_size}")
        check_filled(len(rows), batch_size, drop_last=drop_last)
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.ranks = ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the permutation; accelerate and transformers call this."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self.rows)))
        if self.shuffle:
            generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
            order = torch.randperm(len(self.rows), generator=generator).tolist()
        for number in range(len(self)):
            begin = number * self.batch_size
            batch = order[begin : begin + self.batch_size]
            yield [self.rows[position] for position in batch[self.ranks.share(len(batch))]]


def check_filled(rows: int, batch_size: int, *, drop_last: bool) -> None:
    """Whether so many rows give a batch.

    Raises:
        ConfigError: they do not.
    """
    if drop_last and rows < batch_size:
        raise ConfigError(
            f"{rows} rows do not fill one batch of {batch_size}, and dataloader_drop_last leaves "
            "incomplete batches out; use a smaller batch or dataloader_drop_last=False"
        )


def share_of_batches(rows: Sequence[int], batch_size: int, ranks: Ranks) -> Sequence[int]:
    """The rows of this rank's share of the batches that ``rows`` form in order; batches stay whole."""
    mine = ranks.share(-(-len(rows) // batch_size))
    return rows[mine.start * batch_size : mine.stop * batch_size]
