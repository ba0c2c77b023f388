"""Which rows form the batches of a run."""

from __future__ import annotations

from typing import Protocol

from sightline.training.mixing import MixedOrder
from sightline.training.rows import Rows
from sightline.training.sampling import BatchOrder, Order, share_of_batches
from sightline.training.source import RowSource
from sightline.training.streams import Stream


class Ordering(Protocol):
    """How a run forms its batches.

    Every order it gives is a function of its seed and epoch alone: the loader reads it more than once, and a resumed
    run reads it again up to where it stopped.
    """

    def training(self, source: RowSource, batch_size: int) -> Order:
        """The batches of the training datasets, under the row numbers of `MixedRows`; it has a length.

        Args:
            source: the run's datasets.
            batch_size: rows per batch, of all ranks together.
        """
        ...

    def evaluation(self, source: RowSource, rows: Rows) -> Order:
        """This rank's batches of an evaluation set."""
        ...


class Shuffled:
    """Sightline's own: `MixedOrder` for training, and evaluation sets as they are."""

    def training(self, source: RowSource, batch_size: int) -> Order:
        """See `MixedOrder`."""
        args = source.args
        rows = {
            name: None if isinstance(one, Stream) else source.usable(one)
            for name, one in source.training.items()
        }
        return MixedOrder(
            rows,
            batch_size,
            strategy=args.multi_dataset_batch_sampler,
            seed=args.order_seed,
            drop_last=args.dataloader_drop_last,
            ranks=source.ranks,
            labels=source.labels() if args.batch_sampler == "group_by_label" else None,
            batches=args.max_steps * args.gradient_accumulation_steps if None in rows.values() else None,
        )

    def evaluation(self, source: RowSource, rows: Rows) -> Order:
        """The usable rows in their order; several ranks share the batches."""
        size = source.args.eval_batch_size
        return BatchOrder(share_of_batches(source.usable(rows), size, source.ranks), size, shuffle=False)
