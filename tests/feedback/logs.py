"""Searches as a store would give them, made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sightline.feedback.records import Kind, LoggedSearch, Mark, Shown

START = datetime(2025, 1, 1, tzinfo=UTC)


def searched(
    name: str,
    query: str,
    pages: Sequence[str],
    said: Mapping[str, Iterable[Kind]] | None = None,
    *,
    session: str = "",
    none: bool = False,
    version: str = "v1",
    image: str = "",
    hour: int = 0,
) -> LoggedSearch:
    """A search that showed ``pages``; ``said`` has the marks by page, in their order."""
    time = START + timedelta(hours=hour)
    made: list[tuple[str | None, Kind]] = [
        (page, kind) for page, kinds in (said or {}).items() for kind in kinds
    ]
    if none:
        made.append((None, "none_relevant"))
    return LoggedSearch(
        name,
        time,
        query,
        image,
        "hybrid",
        version,
        f"model of {version}",
        session,
        tuple(Shown(page, rank, 1.0 / rank) for rank, page in enumerate(pages, start=1)),
        tuple(Mark(str(number), name, page, kind, time) for number, (page, kind) in enumerate(made)),
    )
