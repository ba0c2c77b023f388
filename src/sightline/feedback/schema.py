"""The tables of the feedback store, and how an older store becomes a newer one.

The file's ``application_id`` says that it is ours, its ``user_version`` how many of `MIGRATIONS` it has been
through. A change of the tables is a further migration at the end of the list, never a change of an earlier one. All
that are missing are applied in one transaction when the store is opened, so a store is of one version or of the
next, also after a kill. A store of a newer Sightline is refused.
"""

from __future__ import annotations

import sqlite3

from sightline.errors import FeedbackError

APPLICATION = 0x53474C46  # "SGLF"

# Times are milliseconds since 1970 in UTC. `query_key` is `records.query_key` of the query. A mark about all that
# was shown has page ''. One mark of a channel ('said': relevant, not_relevant, none_relevant; 'click') counts per
# search and page, the last.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE searches (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            time INTEGER NOT NULL,
            query TEXT NOT NULL,
            query_key TEXT NOT NULL,
            query_image TEXT NOT NULL,
            mode TEXT NOT NULL,
            version TEXT NOT NULL,
            model TEXT NOT NULL,
            session TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX searches_by_query ON searches (query_key)",
        "CREATE INDEX searches_by_time ON searches (time)",
        "CREATE INDEX searches_by_session ON searches (session) WHERE session != ''",
        """CREATE TABLE shown (
            search INTEGER NOT NULL REFERENCES searches (number) ON DELETE CASCADE,
            place INTEGER NOT NULL,
            page TEXT NOT NULL,
            score REAL NOT NULL,
            PRIMARY KEY (search, place)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE marks (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            search INTEGER NOT NULL REFERENCES searches (number) ON DELETE CASCADE,
            page TEXT NOT NULL,
            channel TEXT NOT NULL,
            kind TEXT NOT NULL,
            time INTEGER NOT NULL,
            UNIQUE (search, page, channel)
        ) STRICT""",
    ),
)
VERSION = len(MIGRATIONS)


def prepare(connection: sqlite3.Connection, name: str) -> None:
    """Make the tables, or bring those of an older store up to date.

    Args:
        connection: without a transaction.
        name: of the file, for messages.

    Raises:
        FeedbackError: the file is another program's, or of a newer Sightline.
        sqlite3.Error: it is no database, or cannot be written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _number(connection, "user_version")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if _number(connection, "application_id") != APPLICATION and (version or tables):
            raise FeedbackError(
                f"{name} is a database of another program; name another file for the feedback"
            )
        if version > VERSION:
            raise FeedbackError(
                f"{name} was written by a newer Sightline (version {version} of its tables; this one knows {VERSION});"
                " update Sightline"
            )
        if version < VERSION:
            for statements in MIGRATIONS[version:]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
