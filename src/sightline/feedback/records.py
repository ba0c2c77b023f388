"""What the feedback store holds: searches with what was shown, and what people said of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

Kind = Literal["relevant", "not_relevant", "none_relevant", "click", "clear"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Said of one page; the others are of the whole search, or of either ("clear").
OF_PAGES: tuple[Kind, ...] = ("relevant", "not_relevant", "click")


@dataclass(frozen=True, slots=True)
class Shown:
    """A page that a search showed.

    Attributes:
        page_id: ``"<document>#p<page>"``.
        rank: from 1.
        score: as it was shown.
    """

    page_id: str
    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Mark:
    """What a person said or did.

    Attributes:
        id: of the mark.
        search_id: of the search it is about.
        page_id: None where it is about all that was shown.
        kind: never "clear": what was cleared is gone.
        time: of the mark, in UTC.
    """

    id: str
    search_id: str
    page_id: str | None
    kind: Kind
    time: datetime


@dataclass(frozen=True, slots=True)
class LoggedSearch:
    """A search as it was asked, what it showed, and the marks on it that hold.

    Attributes:
        id: given by whoever searched.
        time: in UTC.
        query: the text; ``""`` where only an image was asked with.
        query_image: hash of the image's bytes, ``""`` without one; the image itself is not kept.
        mode: what was searched by: "hybrid", "vector", "text".
        version: of the index.
        model: fingerprint or name of the model.
        session: an opaque name of who asked, ``""`` where nobody said.
        shown: the pages in the order of their ranks.
        marks: in the order in which they were made.
    """

    id: str
    time: datetime
    query: str
    query_image: str
    mode: str
    version: str
    model: str
    session: str
    shown: tuple[Shown, ...]
    marks: tuple[Mark, ...] = ()

    @property
    def clicked(self) -> frozenset[str]:
        """The pages that were clicked."""
        return frozenset(mark.page_id for mark in self.marks if mark.kind == "click" and mark.page_id)

    @property
    def said(self) -> dict[str, bool]:
        """Page id -> whether it was marked relevant, for pages with an explicit mark."""
        return {
            mark.page_id: mark.kind == "relevant"
            for mark in self.marks
            if mark.page_id and mark.kind in ("relevant", "not_relevant")
        }

    @property
    def unanswered(self) -> bool:
        """Whether it was marked "none of these", and no page relevant."""
        said_none = any(mark.kind == "none_relevant" for mark in self.marks)
        return said_none and not any(self.said.values())


def query_key(query: str) -> str:
    """Equal for queries that count as the same: Unicode form, case, white space and the mark at the end aside."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split()).rstrip("?.! ")


def milliseconds(time: datetime) -> int:
    """Since 1970 in UTC; a time without a zone is taken for UTC."""
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def at(stamp: int) -> datetime:
    """The time of `milliseconds`."""
    return datetime.fromtimestamp(stamp / 1000, UTC)


def ranked(hits: Iterable[tuple[str, int, float]]) -> list[Shown]:
    """Hits as (page id, rank, score) in the order of their ranks; of a page shown twice the better place."""
    found: dict[str, Shown] = {}
    for page_id, rank, score in sorted(hits, key=lambda hit: hit[1]):
        found.setdefault(page_id, Shown(page_id, int(rank), float(score)))
    return list(found.values())
