"""Batches that hold several rows of each label, for losses that make triplets out of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from sightline.errors import ConfigError, DataError
from sightline.training.rows import Columns, Rows
from sightline.training.seeds import mix


class LabelOrder:
    """Row numbers batch by batch: labels take turns with two rows each, so every batch has two labels or more.

    Rows and the order of the labels are drawn anew each epoch. It ends when rows of fewer than two labels are left; a
    label's odd row, and the rest of a label that has far more rows than the others, have their turn in another epoch.
    sentence-transformers' GroupByLabelBatchSampler, drawn from another generator.

    Args:
        rows: row numbers.
        labels: of these rows.
        batch_size: rows per batch; even, at least 4.
        seed: of what is drawn, with the epoch.
        drop_last: leave out the last batch unless it is full. It is left out below 4 rows in any case.

    Raises:
        ConfigError: a batch size that is odd or below 4.
        DataError: fewer than two labels have two rows.
    """

    def __init__(
        self,
        rows: Sequence[int],
        labels: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 4 or batch_size % 2:
            raise ConfigError(
                f'batch_sampler="group_by_label" needs an even batch size of at least 4, not {batch_size}'
            )
        groups: dict[int, list[int]] = {}
        for row, label in zip(rows, labels, strict=True):
            groups.setdefault(label, []).append(row)
        self.groups = [group for _, group in sorted(groups.items()) if len(group) > 1]
        if len(self.groups) < 2:
            raise DataError(
                f'batch_sampler="group_by_label" needs two labels with two rows each, but only {len(self.groups)} of '
                f"{len(groups)} labels has two rows"
            )
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses what is drawn."""
        self.epoch = epoch

    def __len__(self) -> int:
        pairs = sorted((len(group) // 2 for group in self.groups), reverse=True)
        # The rounds end with those of the second largest group.
        full, rest = divmod(2 * sum(min(count, pairs[1]) for count in pairs), self.batch_size)
        return full + (rest >= 4 and not self.drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        waiting = [
            [group[place] for place in torch.randperm(len(group), generator=generator).tolist()]
            for group in self.groups
        ]
        even = [group[: len(group) // 2 * 2] for group in waiting]
        yield from label_turns(even, generator, self.batch_size, drop_last=self.drop_last)


def label_turns(
    waiting: list[list[int]], generator: torch.Generator, batch_size: int, *, drop_last: bool
) -> Iterator[list[int]]:
    """Batches in which labels take turns with two rows each; see `LabelOrder`.

    Args:
        waiting: an even number of rows of each label, the next ones last; they are used up.
        generator: of the labels' order in each round.
        batch_size, drop_last: as of `LabelOrder`.
    """
    batch: list[int] = []
    last: list[int] | None = None
    while len(waiting) > 1:
        waiting = [waiting[place] for place in torch.randperm(len(waiting), generator=generator).tolist()]
        if batch and waiting[0] is last:  # else a batch could end up with a single label
            waiting[:2] = waiting[1::-1]
        for group in waiting:
            batch += [group.pop(), group.pop()]
            if len(batch) == batch_size:
                yield batch
                batch = []
        last = waiting[-1]
        waiting = [group for group in waiting if group]
    if len(batch) >= 4 and not drop_last:
        yield batch


def labels_of(rows: Rows, columns: Columns, usable: Sequence[int]) -> list[int] | None:
    """The label of each usable row; None where the dataset has not one column of whole numbers."""
    if len(columns.targets) != 1:
        return None
    (name,) = columns.targets
    values = [torch.as_tensor(rows[number][1][name]) for number in usable]
    if any(value.numel() != 1 or value.is_floating_point() for value in values):
        return None
    return [int(value) for value in values]
