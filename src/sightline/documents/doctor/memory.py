"""What was found out about images before, by the SHA-256 of their files: a file of SQLite in the user's cache folder.

Any number of processes may use it at once, and one that is killed leaves it whole. Where it cannot be written, images
are simply looked at again.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from sightline.documents.doctor.picture import VERSION, Picture

logger = logging.getLogger(__name__)

# Asked at once: SQLite's own limit of parameters is far above it.
_MANY = 500
_FIELDS = "width, height, ink, small, error"


def cache_folder() -> Path:
    """``$SIGHTLINE_CACHE``, or ``sightline`` in the user's cache folder."""
    given = os.environ.get("SIGHTLINE_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"


class Memory:
    """Facts of images by the hash of their files.

    Args:
        path: the file; by default in `cache_folder`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / f"pictures-{VERSION}.sqlite"

    def recall(self, hashes: Iterable[str]) -> dict[str, Picture]:
        """What is known of some images."""
        wanted = list(dict.fromkeys(hashes))
        known: dict[str, Picture] = {}
        if not self.path.is_file():
            return known
        try:
            with closing(self._open()) as database:
                for start in range(0, len(wanted), _MANY):
                    some = wanted[start : start + _MANY]
                    marks = ", ".join("?" * len(some))
                    rows = database.execute(
                        f"SELECT hash, {_FIELDS} FROM pictures WHERE hash IN ({marks})", some
                    )
                    known.update({row[0]: Picture(*row[1:]) for row in rows})
        except sqlite3.Error as error:
            logger.debug("%s cannot be read: %s", self.path, error)
        return known

    def learn(self, pictures: Mapping[str, Picture]) -> None:
        """Keeps facts; a full or read-only disk is no error."""
        rows = [
            (name, one.width, one.height, one.ink, one.small, one.error) for name, one in pictures.items()
        ]
        if not rows:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as database, database:
                database.executemany(
                    f"INSERT OR REPLACE INTO pictures (hash, {_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)", rows
                )
        except (sqlite3.Error, OSError) as error:
            logger.debug("%s cannot be written: %s", self.path, error)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=10.0)
        database.execute(
            "CREATE TABLE IF NOT EXISTS pictures (hash TEXT PRIMARY KEY, width INTEGER, height INTEGER, ink REAL, "
            "small BLOB, error TEXT) WITHOUT ROWID"
        )
        return database
