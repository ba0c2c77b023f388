"""Lance tables of a version: opening, making, and Lance's errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError, SightlineError
from sightline.search.facts import place_of, unwritable
from sightline.search.folders import Folder

if TYPE_CHECKING:
    import pyarrow as pa

# The table, and where it is written first when int8 waits for the ranges of all vectors.
NAME, STAGED = "pages", "staged"


def connected(folder: Folder, version: str) -> Any:
    """LanceDB's connection to the tables of a version."""
    import lancedb

    options = None if folder.options is None else dict(folder.options)
    return lancedb.connect(place_in(folder, version), storage_options=options)


def created(folder: Folder, version: str, name: str, schema: pa.Schema, data: Any = None) -> Any:
    """A table in place of what may be there, with all of its data or not at all."""
    # Lance's own "overwrite" keeps what it cannot read and warns where there is nothing.
    folder.remove(f"{place_of(version)}/{name}.lance")
    database = connected(folder, version)
    # Pages that have nothing to embed have no vector, which is nothing bad.
    return database.create_table(name, data, schema=schema, on_bad_vectors="null")


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Lance's errors on reading (files lost or overwritten) as one sentence."""
    try:
        yield
    except SightlineError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise SearchIndexError(
            f"{place}/{NAME}.lance cannot be read ({_first_line(error)}); delete the index's folder and "
            f"build it again with `sightline index`"
        ) from error


@contextmanager
def writing(place: str) -> Iterator[None]:
    """Lance's errors on writing (disk full, no permission) as one sentence."""
    try:
        yield
    except SightlineError:
        raise
    except (OSError, RuntimeError) as error:
        raise unwritable(place, _first_line(error)) from error


def place_in(folder: Folder, version: str) -> str:
    """Where the tables of a version lie."""
    return f"{folder.uri}/{place_of(version)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
