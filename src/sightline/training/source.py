"""From the run's datasets to the loaders of their batches: which rows can be used, and how they become batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader

from sightline.errors import ConfigError, DataError
from sightline.inputs.cache import CachedPreprocessor, FeatureCache
from sightline.losses.base import Loss
from sightline.losses.compose import loss_of
from sightline.losses.needs import needs_of
from sightline.models.devices import computing_in
from sightline.models.encoder import Encoder
from sightline.models.preprocess import Preprocessor
from sightline.models.reranker import Reranker
from sightline.training.alike import Pattern, check_needs
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BadRow, BatchBuilder, Delivery
from sightline.training.check import RowChecker, bad_rows_error, check_rows
from sightline.training.distributed import ALONE, Ranks
from sightline.training.feeding import Feed, FeedClock, make_loader
from sightline.training.fitting import check_fit, check_guide
from sightline.training.guide import Guide
from sightline.training.label_check import LabelCheck
from sightline.training.labels import labels_of
from sightline.training.limits import parse_bytes
from sightline.training.mixing import MixedBuilder, MixedRows, setting_of
from sightline.training.pairing import PairReader, check_documents, pair_reader
from sightline.training.random_state import undisturbed
from sightline.training.reading import ItemReader, RowReader
from sightline.training.rows import Columns, Rows, choose_columns
from sightline.training.samples import TYPICAL, Sample, Sizes, take_samples
from sightline.training.sampling import Order
from sightline.training.streams import Stream
from sightline.types import Batch, Features

logger = logging.getLogger(__name__)


class RowSource:
    """Batches of datasets for one encoder or reranker.

    Args:
        encoder: its preprocessor, collator, prompts and modalities decide how rows are read.
        loss: decides which pairs a reranker is given.
        args: the run's.
        training: the datasets trained on, by name; those of their rows that are left out are listed in ``skipped``.
        evaluation: the evaluation sets of the run by name, whose rows are looked at once too.
        guide: a model for losses that look for false negatives with one.
        shows_progress: this process may draw a progress bar.
        ranks: the processes that train together; they share the check of the rows.

    Raises:
        ConfigError: the model, the loss and the guide do not go together.
    """

    def __init__(
        self,
        encoder: Any,
        loss: Loss,
        args: TrainingArguments,
        training: Mapping[str, Rows | Stream],
        *,
        evaluation: Mapping[str, Rows] | None = None,
        guide: Encoder | None = None,
        shows_progress: bool,
        ranks: Ranks = ALONE,
    ) -> None:
        self.encoder = encoder
        self.loss = loss
        self._of_pairs = isinstance(encoder, Reranker)
        check_fit(encoder, loss)
        self.args = args
        self.training = training
        self.shows_progress = shows_progress
        self.ranks = ranks
        self.limits = args.limits
        self.skipped: tuple[BadRow, ...] = ()
        self._evaluation = dict(evaluation or {})
        self._columns = {name: rows.column_names for name, rows in training.items()}
        for name, rows in self._evaluation.items():
            known = self._columns.get(name, ())
            self._columns[name] = tuple(dict.fromkeys((*known, *rows.column_names)))
        self._usable: list[tuple[Rows, list[int]]] = []
        self._sizes: dict[str, Sizes] = {}
        self._patterns: dict[str, Pattern] = {}
        self._cache: CachedPreprocessor | None = None
        self._clock = FeedClock()
        if guide is not None:
            check_guide(guide, encoder)
        self._guide = None if guide is None else Guide(guide)

    def columns(self, rows: Rows | Stream) -> Columns:
        """What a dataset's columns mean: their roles, and the prompt of each."""
        args = self.args
        known = self._columns | {rows.dataset: self._columns.get(rows.dataset, rows.column_names)}

        def own(what: str) -> Any:
            return setting_of(getattr(args, what), rows.dataset, known, what)

        return choose_columns(
            rows.column_names,
            columns=own("columns"),
            roles=own("roles"),
            prompts=own("prompts"),
            role_prompts=self._own_prompts() if args.own_prompts else {},
            prompted=("query",) if self._of_pairs else ("query", "document"),
            name=rows.title,
        )

    def _own_prompts(self) -> dict[str, str | None]:
        if self._of_pairs:
            return {"query": self.encoder.prompt_for()}
        return {role: self.encoder.prompt_for(role) for role in ("query", "document")}

    def builder(self, rows: Rows | Stream) -> BatchBuilder:
        """How a dataset's rows become batches."""
        encoder, columns = self.encoder, self.columns(rows)
        with computing_in(encoder.device, self.args.autocast):
            packed = encoder.packed_groups
        return BatchBuilder(
            preprocess=self._preprocess(),
            collate=encoder.collate,
            columns=columns,
            modalities=encoder.modalities,
            limits=self.limits,
            packed=packed,
            dataset=rows.dataset,
            reader=self._reader(rows, columns),
            pattern=self._patterns.get(rows.dataset) if isinstance(rows, Stream) else None,
        )

    def _reader(self, rows: Rows | Stream, columns: Columns) -> RowReader:
        if self._of_pairs:
            return self._pair_reader(rows, columns)
        check = LabelCheck(needs_of(loss_of(self.loss, rows.dataset)))
        return ItemReader(columns, self.encoder.modalities, check)

    def _pair_reader(self, rows: Rows | Stream, columns: Columns) -> PairReader:
        return pair_reader(
            columns,
            loss_of(self.loss, rows.dataset),
            modalities=self.encoder.modalities,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            classes=self.encoder.num_labels,
            name=rows.title,
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

    def training_loader(self, order: Order) -> DataLoader[Delivery]:
        """Batches of the training datasets in the order of ``order``, whose numbers are those of `MixedRows`."""
        builders = {name: self.builder(rows) for name, rows in self.training.items()}
        loader = self._loader(MixedRows(self.training), MixedBuilder(builders), order)
        assert isinstance(loader.dataset, Feed)
        self._clock = loader.dataset.clock
        return loader

    def loader(self, rows: Rows, order: Order) -> DataLoader[Delivery]:
        """Batches of one dataset in the order of ``order``."""
        return self._loader(rows, self.builder(rows), order)

    def _loader(
        self, rows: Rows | MixedRows, builder: BatchBuilder | MixedBuilder, order: Order
    ) -> DataLoader[Delivery]:
        args = self.args
        return make_loader(
            rows,
            builder,
            order,
            num_workers=args.dataloader_num_workers or 0,
            prefetch_factor=args.dataloader_prefetch_factor,
            feed_bytes=parse_bytes(args.feed_bytes, "feed_bytes"),
            multiprocessing_context=args.dataloader_multiprocessing_context,
            pinned=args.dataloader_pin_memory and args.device.type == "cuda",
        )

    def logs(self) -> dict[str, float]:
        """``waiting``: the share of the time since the last call in which training waited for batches."""
        return {"waiting": round(self._clock.waiting_share(), 4)}

    def usable(self, rows: Rows) -> list[int]:
        """Numbers of the rows that can be read; each dataset of the run is looked at once.

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
                    self.builder(rows),
                    num_workers=self.args.dataloader_num_workers or 0,
                    show_progress=not self.args.disable_tqdm and self.shows_progress,
                    ranks=self.ranks,
                )
            self.meet(report.bad, rows)
            numbers = report.good
            if self._is_trained_on(rows):
                self._sizes[rows.dataset] = report.sizes
            if not numbers:
                raise bad_rows_error(report.bad, len(rows), name=rows.title)
            # Anchors and what they are compared with; of further columns any may be empty.
            empty = [name for name in self.columns(rows).names[:2] if name not in report.filled]
            if empty and not self._of_pairs:
                raise DataError(f"column {empty[0]!r} of {rows.title} is empty in every row that can be used")
        # Of others, which `Trainer.evaluate` is given, nothing stays.
        if self._is_trained_on(rows) or self._evaluation.get(rows.dataset) is rows:
            self._usable.append((rows, numbers))
        return numbers

    def samples(self) -> list[Sample]:
        """Training items to measure the memory plan on: the costliest, as far as they are known, and typical ones."""
        return [
            sample
            for rows in self.training.values()
            for sample in take_samples(
                rows,
                self.builder(rows),
                range(TYPICAL) if isinstance(rows, Stream) else self.usable(rows),
                self._sizes.get(rows.dataset),
            )
        ]

    def items_per_batch(self, size: int) -> int:
        """How many items a batch of ``size`` rows has at most, as far as some rows tell."""
        return max(self._items(rows, size) for rows in self.training.values())

    def items_in_all(self) -> int | None:
        """How many items the training datasets have at most; None where one of them is a stream."""
        if any(isinstance(rows, Stream) for rows in self.training.values()):
            return None
        return sum(self._items(rows, len(rows)) for rows in self.training.values() if isinstance(rows, Rows))

    def _items(self, rows: Rows | Stream, size: int) -> int:
        """Items of so many rows of a dataset, at most."""
        numbers: Sequence[int] = range(1) if isinstance(rows, Stream) else self.usable(rows)
        count = size if isinstance(rows, Stream) else min(size, len(numbers))
        typical = numbers[:: max(1, len(numbers) // TYPICAL)][:TYPICAL] if self._of_pairs else []
        return count * self.builder(rows).row_reader.width([rows[number] for number in typical], count)

    def labels(self) -> dict[str, list[int]]:
        """The labels of the training datasets that have some, by which batches can be grouped.

        Raises:
            DataError: none has a label column of whole numbers.
        """
        found = {
            name: labels
            for name, rows in self.training.items()
            if isinstance(rows, Rows)
            and (labels := labels_of(rows, self.columns(rows), self.usable(rows))) is not None
        }
        if not found:
            raise DataError(
                'batch_sampler="group_by_label" needs a label column of whole numbers, and no training dataset has one'
            )
        return found

    def check_needs(self, rows: Rows | Stream) -> None:
        """Whether a dataset has what the loss of its batches needs; of a stream also its first row.

        Raises:
            DataError: it has not, or the first row cannot be used.
            ConfigError: batches have too few rows for the loss.
        """
        own, columns = loss_of(self.loss, rows.dataset), self.columns(rows)
        if self._of_pairs:
            check_documents(self._pair_reader(rows, columns), own, rows)
        else:
            has_guide, dim = self._guide is not None, self.encoder.embedding_dim
            check_needs(own, rows, columns, has_guide=has_guide, dim=dim)
            if self._guide is not None and any(need.guide for need in needs_of(own)):
                self._guide.check(rows, columns)
        size = self.args.train_batch_size * self.ranks.size
        if self._is_trained_on(rows) and size == 1:
            for need in needs_of(own):
                if need.alone is None or len(columns.names) < need.alone:
                    raise ConfigError(
                        f"{need.loss} compares the rows of a batch with each other, and a batch has one; set "
                        "per_device_train_batch_size to 2 or more"
                    )
        if isinstance(rows, Stream):
            self._check_first(rows)

    def _check_first(self, rows: Stream) -> None:
        """Looks at a stream's first row, and remembers what the others are to have as it has it."""
        builder = self.builder(rows)
        pattern = Pattern.of(rows, builder.columns, lists=builder.row_reader.holds_list)
        self._patterns[rows.dataset] = pattern
        if self.args.check_data and self.args.on_bad_row == "stop":
            with undisturbed():
                found = RowChecker(builder, pattern)([rows[0]])
            self.meet(found.bad, rows)

    def prompts_told(self, rows: Rows | Stream) -> str:
        """Which prompt the items of each column of a dataset get, in one line."""
        shown = ", ".join(
            f"{name} ({role}): {prompt!r}" if prompt else f"{name} ({role}): no prompt"
            for name, role, prompt in self.columns(rows).cells
        )
        return f"Prompts in {rows.title}: {shown}"

    def rebuilt(self, batch: Batch, rows: Rows | None = None) -> Batch:
        """A batch made again, in this process, under the limits of micro-batches as they are now.

        Args:
            batch: with all that its loss wants.
            rows: the held-out dataset it is of; None for a training batch.

        Raises:
            DataError: its rows, which were read before, cannot be read any more.
        """
        own = self.training[batch.dataset] if rows is None else rows
        again = self.builder(own)([own[number] for number in batch.rows])
        if again["batch"] is None:
            raise bad_rows_error(again["bad"], len(own), name=own.title)
        return self.guided(replace(again["batch"], layers=batch.layers, projected=batch.projected), own)

    def guided(self, batch: Batch, rows: Rows | Stream) -> Batch:
        """The batch with the guide's vectors of its items, where there is a guide."""
        if self._guide is None or not batch.num_items:
            return batch
        return replace(batch, guide_NG=self._guide.vectors(batch, rows, self.columns(rows)))

    def left_out(self) -> list[BadRow]:
        """The training rows that `usable` left out."""
        usable = {rows.dataset: set(numbers) for rows, numbers in self._usable if self._is_trained_on(rows)}
        return [bad for bad in self.skipped if bad.dataset in usable and bad.row not in usable[bad.dataset]]

    def recall(self, left_out: Sequence[BadRow]) -> None:
        """Leaves out the training rows that an earlier process of the run left out, without reading all again."""
        self._usable = [known for known in self._usable if not self._is_trained_on(known[0])]
        for name, rows in self.training.items():
            if isinstance(rows, Stream):
                continue
            without = {bad.row for bad in left_out if bad.dataset == name}
            self._usable.append((rows, [n for n in range(len(rows)) if n not in without]))
        self.skipped = tuple(left_out)

    def meet(self, bad: Sequence[BadRow], rows: Rows | Stream) -> None:
        """Stops the run for bad rows, or leaves them out and says so.

        Raises:
            DataError: with the rows, their columns and what is wrong.
        """
        if not bad:
            return
        if self.args.on_bad_row == "stop":
            raise bad_rows_error(bad, len(rows), name=rows.title)
        logger.warning(
            "Left out %d of the %d rows of %s, which cannot be read. The first: %s",
            len(bad), len(rows), rows.title, bad[0].reason,
        )  # fmt: skip
        if self._is_trained_on(rows):
            known = {(row.dataset, row.row) for row in self.skipped}
            self.skipped += tuple(row for row in bad if (row.dataset, row.row) not in known)

    def _is_trained_on(self, rows: Rows | Stream) -> bool:
        return self.training.get(rows.dataset) is rows
