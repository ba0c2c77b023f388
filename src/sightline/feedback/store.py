"""The feedback store: one SQLite file in WAL mode that several threads and processes write at the same time.

What a method has written is on the disk when it returns (``synchronous=FULL``: the log is synced at every commit), so
neither a killed process nor a power cut loses it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sightline.errors import InputError
from sightline.feedback.database import Database
from sightline.feedback.records import (
    KINDS,
    OF_PAGES,
    LoggedSearch,
    Mark,
    Shown,
    at,
    milliseconds,
    query_key,
    ranked,
)

# Marks a search can have: what is shown and what is looked at beside it, and no flood from a script.
MAX_MARKS = 1000
_NEVER = 1 << 62
_WITHIN = "search IN (SELECT number FROM searches WHERE time >= ? AND time < ?)"
_SHOWN = f"SELECT search, page, place, score FROM shown WHERE {_WITHIN} ORDER BY search, place"
_MARKS = (
    "SELECT search, number, page, kind, time FROM marks"
    f" WHERE {_WITHIN} AND kind != 'clear' ORDER BY search, number"
)
_CONDITIONS = {"query": "query_key = ?", "before": "time < ?", "session": "session = ?"}


class UnknownSearchError(InputError):
    """There is no search of this id in the store (any more)."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What `FeedbackStore.forget` took out.

    Attributes:
        searches, marks: how many.
        wiped: whether the log of the database was emptied as well, so that no byte of it is left in the files; else
            another process was reading, and the next write of a store does it in time.
    """

    searches: int
    marks: int
    wiped: bool


class FeedbackStore:
    """Searches, what they showed, and what people said of it, in one file.

    May be used by several threads; several processes may have the same file open. Beside the file lie ``-wal`` and
    ``-shm`` while it is open; all three belong together. The file is made readable for its owner only. It must lie on
    a local disk: network file systems have no shared memory.

    Args:
        path: the file; it and its folder are made if needed.
        wait: seconds to wait for another process that is writing.

    Raises:
        FeedbackError: the file cannot be made or opened, is no feedback store, or is of a newer Sightline.
    """

    def __init__(self, path: str | Path, *, wait: float = 5.0) -> None:
        self.path = Path(path).absolute()
        self._database = Database(self.path, wait)

    def close(self) -> None:
        """Close the file; nothing is lost without it. The store cannot be used afterwards."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def record_search(
        self,
        search_id: str,
        query: str | None,
        query_image_hash: str | None,
        hits: Iterable[tuple[str, int, float]],
        version: str,
        model: str,
        mode: str,
        *,
        session: str | None = None,
        time: datetime | None = None,
    ) -> None:
        """Keep a search and what it showed; marks can follow.

        Args:
            search_id: unique, and hard to guess where not everybody may mark everything.
            query: the text, None for an image alone.
            query_image_hash: SHA-256 of the query's image, None without one.
            hits: (page id, rank from 1, score) of every page that was shown.
            version: of the index.
            model: fingerprint or name of the model.
            mode: what was searched by.
            session: an opaque name of who asked; the same one has one voice about a page.
            time: when; by default now.

        Raises:
            InputError: neither text nor image, or another search has the id.
            FeedbackError: the disk is full, or another process does not stop writing; nothing is kept then.
        """
        text = _storable(query or "").strip()
        if not search_id or not (text or query_image_hash):
            raise InputError("a search needs an id, and a text or an image")
        shown = ranked(hits)
        row = (
            search_id,
            milliseconds(time or datetime.now(UTC)),
            text,
            query_key(text),
            query_image_hash or "",
            mode,
            version,
            model,
            _storable(session or ""),
        )

        def insert(connection: sqlite3.Connection) -> None:
            if _number_of(connection, search_id) is not None:
                raise InputError(f"search {search_id!r} is recorded already")
            number = connection.execute(
                "INSERT INTO searches (id, time, query, query_key, query_image, mode, version, model, session)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            connection.executemany(
                "INSERT INTO shown (search, place, page, score) VALUES (?, ?, ?, ?)",
                [(number, one.rank, one.page_id, one.score) for one in shown],
            )

        self._database.write(insert)

    def mark(
        self,
        search_id: str,
        page_id: str | None,
        kind: str,
        *,
        shown_only: bool = True,
        time: datetime | None = None,
    ) -> str:
        """Keep what a person said of a search's page, or of the whole search.

        A mark takes the place of an earlier one on the same search and page; clicks stand beside marks and are kept
        once. "clear" takes back what was said, of the page or, without one, of the whole search; clicks stay.

        Args:
            search_id: of `record_search`.
            page_id: what it is about; None for "none_relevant" and for "clear" of it.
            kind: one of `KINDS`.
            shown_only: refuse pages that the search did not show. Whoever knows that the page is in the index may
                pass False, for pages that people reach from those.
            time: when; by default now.

        Returns:
            the id of the mark.

        Raises:
            UnknownSearchError: there is no such search.
            InputError: an unknown kind, a kind that does not go with (or without) a page, a page that was not shown,
                or too many marks.
            FeedbackError: the disk is full, or another process does not stop writing; nothing is changed then.
        """
        if kind not in KINDS:
            raise InputError(f"mark {kind!r} is unknown; choose from {', '.join(KINDS)}")
        if kind in OF_PAGES and not page_id:
            raise InputError(f"a mark {kind!r} needs a page")
        if kind == "none_relevant" and page_id:
            raise InputError("a mark 'none_relevant' is about all that was shown and takes no page")
        page, channel = page_id or "", "click" if kind == "click" else "said"
        stamp = milliseconds(time or datetime.now(UTC))

        def insert(connection: sqlite3.Connection) -> str:
            number = _number_of(connection, search_id)
            if number is None:
                raise UnknownSearchError(f"there is no search {search_id!r}, or it was forgotten")
            if page and shown_only and not _is_shown(connection, number, page):
                raise InputError(f"search {search_id!r} did not show page {page!r}")
            count = connection.execute("SELECT count(*) FROM marks WHERE search = ?", (number,)).fetchone()[0]
            if count >= MAX_MARKS:
                raise InputError(f"search {search_id!r} has {count} marks, and no more are taken")
            made = connection.execute(
                "INSERT OR REPLACE INTO marks (search, page, channel, kind, time) VALUES (?, ?, ?, ?, ?)",
                (number, page, channel, kind, stamp),
            )
            return str(made.lastrowid)

        return self._database.write(insert)

    def marks(self, search_id: str) -> list[Mark]:
        """The marks of a search that hold, in the order in which they were made.

        Raises:
            UnknownSearchError: there is no such search.
            FeedbackError: the store cannot be read.
        """
        with self._database.open() as connection:
            number = _number_of(connection, search_id)
            if number is None:
                raise UnknownSearchError(f"there is no search {search_id!r}, or it was forgotten")
            rows = connection.execute(
                "SELECT number, page, kind, time FROM marks WHERE search = ? AND kind != 'clear' ORDER BY number",
                (number,),
            ).fetchall()
        return [Mark(str(made), search_id, page or None, kind, at(time)) for made, page, kind, time in rows]

    def searches(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[LoggedSearch]:
        """Every search with its marks, in the order they were recorded, as the store is now.

        Reads by a connection of its own, a piece at a time, while others write.

        Args:
            since, until: only those at or after, and before.

        Raises:
            FeedbackError: the store cannot be read.
        """
        window = (milliseconds(since) if since else 0, milliseconds(until) if until else _NEVER)
        with self._database.snapshot() as connection:
            rows = connection.execute(
                "SELECT number, id, time, query, query_image, mode, version, model, session FROM searches"
                " WHERE time >= ? AND time < ? ORDER BY number",
                window,
            )
            shown = _Rows(connection.execute(_SHOWN, window))
            marks = _Rows(connection.execute(_MARKS, window))
            for number, name, time, query, image, mode, version, model, session in rows:
                pages = tuple(Shown(page, place, score) for page, place, score in shown.of(number))
                made = tuple(
                    Mark(str(made), name, page or None, kind, at(when))
                    for made, page, kind, when in marks.of(number)
                )
                yield LoggedSearch(name, at(time), query, image, mode, version, model, session, pages, made)

    def forget(
        self, *, query: str | None = None, before: datetime | None = None, session: str | None = None
    ) -> Forgotten:
        """Delete searches with all that was shown and said, so that no byte of them is left in the file.

        Args:
            query: those that asked this, case, white space and the mark at its end aside.
            before: those before this time.
            session: those of this session; with several conditions, those that meet all.

        Raises:
            InputError: no condition.
            FeedbackError: the disk is full, or another process does not stop writing; nothing is changed then.
        """
        given: dict[str, Any] = {
            "query": None if query is None else query_key(_storable(query)),
            "before": None if before is None else milliseconds(before),
            "session": session,
        }
        values = {name: value for name, value in given.items() if value is not None}
        if not values:
            raise InputError("say what is to be forgotten: a query, a time, or a session")
        chosen = f"SELECT number FROM searches WHERE {' AND '.join(_CONDITIONS[name] for name in values)}"
        given_values = tuple(values.values())

        def delete(connection: sqlite3.Connection) -> tuple[int, int]:
            marks = connection.execute(
                f"SELECT count(*) FROM marks WHERE kind != 'clear' AND search IN ({chosen})", given_values
            ).fetchone()[0]
            gone = connection.execute(f"DELETE FROM searches WHERE number IN ({chosen})", given_values)
            return gone.rowcount, int(marks)

        searches, marks = self._database.write(delete)
        with self._database.open() as connection:
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        return Forgotten(searches, marks, not busy)


def _number_of(connection: sqlite3.Connection, search_id: str) -> int | None:
    row = connection.execute("SELECT number FROM searches WHERE id = ?", (_storable(search_id),)).fetchone()
    return None if row is None else int(row[0])


def _is_shown(connection: sqlite3.Connection, number: int, page: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM shown WHERE search = ? AND page = ?", (number, _storable(page))
    ).fetchone()
    return found is not None


def _storable(text: str) -> str:
    """Text without half characters (lone surrogates), which no database takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


class _Rows:
    """Rows that begin with the number of a search, read beside the searches in the same order."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, number: int) -> list[tuple[Any, ...]]:
        """The rest of each row of a search; to be asked in the order of the numbers."""
        found: list[tuple[Any, ...]] = []
        while self._next is not None and self._next[0] <= number:
            if self._next[0] == number:
                found.append(self._next[1:])
            self._next = next(self._rows, None)
        return found
