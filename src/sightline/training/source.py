"""From a dataset's rows to the loader of their batches: which rows can be used, and how they become batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import DataLoader

from sightline.errors import ConfigError
from sightline.inputs.cache import CachedPreprocessor, FeatureCache
from sightline.models.preprocess import Preprocessor
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BadRow, BatchBuilder, Delivery
from sightline.training.check import bad_rows_error, check_rows
from sightline.training.distributed import ALONE, Ranks
from sightline.training.feeding import Feed, FeedClock, make_loader
from sightline.training.limits import parse_bytes
from sightline.training.random_state import undisturbed
from sightline.training.rows import Rows, choose_columns
from sightline.training.samples import Sample, Sizes, take_samples
from sightline.training.sampling import BatchOrder
from sightline.types import Batch, Features

logger = logging.getLogger(__name__)

TRAINING = "the training dataset"


class RowSource:
    """Batches of a dataset for one encoder.

    Args:
        encoder: its preprocessor, collator, prompts and modalities decide how rows are read.
        args: the run's.
        training: the rows trained on; those of them that are left out are listed in ``skipped``.
        shows_progress: this process may draw a progress bar.
        ranks: the processes that train together; they share the check of the rows.
    """

    def __init__(
        self,
        encoder: Any,
        args: TrainingArguments,
        training: Rows | None,
        *,
        shows_progress: bool,
        ranks: Ranks = ALONE,
    ) -> None:
        self.encoder = encoder
        self.args = args
        self.training = training
        self.shows_progress = shows_progress
        self.ranks = ranks
        self.limits = args.limits
        self.skipped: tuple[BadRow, ...] = ()
        self._usable: list[tuple[Rows, list[int]]] = []
        self._sizes: Sizes | None = None
        self._cache: CachedPreprocessor | None = None
        self._clock = FeedClock()

    def builder(self, rows: Rows, name: str) -> BatchBuilder:
        """How rows become batches."""
        args, encoder = self.args, self.encoder
        columns = choose_columns(
            rows.column_names,
            columns=args.columns,
            roles=args.roles,
            prompts=args.prompts,
            role_prompts={role: encoder.prompt_for(role) for role in ("query", "document")},
            name=name,
        )
        return BatchBuilder(
            preprocess=self._preprocess(),
            collate=encoder.collate,
            columns=columns,
            modalities=encoder.modalities,
            limits=self.limits,
            packed=encoder.packed_groups,
        )

    def _preprocess(self) -> Callable[..., Features]:
        preprocess, folder = self.encoder.preprocessor, self.args.preprocess_cache
        if folder is None:
            return preprocess
        if not isinstance(preprocess, Preprocessor):
            raise ConfigError("preprocess_cache is for an Encoder; leave it out for this model")
        if self._cache is None:
            size = parse_bytes(self.args.preprocess_cache_bytes, "preprocess_cache_bytes")
            self._cache = CachedPreprocessor(preprocess, FeatureCache(folder, size), preprocess.fingerprint())
        return self._cache

    def loader(self, rows: Rows, order: BatchOrder, name: str) -> DataLoader[Delivery]:
        """Batches in the order of ``order``, prepared by the run's worker processes."""
        args = self.args
        loader = make_loader(
            rows,
            self.builder(rows, name),
            order,
            num_workers=args.dataloader_num_workers or 0,
            prefetch_factor=args.dataloader_prefetch_factor,
            feed_bytes=parse_bytes(args.feed_bytes, "feed_bytes"),
            multiprocessing_context=args.dataloader_multiprocessing_context,
            pinned=args.dataloader_pin_memory and args.device.type == "cuda",
        )
        if rows is self.training:
            assert isinstance(loader.dataset, Feed)
            self._clock = loader.dataset.clock
        return loader

    def logs(self) -> dict[str, float]:
        """``waiting``: the share of the time since the last call in which training waited for batches."""
        return {"waiting": round(self._clock.waiting_share(), 4)}

    def usable(self, rows: Rows, name: str) -> list[int]:
        """Numbers of the rows that can be read; each dataset is looked at once.

        Raises:
            DataError: rows that cannot be read, unless the run leaves them out; no row that can.
        """
        for known, numbers in self._usable:
            if known is rows:
                return numbers
        numbers = list(range(len(rows)))
        if self.args.check_data:
            with undisturbed():  # the same dropout, whichever datasets are looked at
                report = check_rows(
                    rows,
                    self.builder(rows, name),
                    num_workers=self.args.dataloader_num_workers or 0,
                    show_progress=not self.args.disable_tqdm and self.shows_progress,
                    ranks=self.ranks,
                )
            self.meet(report.bad, rows, name)
            numbers = report.good
            if rows is self.training:
                self._sizes = report.sizes
            if not numbers:
                raise bad_rows_error(report.bad, len(rows), name=name)
        self._usable.append((rows, numbers))
        return numbers

    def samples(self, rows: Rows, usable: Sequence[int], name: str) -> list[Sample]:
        """Items to measure the memory plan on: the costliest, as far as they are known, and typical ones."""
        return take_samples(rows, self.builder(rows, name), usable, self._sizes)

    def rebuilt(self, batch: Batch) -> Batch:
        """A training batch made again, in this process, under the limits of micro-batches as they are now.

        Raises:
            DataError: its rows, which were read before, cannot be read any more.
        """
        assert self.training is not None
        builder = self.builder(self.training, TRAINING)
        again = builder([self.training[number] for number in batch.rows])
        if again["batch"] is None:
            raise bad_rows_error(again["bad"], len(self.training))
        return again["batch"]

    def left_out(self) -> list[BadRow]:
        """The training rows that `usable` left out."""
        usable = next((set(numbers) for known, numbers in self._usable if known is self.training), set())
        return [bad for bad in self.skipped if bad.row not in usable]

    def recall(self, left_out: Sequence[BadRow]) -> None:
        """Leaves out the training rows that an earlier process of the run left out, without reading all again."""
        assert self.training is not None
        without = {bad.row for bad in left_out}
        self._usable = [known for known in self._usable if known[0] is not self.training]
        self._usable.append((self.training, [n for n in range(len(self.training)) if n not in without]))
        self.skipped = tuple(left_out)

    def meet(self, bad: Sequence[BadRow], rows: Rows, name: str) -> None:
        """Stops the run for bad rows, or leaves them out and says so.

        Raises:
            DataError: with the rows, their columns and what is wrong.
        """
        if not bad:
            return
        if self.args.on_bad_row == "stop":
            raise bad_rows_error(bad, len(rows), name=name)
        logger.warning(
            "Left out %d of the %d rows of %s, which cannot be read. The first: %s",
            len(bad), len(rows), name, bad[0].reason,
        )  # fmt: skip
        if rows is self.training:
            known = {row.row for row in self.skipped}
            self.skipped += tuple(row for row in bad if row.row not in known)
