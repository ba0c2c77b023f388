"""What marks and clicks say together of a page as an answer to a query.

One session has one voice about a page (a search without a session is a session of its own); of a session's marks on
it the last counts.

Marks always count, and before everything else: the side with more voices wins, a tie decides nothing. "None of
these" says of every page shown that it does not answer, where nobody has marked the page itself. Clicks in a search
that ended in "none of these" do not count.

Where there are only clicks, they are put in relation to how often the page was looked at: clicks over expected
looks, with the position-based model of `sightline.feedback.propensity` (clicks over expected clicks, Zhang and Jones
2007, with the smoothing that is usual for rates):

    attraction = (clicks + PRIOR * background) / (looks + PRIOR),   looks = sum over voices of rank ** -eta

so one click at the top counts less than one further down, where few look; `background` is the rate of the whole log.
A page with no click that somebody passed over on the way to a click further down, or to a page marked relevant, is a
weak negative (Joachims 2002: a click is preferred to what was skipped above it).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sightline.errors import ConfigError
from sightline.feedback.propensity import PositionBias, position_bias
from sightline.feedback.records import LoggedSearch, query_key

Verdict = Literal["right", "wrong", "skipped", "open"]
Evidence = Literal["marks", "none of these", "clicks"]
PRIOR = 1.0  # looks that the background counts for


@dataclass(frozen=True, slots=True)
class WeighingRules:
    """What is taken for an answer.

    Attributes:
        eta: of the position bias; None to estimate it where the log allows, else 1. 0 counts clicks plainly.
        attraction: a page is right by clicks from this rate of clicks per look on.
        min_voices: and when so many sessions have clicked it.
        clicks: whether clicks count at all.
        weak: whether pages that were passed over are weak negatives.

    Raises:
        ConfigError: a value that cannot be meant.
    """

    eta: float | None = None
    attraction: float = 0.5
    min_voices: int = 1
    clicks: bool = True
    weak: bool = True

    def __post_init__(self) -> None:
        if self.eta is not None and not 0.0 <= self.eta <= 3.0:
            raise ConfigError(f"eta must be between 0 (no position bias) and 3, not {self.eta}")
        if not 0.0 < self.attraction <= 10.0:
            raise ConfigError(f"attraction must be above 0 and at most 10, not {self.attraction}")
        if self.min_voices < 1:
            raise ConfigError(f"min_voices must be at least 1, not {self.min_voices}")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of a page as an answer to a query.

    Attributes:
        page_id: the page.
        verdict: "right", "wrong", "skipped" (weakly wrong), or "open".
        evidence: what decided.
        rank: the best rank it was shown at; 0 where it was reached from a shown page.
        voices: sessions that said or clicked what decided.
        attraction: clicks per look, smoothed.
        contradicted: whether voices spoke against each other, or clicks against marks.
    """

    page_id: str
    verdict: Verdict
    evidence: Evidence
    rank: int
    voices: int
    attraction: float
    contradicted: bool = False


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with what is thought of the pages it showed.

    Attributes:
        query: as it was written most often.
        searches: how often it was asked.
        unanswered: whether somebody said "none of these" and nobody has found an answer.
        pages: best first: by rank.
    """

    query: str
    searches: int
    unanswered: bool
    pages: tuple[Judgement, ...]

    def having(self, *verdicts: Verdict) -> tuple[Judgement, ...]:
        """The pages with one of the verdicts."""
        return tuple(page for page in self.pages if page.verdict in verdicts)


@dataclass(frozen=True)
class Judged:
    """All of a log.

    Attributes:
        queries: in the order in which they were first asked.
        bias: what was taken for the position bias.
        searches: in the log.
        image_searches: those asked with an image, which are not judged.
    """

    queries: tuple[JudgedQuery, ...]
    bias: PositionBias
    searches: int
    image_searches: int


@dataclass
class _Voice:
    """What one session did about one page."""

    rank: int = 0
    clicked: bool = False
    skipped: bool = False
    none: bool = False
    said: bool | None = None
    said_at: datetime | None = None


@dataclass
class _Asked:
    """The searches of one query."""

    wordings: Counter[str] = field(default_factory=Counter)
    voices: dict[str, dict[str, _Voice]] = field(default_factory=lambda: defaultdict(dict))
    searches: int = 0
    unanswered: bool = False


def judge(searches: Iterable[LoggedSearch], rules: WeighingRules | None = None) -> Judged:
    """What a log says of each query's pages; a pure function of it.

    Args:
        searches: of `FeedbackStore.searches`.
        rules: what is taken for an answer.
    """
    rules = rules or WeighingRules()
    log = list(searches)
    bias = position_bias(log, rules.eta)
    asked: dict[str, _Asked] = {}
    for search in log:
        key = "" if search.query_image else query_key(search.query)
        if key:
            _listen(asked.setdefault(key, _Asked()), search)
    background = _background(asked.values(), bias)
    queries = []
    for one in asked.values():
        pages = [_judgement(name, voices, rules, bias, background) for name, voices in _by_page(one).items()]
        pages.sort(key=lambda page: (page.rank or 1 << 30, page.page_id))
        answered = any(page.verdict == "right" for page in pages)
        wording = min(one.wordings, key=lambda text: (-one.wordings[text], text))
        queries.append(JudgedQuery(wording, one.searches, one.unanswered and not answered, tuple(pages)))
    return Judged(tuple(queries), bias, len(log), sum(bool(search.query_image) for search in log))


def _listen(asked: _Asked, search: LoggedSearch) -> None:
    """Add what a search says to the voice of its session."""
    asked.searches += 1
    asked.wordings[" ".join(search.query.split())] += 1
    asked.unanswered |= search.unanswered
    # A name in front keeps sessions and searches apart.
    voices = asked.voices[f"session {search.session}" if search.session else f"search {search.id}"]
    said = search.said
    marked = {name for name, relevant in said.items() if relevant}
    clicked = search.clicked
    # Whoever has marked what they looked for, or said that it was not there, has said what the clicks led to.
    counted = frozenset() if search.unanswered or marked else clicked
    lowest = max((page.rank for page in search.shown if page.page_id in (marked or counted)), default=0)
    for page in search.shown:
        voice = voices.setdefault(page.page_id, _Voice())
        took = page.page_id in counted
        # A click is remembered with its rank, else the best rank: a page is looked at once, however often it is shown.
        if took and not voice.clicked:
            voice.rank, voice.clicked = page.rank, True
        elif not voice.rank or (page.rank < voice.rank and took == voice.clicked):
            voice.rank = page.rank
        voice.skipped |= page.rank < lowest and page.page_id not in clicked and page.page_id not in marked
        voice.none |= search.unanswered
    for mark in search.marks:
        if mark.page_id is not None and mark.page_id in said:
            voice = voices.setdefault(mark.page_id, _Voice())
            if mark.kind != "click" and (voice.said_at is None or mark.time >= voice.said_at):
                voice.said, voice.said_at = said[mark.page_id], mark.time


def _by_page(asked: _Asked) -> dict[str, list[_Voice]]:
    found: dict[str, list[_Voice]] = defaultdict(list)
    for voices in asked.voices.values():
        for name, voice in voices.items():
            found[name].append(voice)
    return found


def _background(asked: Iterable[_Asked], bias: PositionBias) -> float:
    """Clicks per look in the whole log."""
    voices = [voice for one in asked for pages in one.voices.values() for voice in pages.values()]
    looks = _looks(voices, bias)
    return sum(voice.clicked for voice in voices) / looks if looks else 0.0


def _looks(voices: Sequence[_Voice], bias: PositionBias) -> float:
    return sum(bias.looked_at(voice.rank) for voice in voices if voice.rank)


def _judgement(
    page: str, voices: Sequence[_Voice], rules: WeighingRules, bias: PositionBias, background: float
) -> Judgement:
    yes, no = (sum(voice.said is answer for voice in voices) for answer in (True, False))
    none = sum(voice.none and voice.said is None for voice in voices)
    clicked = sum(voice.clicked for voice in voices) if rules.clicks else 0
    attraction = (clicked + PRIOR * background) / (_looks(voices, bias) + PRIOR)
    taken = clicked >= rules.min_voices and attraction >= rules.attraction
    rank = min((voice.rank for voice in voices if voice.rank), default=0)

    def found(verdict: Verdict, evidence: Evidence, count: int, contradicted: bool) -> Judgement:
        return Judgement(page, verdict, evidence, rank, count, attraction, contradicted)

    if yes or no:
        against = bool(yes and no) or (bool(none) if yes else taken)
        verdict: Verdict = "open" if yes == no else "right" if yes > no else "wrong"
        return found(verdict, "marks", max(yes, no), against)
    if none:
        return found("open" if taken else "wrong", "none of these", none, taken)
    if taken:
        return found("right", "clicks", clicked, contradicted=False)
    skipped = sum(voice.skipped for voice in voices)
    weak = rules.weak and rules.clicks and not clicked and skipped
    return found("skipped" if weak else "open", "clicks", skipped if weak else clicked, contradicted=False)
