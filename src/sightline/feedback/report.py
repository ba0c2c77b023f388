"""What the feedback says of the searching: what ``sightline feedback report STORE`` shows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sightline.feedback.propensity import PositionBias, position_bias
from sightline.feedback.records import LoggedSearch, query_key

# Ranks further down are one line.
RANKS = 10


@dataclass(frozen=True, slots=True)
class Day:
    """One day in UTC.

    Attributes:
        day: ``"2025-03-04"``.
        searches, sessions: how many; a search without a session counts as one.
        clicked, marked: searches with a click, and with a mark.
        unanswered: searches that ended in "none of these".
    """

    day: str
    searches: int
    sessions: int
    clicked: int
    marked: int
    unanswered: int


@dataclass(frozen=True, slots=True)
class AtRank:
    """What happened at one rank.

    Attributes:
        rank: from 1; `RANKS` + 1 stands for all further down.
        shown, clicked: pages.
        relevant, not_relevant: marks.
    """

    rank: int
    shown: int
    clicked: int
    relevant: int
    not_relevant: int

    @property
    def rate(self) -> float:
        """Clicks per page shown."""
        return self.clicked / self.shown if self.shown else 0.0


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """How well one version of the index did by people's explicit marks.

    Attributes:
        version, model: of the searches.
        searches: all of them.
        judged: those with a page marked relevant, or "none of these".
        mrr: mean of 1 / rank of the first page marked relevant over those, 0 where there is none. It can be compared
            between versions only as far as people marked alike.
    """

    version: str
    model: str
    searches: int
    judged: int
    mrr: float | None


@dataclass(frozen=True)
class FeedbackReport:
    """All of it; see `Day`, `AtRank`, `VersionFacts`.

    Attributes:
        searches, queries: how many; queries that count as the same once.
        unanswered: queries that ended in "none of these", with how often, the most frequent first.
        empty: queries that found nothing at all, likewise.
        bias: of positions, as an export would take it.
    """

    searches: int
    queries: int
    days: tuple[Day, ...]
    ranks: tuple[AtRank, ...]
    versions: tuple[VersionFacts, ...]
    unanswered: tuple[tuple[str, int], ...]
    empty: tuple[tuple[str, int], ...]
    bias: PositionBias

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "ranks": [{**asdict(one), "rate": one.rate} for one in self.ranks],
            "unanswered": [{"query": query, "searches": count} for query, count in self.unanswered],
            "empty": [{"query": query, "searches": count} for query, count in self.empty],
        }


def report_feedback(searches: Iterable[LoggedSearch]) -> FeedbackReport:
    """Counts what a log holds."""
    log = list(searches)
    return FeedbackReport(
        searches=len(log),
        queries=len({query_key(search.query) or search.query_image for search in log}),
        days=_days(log),
        ranks=_ranks(log),
        versions=_versions(log),
        unanswered=_often(search for search in log if search.unanswered),
        empty=_often(search for search in log if not search.shown),
        bias=position_bias(log),
    )


def _days(log: Iterable[LoggedSearch]) -> tuple[Day, ...]:
    by_day: dict[str, list[LoggedSearch]] = defaultdict(list)
    for search in log:
        by_day[search.time.date().isoformat()].append(search)
    return tuple(
        Day(
            day,
            len(found),
            len({search.session for search in found if search.session})
            + sum(not search.session for search in found),
            sum(bool(search.clicked) for search in found),
            sum(bool(search.said) for search in found),
            sum(search.unanswered for search in found),
        )
        for day, found in sorted(by_day.items())
    )


def _ranks(log: Iterable[LoggedSearch]) -> tuple[AtRank, ...]:
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for search in log:
        clicked, said = search.clicked, search.said
        for page in search.shown:
            count = counts[min(page.rank, RANKS + 1)]
            count["shown"] += 1
            count["clicked"] += page.page_id in clicked
            if page.page_id in said:
                count["relevant" if said[page.page_id] else "not_relevant"] += 1
    names = ("shown", "clicked", "relevant", "not_relevant")
    return tuple(AtRank(rank, *(count[name] for name in names)) for rank, count in sorted(counts.items()))


def _versions(log: Iterable[LoggedSearch]) -> tuple[VersionFacts, ...]:
    by_version: dict[tuple[str, str], list[LoggedSearch]] = defaultdict(list)
    for search in log:
        by_version[search.version, search.model].append(search)
    found = []
    for (version, model), searches in by_version.items():
        scores = [score for search in searches if (score := _reciprocal_rank(search)) is not None]
        mean = sum(scores) / len(scores) if scores else None
        found.append(VersionFacts(version, model, len(searches), len(scores), mean))
    return tuple(found)


def _reciprocal_rank(search: LoggedSearch) -> float | None:
    """1 / rank of the first page marked relevant, 0 for "none of these", None without either."""
    said = search.said
    best = min((page.rank for page in search.shown if said.get(page.page_id)), default=None)
    if best is not None:
        return 1.0 / best
    return 0.0 if search.unanswered else None


def _often(searches: Iterable[LoggedSearch]) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    wording: dict[str, str] = {}
    for search in searches:
        key = query_key(search.query) or "(an image)"
        counts[key] += 1
        wording.setdefault(key, search.query or key)
    return tuple((wording[key], count) for key, count in counts.most_common())
