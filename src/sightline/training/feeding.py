"""The loader that feeds batches from worker processes, bounded by the bytes that wait.

A `DataLoader` of torch prefetches a number of batches, whatever their size, and one worker makes a whole
batch. Here the loader's dataset is a `Feed`, which knows the order of the batches: it hands rows to a pool of
processes, as many batches ahead as fit into ``feed_bytes``. Where that is too few for every worker to have a
batch of its own, the rows of a batch are divided among all workers. What a batch is does not depend on how it was
divided or on who was quick.
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from sightline.errors import TrainingError
from sightline.training.batches import Delivery
from sightline.training.distributed import ranks_here
from sightline.training.sampling import Order
from sightline.training.workers import (
    Builder,
    NumberedRows,
    Pending,
    WorkerPool,
    delivery_bytes,
    in_pinned_memory,
    init_worker,
)

__all__ = ["Feed", "FeedClock", "init_worker", "make_loader", "spare_cores"]

FEED_BYTES = 2**30
BATCHES_PER_WORKER = 2


def make_loader(
    rows: NumberedRows,
    builder: Builder,
    order: Order,
    *,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
    feed_bytes: int = FEED_BYTES,
    multiprocessing_context: str | None = None,
    pinned: bool = False,
) -> DataLoader[Delivery]:
    """Batches on the CPU, in the order of ``order``, prepared ahead in ``num_workers`` processes.

    Nothing is moved to the device here: the step moves one micro-batch at a time. The loader's ``dataset`` is
    the `Feed`, whose ``clock`` tells how long batches were waited for. accelerate may wrap the loader, and skip its
    first batches when training resumes; the skipped ones are not prepared.

    Args:
        rows: the dataset.
        builder: how rows become batches.
        order: which rows form which batch, of this process alone.
        num_workers: processes; 0 prepares batches in this one, when they are asked for.
        prefetch_factor: batches per worker to prepare ahead at most; 2 by default.
        feed_bytes: bytes of prepared batches that may wait at most; a single batch may be larger.
        multiprocessing_context: how processes are started (fork, spawn, forkserver); the system's way by default.
        pinned: deliver in page-locked memory, from which CUDA copies while the program goes on.
    """
    feed = Feed(
        rows,
        builder,
        order,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor or BATCHES_PER_WORKER,
        feed_bytes=feed_bytes,
        multiprocessing_context=multiprocessing_context,
        pinned=pinned,
    )
    # torch's loader draws a seed for workers it does not have; not out of what dropout draws from.
    return DataLoader(feed, batch_sampler=order, collate_fn=_delivered, generator=torch.Generator())


@dataclass
class FeedClock:
    """How long the training loop waited for batches.

    Attributes:
        waited: seconds since the clock was last read.
        since: when that was, in seconds of `time.perf_counter`; None before the first batch.
    """

    waited: float = 0.0
    since: float | None = None

    def add(self, started: float) -> None:
        """Counts a wait that began at ``started`` and ends now."""
        self.since = started if self.since is None else self.since
        self.waited += time.perf_counter() - started

    def waiting_share(self) -> float:
        """The share of the time since the last call, or since the first batch, spent waiting; 0 to 1."""
        now = time.perf_counter()
        share = 0.0 if self.since is None else self.waited / max(now - self.since, 1e-9)
        self.waited, self.since = 0.0, None if self.since is None else now
        return min(1.0, share)


class Feed(Dataset):
    """Batches by their rows, prepared ahead in worker processes.

    torch's loader asks for the rows of a batch; where these are what ``order`` has next, they are under way
    already. A jump (a new epoch, batches skipped on resuming) drops what is under way and starts from there.

    Args:
        See `make_loader`.

    Raises (from fetching):
        DataError: preparing a row failed other than by a bad row; names it.
        TrainingError: a worker process died.
    """

    def __init__(
        self,
        rows: NumberedRows,
        builder: Builder,
        order: Order,
        *,
        num_workers: int,
        prefetch_factor: int,
        feed_bytes: int,
        multiprocessing_context: str | None,
        pinned: bool,
    ) -> None:
        self.rows = rows
        self.clock = FeedClock()
        self._builder = builder
        self._order = order
        self._pinned = pinned
        self._feed_bytes = feed_bytes
        self._workers = num_workers
        self._most_batches = num_workers * prefetch_factor
        self._context = multiprocessing_context
        self._pool: WorkerPool | None = None
        self._coming: Iterator[list[int]] = iter(())
        self._next: list[int] | None = None
        self._under_way: deque[Pending] = deque()
        self._bytes_per_row = 0.0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Delivery:
        return self.__getitems__([number])

    def __getitems__(self, numbers: list[int]) -> Delivery:
        """The batch of these rows."""
        started = time.perf_counter()
        self.rows.set_epoch(self._order.seed, self._order.epoch)
        try:
            if not self._workers:
                return in_pinned_memory(
                    self._builder([self.rows[number] for number in numbers]), self._pinned
                )
            if self._pool is None:
                self._pool = WorkerPool(self.rows, self._builder, self._workers, self._context)
                # The garbage collector may come by in one of the pool's own threads, which cannot wait for itself.
                weakref.finalize(self, self._pool.close, wait=False)
            return self._fetch(self._pool, numbers)
        finally:
            self.clock.add(started)

    @property
    def bytes_waiting(self) -> int:
        """Bytes prepared and not yet fetched, those still being prepared as far as they can be estimated."""
        return int(sum(self._size(pending) for pending in self._under_way))

    def close(self) -> None:
        """Ends the worker processes."""
        self._drop()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _fetch(self, pool: WorkerPool, numbers: list[int]) -> Delivery:
        if not self._under_way or self._under_way[0].numbers != numbers:
            self._jump(pool, numbers)
        pending = self._under_way[0]
        try:
            delivery = pool.finish(pending, self._builder, self._pinned).result()
        except BrokenProcessPool as error:
            raise TrainingError(
                f"a worker process died while rows {self._span(numbers)} or the next ones were prepared. Most often it "
                "ran out of memory, or of shared memory (/dev/shm): use fewer dataloader_num_workers or a smaller "
                "feed_bytes; with dataloader_num_workers=0 the rows are prepared in the main process"
            ) from error
        self._under_way.popleft()
        # The largest of late decides how far ahead fits, so that an outlier is forgotten in time.
        size = delivery_bytes(delivery) / max(1, len(numbers))
        self._bytes_per_row = max(size, 0.9 * self._bytes_per_row)
        self._fill(pool)
        if self._under_way:
            # The next batch is put together by a thread while this one is trained on.
            pool.finish(self._under_way[0], self._builder, self._pinned)
        return delivery

    def _jump(self, pool: WorkerPool, numbers: list[int]) -> None:
        self._drop()
        self._coming = iter(self._order)
        if numbers not in self._coming:  # reads on until it finds them
            self._coming = iter(())
        self._next = next(self._coming, None)
        self._under_way.append(pool.start(numbers, self._parts(len(numbers))))
        self._fill(pool)

    def _fill(self, pool: WorkerPool) -> None:
        """Hands out the next batches, as long as what waits and what is being prepared stays within limits."""
        while self._next is not None and len(self._under_way) < self._most_batches:
            if self._under_way:
                # Nothing is known of the size of the batches yet: the first is prepared by all workers together.
                if not self._bytes_per_row:
                    return
                if self.bytes_waiting + self._bytes_per_row * len(self._next) > self._feed_bytes:
                    return
            self._under_way.append(pool.start(self._next, self._parts(len(self._next))))
            self._next = next(self._coming, None)

    def _parts(self, rows: int) -> int:
        """Into how many tasks a batch is divided: one if there is room for a batch per worker, and one more."""
        if self._builder.needs_whole_batch:
            return 1
        size = self._bytes_per_row * rows
        if size and size * (self._workers + 1) <= self._feed_bytes:
            return 1
        return max(1, min(rows, self._workers))

    def _size(self, pending: Pending) -> float:
        known = pending.nbytes
        return self._bytes_per_row * len(pending.numbers) if known is None else known

    def _drop(self) -> None:
        while self._under_way:
            for task in self._under_way.popleft().tasks:
                task.cancel()

    def _span(self, numbers: Sequence[int]) -> str:
        shown = ", ".join(self.rows.row_name(number).removeprefix("row ") for number in numbers[:8])
        return f"{shown}, ..." if len(numbers) > 8 else shown


def _delivered(delivery: Any) -> Any:
    """The loader's collate function: the feed's batches are finished."""
    return delivery


def spare_cores() -> int:
    """Worker processes to use by default: one per core this process may use but the first, at most eight.

    Several ranks on one machine share its cores.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(8, max(1, cores // ranks_here() - 1))
