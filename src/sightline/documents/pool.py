"""Worker processes under supervision: a file that crashes, hangs or eats memory costs that file only.

`concurrent.futures` ends the whole pool when one process dies, which is why this is written out. What a
worker answers to a task, one JSON object per line::

    beat    still hashing                 hash    sha256 of the file
    same    unchanged since last time     count   pages in the file
    page    one page                      done    the file is finished, or refused as a whole
    fatal   the dataset folder cannot be written
    converting, recognising   LibreOffice, or OCR of one page, starts: a longer time is allowed

Every answer restarts the clock of `IngestSettings.page_seconds`, so a document of 500 pages has time
for each and a page that hangs is noticed. A page that hangs or crashes is left out once; the second one
in the same file refuses the file. A page whose text cannot be recognised stays, without the text; after three
in one file no more are tried.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from sightline.documents.child import START_SECONDS, Child, exit_name
from sightline.documents.rawpages import RawPage
from sightline.documents.records import Document, IngestSettings, RecognisedText
from sightline.documents.tasks import Task
from sightline.errors import DataError

MAX_LOST_PAGES = 1
MAX_LOST_TEXTS = 3
# Decoders leave their address space in pieces, and the limit counts it; a new process starts clean.
FILES_PER_WORKER = 200


class _Worker:
    """A child process, its clock and the task it has."""

    def __init__(self, root: Path, settings: IngestSettings, inbox: _Inbox) -> None:
        self.task: Task | None = None
        self.ready = False
        self.files = 0
        self.deadline = time.monotonic() + START_SECONDS
        self.child = Child(
            "sightline.documents.worker",
            {"root": str(root), "settings": settings.to_dict()},
            lambda answer: inbox.put((self, answer)),
        )

    def start(self, task: Task, seconds: float) -> None:
        self.task = task
        self.files += 1
        self.deadline = time.monotonic() + seconds
        self.child.send(task.message())

    def end(self) -> None:
        self.child.kill()
        self.child.errors.close()


_Inbox = queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]]


def read_documents(
    tasks: Sequence[Task], root: Path, settings: IngestSettings, workers: int
) -> Generator[Document | RecognisedText, None, None]:
    """Read every file in worker processes and give its record as soon as it is finished, and recognised texts before.


    The order is that of finishing. Records that did not change are the objects of ``Task.known``.

    Raises:
        DataError: when the dataset folder cannot be written or no worker starts.
    """
    supervisor = _Supervisor(tasks, root, settings, workers)
    try:
        yield from supervisor.run()
    finally:
        supervisor.stop()


class _Supervisor:
    def __init__(self, tasks: Sequence[Task], root: Path, settings: IngestSettings, workers: int) -> None:
        self.waiting = list(reversed(tasks))
        self.left = len(tasks)
        self.root = root
        self.settings = settings
        self.inbox: _Inbox = queue.SimpleQueue()
        self.workers = {self._new_worker() for _ in range(min(workers, len(tasks)))}

    def run(self) -> Iterator[Document | RecognisedText]:
        while self.left:
            nearest = min(worker.deadline for worker in self.workers)
            try:
                worker, answer = self.inbox.get(timeout=max(0.01, nearest - time.monotonic()))
            except queue.Empty:
                for late in [w for w in self.workers if w.deadline <= time.monotonic()]:
                    yield from self._replace(late, hung=True)
                continue
            if worker not in self.workers:
                continue  # the last lines of one that was ended
            if answer is None:
                yield from self._replace(worker, hung=False)
            else:
                yield from self._hear(worker, answer)

    def stop(self) -> None:
        for worker in self.workers:
            worker.end()

    def _new_worker(self) -> _Worker:
        return _Worker(self.root, self.settings, self.inbox)

    def _give_work(self, worker: _Worker) -> None:
        if self.waiting and worker.files >= FILES_PER_WORKER:
            self.workers.discard(worker)
            worker.end()
            self.workers.add(self._new_worker())
        elif self.waiting:
            worker.start(self.waiting.pop(), self.settings.page_seconds)
        else:
            worker.task = None
            worker.deadline = float("inf")

    def _hear(self, worker: _Worker, answer: dict[str, Any]) -> Iterator[Document | RecognisedText]:
        kind, task = answer.pop("kind"), worker.task
        worker.deadline = time.monotonic() + self.settings.page_seconds
        if kind == "ready":
            worker.ready = True
            self._give_work(worker)
            return
        assert task is not None
        if kind == "fatal":
            raise DataError(answer["error"])
        if kind == "hash":
            task.sha256 = answer["sha256"]
        elif kind == "count":
            task.count = answer["count"]
        elif kind == "converting":
            task.converter = answer["program"]
            worker.deadline = time.monotonic() + self.settings.office_seconds
        elif kind == "recognising":
            task.busy_page = answer["page"]
            worker.deadline = time.monotonic() + self.settings.ocr_seconds
        elif kind == "page":
            if found := task.take(RawPage(**answer)):
                yield found
        elif kind in ("same", "done"):
            self.left -= 1
            self._give_work(worker)
            if kind == "same":
                assert task.known is not None
                yield task.known
            else:
                yield task.finished(answer["error"])

    def _replace(self, worker: _Worker, *, hung: bool) -> Iterator[Document | RecognisedText]:
        """A worker hung or died: end it, start another, and settle the file it had."""
        status, task = worker.child.kill(), worker.task
        self.workers.discard(worker)
        if not worker.ready:
            raise DataError(f"the process that reads files does not start:\n{worker.child.last_words()}")
        worker.child.errors.close()
        if task is None:
            self.workers.add(self._new_worker())
            return
        cause = (
            f"took longer than {self._limit(task):g} s"
            if hung
            else f"crashed its reader ({exit_name(status)})"
        )
        if task.count and task.next_page >= task.count:
            self.left -= 1  # every page was read; it fell over while closing the file
            yield task.finished("")
        elif task.busy_page is not None:
            _give_up_text(task, cause)
            self.waiting.append(task)
        elif not task.count or task.lost >= MAX_LOST_PAGES:
            where = f"page {task.next_page} (counted from 0)" if task.count else task.converter or "the file"
            self.left -= 1
            yield task.refused(f"{where} {cause}")
        else:
            number = task.next_page
            task.pages[number] = RawPage(number, error=cause)
            task.lost += 1
            self.waiting.append(task)
        if self.left:
            self.workers.add(self._new_worker())

    def _limit(self, task: Task) -> float:
        """The seconds that what it was doing may take."""
        if task.busy_page is not None:
            return self.settings.ocr_seconds
        return (
            self.settings.office_seconds if task.converter and not task.count else self.settings.page_seconds
        )


def _give_up_text(task: Task, cause: str) -> None:
    """The text of the page being recognised is given up, and after some such pages that of all the rest."""
    assert task.busy_page is not None
    task.given_up[task.busy_page] = cause
    if len(task.given_up) >= MAX_LOST_TEXTS:
        for page in range(task.busy_page + 1, task.count):
            task.given_up[page] = f"failed on {MAX_LOST_TEXTS} pages before"
    task.busy_page = None
