"""Worker processes under supervision: a file that crashes, hangs or eats memory costs that file only.

`concurrent.futures` ends the whole pool when one process dies, which is why this is written out. What a
worker answers to a task, one JSON object per line::

    beat    still hashing                 hash    sha256 of the file
    same    unchanged since last time     count   pages in the file
    page    one page                      done    the file is finished, or refused as a whole
    fatal   the dataset folder cannot be written

Every answer restarts the clock of `IngestSettings.page_seconds`, so a document of 500 pages has time
for each and a page that hangs is noticed. A page that hangs or crashes is left out once; the second one
in the same file refuses the file.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sightline.documents.pages import RawPage
from sightline.documents.records import Document, IngestSettings, Page, image_location, page_id, plain_name
from sightline.documents.text import normalise
from sightline.errors import DataError

START_SECONDS = 120.0
MAX_LOST_PAGES = 1
# Decoders leave their address space in pieces, and the limit counts it; a new process starts clean.
FILES_PER_WORKER = 200


@dataclass
class Task:
    """A file to read, and what is known of it so far.

    Attributes:
        document, path: its id and where it lies.
        known: its record of an earlier run with the same settings.
    """

    document: str
    path: Path
    known: Document | None = None
    sha256: str = ""
    count: int = 0
    pages: dict[int, RawPage] = field(default_factory=dict)
    lost: int = 0

    @property
    def next_page(self) -> int:
        return len(self.pages)

    def message(self) -> dict[str, Any]:
        known = self.known if self.known is not None and self.known.status == "ok" else None
        return {
            "path": str(self.path),
            "first": self.next_page,
            "known": known.sha256 if known else None,
            "images": sorted({page.image for page in known.pages}) if known else [],
        }

    def refused(self, error: str) -> Document:
        readable = error.encode("utf-8", "backslashreplace").decode()  # it may quote a name that is not UTF-8
        return Document(self.document, plain_name(self.path), self.sha256, self.count, "skipped", readable)

    def finished(self, error: str) -> Document:
        """The record of the file after its last page."""
        if error:
            return self.refused(error)
        notes = [f"page {raw.page} (counted from 0) {raw.error}" for raw in self.pages.values() if raw.error]
        good = [self.pages[number] for number in sorted(self.pages) if not self.pages[number].error]
        if not good:
            return self.refused("; ".join(notes[:3]) or "no page in it can be read")
        texts = normalise([raw.text for raw in good])
        pages = tuple(_page(self.document, raw, text) for raw, text in zip(good, texts))
        return Document(
            self.document, plain_name(self.path), self.sha256, self.count, "ok", _shorten(notes), pages
        )


def _page(document: str, raw: RawPage, text: str) -> Page:
    return Page(
        page_id=page_id(document, raw.page),
        document=document,
        page=raw.page,
        image=image_location(raw.content_hash),
        width=raw.width,
        height=raw.height,
        text=text,
        content_hash=raw.content_hash,
        text_source="pdf" if text else "none",
    )


def _shorten(notes: Sequence[str]) -> str:
    rest = f"; and {len(notes) - 10} more pages" if len(notes) > 10 else ""
    return "; ".join(notes[:10]) + rest


class _Worker:
    """A child process, its clock and the task it has."""

    def __init__(self, root: Path, settings: IngestSettings, inbox: queue.SimpleQueue) -> None:
        self.task: Task | None = None
        self.ready = False
        self.files = 0
        self.deadline = time.monotonic() + START_SECONDS
        # Its standard error; read only when it does not start. Closed by whoever ends the worker.
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sightline.documents.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=_environment(),
        )
        self.send({"root": str(root), "settings": settings.to_dict()})
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def _listen(self, inbox: queue.SimpleQueue) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    inbox.put((self, json.loads(line)))
        inbox.put((self, None))

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # it died; its end of the other pipe says so

    def start(self, task: Task, seconds: float) -> None:
        self.task = task
        self.files += 1
        self.deadline = time.monotonic() + seconds
        self.send(task.message())

    def kill(self) -> int:
        """End the process; its exit status, negative for a signal."""
        self.process.kill()
        status = self.process.wait()
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            self.process.stdin = None  # what was left in the buffer has no reader any more
        return status

    def last_words(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()[-2000:]


def _environment() -> dict[str, str]:
    # Threads and arenas reserve address space, which is what the memory limit counts.
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (source, os.environ.get("PYTHONPATH", "")) if part)
    limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return {**os.environ, **limits, "PYTHONPATH": path}


def read_documents(
    tasks: Sequence[Task], root: Path, settings: IngestSettings, workers: int
) -> Generator[Document, None, None]:
    """Read every file in worker processes and give its record as soon as it is finished.

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
        self.inbox: queue.SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = queue.SimpleQueue()
        self.workers = {self._new_worker() for _ in range(min(workers, len(tasks)))}

    def run(self) -> Iterator[Document]:
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
            worker.kill()
            worker.errors.close()

    def _new_worker(self) -> _Worker:
        return _Worker(self.root, self.settings, self.inbox)

    def _give_work(self, worker: _Worker) -> None:
        if self.waiting and worker.files >= FILES_PER_WORKER:
            self.workers.discard(worker)
            worker.kill()
            worker.errors.close()
            self.workers.add(self._new_worker())
        elif self.waiting:
            worker.start(self.waiting.pop(), self.settings.page_seconds)
        else:
            worker.task = None
            worker.deadline = float("inf")

    def _hear(self, worker: _Worker, answer: dict[str, Any]) -> Iterator[Document]:
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
        elif kind == "page":
            task.pages[answer["page"]] = RawPage(**answer)
        elif kind in ("same", "done"):
            self.left -= 1
            self._give_work(worker)
            if kind == "same":
                assert task.known is not None
                yield task.known
            else:
                yield task.finished(answer["error"])

    def _replace(self, worker: _Worker, *, hung: bool) -> Iterator[Document]:
        """A worker hung or died: end it, start another, and settle the file it had."""
        status, task = worker.kill(), worker.task
        self.workers.discard(worker)
        if not worker.ready:
            raise DataError(f"the process that reads files does not start:\n{worker.last_words()}")
        worker.errors.close()
        if task is None:
            self.workers.add(self._new_worker())
            return
        limit = self.settings.page_seconds
        cause = f"took longer than {limit:g} s" if hung else f"crashed its reader ({_exit_name(status)})"
        task.lost += 1
        if task.count and task.next_page >= task.count:
            self.left -= 1  # every page was read; it fell over while closing the file
            yield task.finished("")
        elif not task.count or task.lost > MAX_LOST_PAGES:
            where = f"page {task.next_page} (counted from 0)" if task.count else "the file"
            self.left -= 1
            yield task.refused(f"{where} {cause}")
        else:
            number = task.next_page
            task.pages[number] = RawPage(number, error=cause)
            self.waiting.append(task)
        if self.left:
            self.workers.add(self._new_worker())


def _exit_name(status: int) -> str:
    import signal

    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"
