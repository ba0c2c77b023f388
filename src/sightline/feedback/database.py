"""The SQLite file under the feedback store: opening it, commits that several threads share, snapshots to read."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from sightline.errors import FeedbackError, InputError
from sightline.feedback.schema import prepare

T = TypeVar("T")


class Database:
    """One file in WAL mode, with one connection to write by, which threads take turns at.

    A commit is synced to the disk (``synchronous=FULL``), which takes milliseconds and the writing itself does not; so
    threads that write at the same time share one.

    Args:
        path: the file; it and its folder are made if needed, for the owner only.
        wait: seconds to wait for another process that is writing.

    Raises:
        FeedbackError: see `FeedbackStore`.
    """

    def __init__(self, path: Path, wait: float) -> None:
        self._path = path
        self._wait = wait
        self._lock = threading.Lock()
        self._queueing = threading.Lock()
        self._queue: list[_Job] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # SQLite gives its further files the rights of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise FeedbackError(f"{path}: cannot be written ({error.strerror})") from error
        with self._trouble():
            self._connection = self._connected()
        try:
            with self._trouble():
                mode = self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                self._connection.execute("PRAGMA secure_delete = ON")
                prepare(self._connection, str(path))
            if mode != "wal":
                raise FeedbackError(
                    f"{path}: this file system cannot hold a feedback store; choose a folder on a local disk"
                )
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file, once whoever uses it has ended."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """The connection, outside any transaction, for this thread alone."""
        with self._lock, self._trouble():
            yield self._connection

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection to read by, which sees the file as it is now while others write."""
        with self._trouble():
            connection = self._connected()
        try:
            with self._trouble():
                connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
                yield connection
        finally:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        # Transactions are begun and ended by hand; a lock of ours keeps threads apart.
        return sqlite3.connect(self._path, timeout=self._wait, isolation_level=None, check_same_thread=False)

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What ``work`` returns, once what it wrote is on the disk; where it raises, nothing of it is."""
        job = _Job(work)
        with self._queueing:
            self._queue.append(job)
        with self._lock:
            # Whoever had the lock before may have done it already.
            if not job.done:
                with self._queueing:
                    jobs, self._queue = self._queue, []
                self._commit(jobs)
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    def _commit(self, jobs: Sequence[_Job]) -> None:
        """Do the jobs in one transaction; a job that refuses its input leaves the others alone."""
        try:
            with self._trouble():
                self._connection.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    self._connection.execute("SAVEPOINT job")
                    try:
                        job.result = job.work(self._connection)
                    except InputError as error:
                        job.error = error
                        self._connection.execute("ROLLBACK TO job")
                    self._connection.execute("RELEASE job")
                self._connection.execute("COMMIT")
        except BaseException as error:
            # A full disk may have rolled it back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for job in jobs:
                job.error = job.error or error
        finally:
            for job in jobs:
                job.done = True

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """What SQLite cannot do becomes a matter for the person who runs the store."""
        try:
            yield
        except sqlite3.Error as error:
            raise FeedbackError(f"{self._path}: {_reason(error)}") from error


def _reason(error: sqlite3.Error) -> str:
    # What the module itself refuses, a closed store say, has no code.
    base = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if base in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return f"the disk is full or cannot be written ({error}); what was kept before is safe"
    if base in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another process is writing and does not stop; try again"
    if base in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return (
            f"is no feedback store, or a damaged one ({error}); restore it from a copy, or name another file"
        )
    if base in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"cannot be opened for writing ({error})"
    return f"cannot be used ({error})"


class _Job:
    """Something to write that waits for its commit."""

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
