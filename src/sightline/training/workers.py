"""Worker processes that read and preprocess the rows of batches, and the thread that puts their work together.

Each process holds the dataset and the builder; what crosses to it are row numbers, and what comes back is one buffer.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from sightline.inputs.threads import single_threaded
from sightline.training.batches import Delivery, PreparedRows
from sightline.training.transport import PackedFeatures, PackedMicroBatches
from sightline.types import MicroBatch


class NumberedRows(Protocol):
    """Rows by number: those of one dataset, or of several (see `sightline.training.mixing`)."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> tuple[int, Mapping[str, Any]]: ...
    def set_epoch(self, seed: int, epoch: int) -> None: ...
    def row_name(self, number: int) -> str: ...
    def ready(self, numbers: Sequence[int]) -> list[Any]:
        """What a worker process is given to have these rows: their numbers, or the rows themselves."""
        ...


class Builder(Protocol):
    """How numbered rows become a batch, in one piece or in parts; see `sightline.training.batches.BatchBuilder`."""

    @property
    def needs_whole_batch(self) -> bool: ...
    def __call__(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Delivery: ...
    def prepare(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> PreparedRows: ...
    def assemble(
        self,
        parts: Sequence[PreparedRows],
        pack: Callable[[list[MicroBatch]], PackedMicroBatches] | None = None,
    ) -> Delivery: ...


@dataclass
class Pending:
    """A batch under way.

    Attributes:
        numbers: its rows.
        tasks: what the workers were given, in the order of the rows; none once the batch is put together.
        finished: the batch put together, once somebody has asked for it.
    """

    numbers: list[int]
    tasks: list[Future[Any]]
    finished: Future[Delivery] | None = None

    @property
    def nbytes(self) -> int | None:
        """Bytes that lie here, or None as long as somebody is at it, or where it has failed."""
        if self.finished is not None:
            failed = not self.finished.done() or self.finished.exception() is not None
            return None if failed else delivery_bytes(self.finished.result())
        if not all(task.done() and not task.cancelled() and task.exception() is None for task in self.tasks):
            return None
        return sum(task.result().nbytes for task in self.tasks)

    def put_together(self, builder: Builder, pinned: bool) -> Delivery:
        done = [task.result() for task in self.tasks]
        self.tasks = []  # the parts are not needed beside the whole
        if isinstance(done[0], _Whole):
            return in_pinned_memory(done[0].delivery, pinned)
        return builder.assemble(
            [part.unpack() for part in done], lambda made: PackedMicroBatches.pack(made, pinned=pinned)
        )


@dataclass
class _Whole:
    """A batch made by one worker."""

    delivery: Delivery

    @property
    def nbytes(self) -> int:
        return delivery_bytes(self.delivery)


@dataclass
class _Part:
    """Some rows of a batch, their features in one buffer."""

    rows: PreparedRows
    features: PackedFeatures

    @property
    def nbytes(self) -> int:
        return self.features.nbytes

    def unpack(self) -> PreparedRows:
        identities = self.rows.features
        return replace(self.rows, features=dict(zip(identities, self.features.unpack(), strict=True)))


class WorkerPool:
    """Worker processes, and the thread that puts their work together."""

    def __init__(self, rows: NumberedRows, builder: Builder, workers: int, context: str | None) -> None:
        self._rows = rows
        self._processes = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context(context),
            initializer=_start_worker,
            initargs=(rows, builder),
        )
        self._thread = single_threaded(1, "feed")
        self._lock = threading.RLock()
        self._queue: deque[tuple[Future[Any], Callable[[list[Any]], Any], list[Any]]] = deque()
        self._free = workers + 1

    def start(self, numbers: list[int], parts: int) -> Pending:
        if parts == 1:
            return Pending(numbers, [self._submit(_build, self._rows.ready(numbers))])
        cuts = [len(numbers) * part // parts for part in range(parts + 1)]
        shares = [numbers[begin:end] for begin, end in itertools.pairwise(cuts)]
        return Pending(numbers, [self._submit(_prepare, self._rows.ready(share)) for share in shares])

    def finish(self, pending: Pending, builder: Builder, pinned: bool) -> Future[Delivery]:
        """The batch put together, now or by the thread."""
        if pending.finished is None:
            pending.finished = self._thread.submit(pending.put_together, builder, pinned)
        return pending.finished

    def close(self, wait: bool = True) -> None:
        """Ends the processes after what they are at, and the thread; ``wait`` until then."""
        with self._lock:
            while self._queue:
                self._queue.popleft()[0].cancel()
        self._processes.shutdown(wait=wait, cancel_futures=True)
        self._thread.shutdown(wait=wait, cancel_futures=True)

    def _submit(self, work: Callable[[list[Any]], Any], numbers: list[Any]) -> Future[Any]:
        # The executor is given little more than its processes can do at once, because it would work off all it
        # has before the program may end.
        promised: Future[Any] = Future()
        with self._lock:
            self._queue.append((promised, work, numbers))
        self._hand_out()
        return promised

    def _hand_out(self) -> None:
        with self._lock:
            while self._free and self._queue:
                promised, work, numbers = self._queue.popleft()
                if not promised.set_running_or_notify_cancel():
                    continue
                try:
                    given = self._processes.submit(work, numbers)
                except RuntimeError as error:  # a process has died, or the program ends
                    promised.set_exception(error)
                    continue
                self._free -= 1
                given.add_done_callback(partial(self._hand_over, promised))

    def _hand_over(self, promised: Future[Any], given: Future[Any]) -> None:
        error = CancelledError() if given.cancelled() else given.exception()
        if error is None:
            promised.set_result(given.result())
        else:
            promised.set_exception(error)
        with self._lock:
            self._free += 1
        self._hand_out()


def in_pinned_memory(delivery: Delivery, wanted: bool) -> Delivery:
    """The delivery with its buffer in page-locked memory if wanted."""
    batch = delivery["batch"]
    if wanted and batch is not None and isinstance(batch.micro_batches, PackedMicroBatches):
        delivery["batch"] = replace(batch, micro_batches=batch.micro_batches.pinned())
    return delivery


def delivery_bytes(delivery: Delivery) -> int:
    """Bytes of its micro-batches."""
    batch = delivery["batch"]
    if batch is None or not isinstance(batch.micro_batches, PackedMicroBatches):
        return 0
    return batch.micro_batches.nbytes


# In the worker processes

_WORK: list[tuple[NumberedRows, Builder]] = []


def _start_worker(rows: NumberedRows, builder: Builder) -> None:
    # An interrupt reaches every process of the terminal; the main one ends the workers in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    init_worker(0)
    _WORK[:] = [(rows, builder)]


def _end_with_parent() -> None:
    """A main process that was killed can tell nobody, and its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _build(given: list[Any]) -> _Whole:
    return _Whole(_WORK[0][1](_rows_of(given)))


def _rows_of(given: list[Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """Numbered rows out of what `NumberedRows.ready` gave."""
    rows = _WORK[0][0]
    return [rows[one] if isinstance(one, int) else one for one in given]


def _prepare(given: list[Any]) -> _Part:
    done = _WORK[0][1].prepare(_rows_of(given))
    packed = PackedFeatures(list(done.features.values()))
    bare = {identity: replace(one, values={}) for identity, one in done.features.items()}
    return _Part(replace(done, features=bare), packed)


def init_worker(_: int) -> None:
    """One core per worker: the tokenizer's own threads, forked half-way through, would deadlock or warn."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
