"""People who search a collection and know what they look for: made-up feedback whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sightline.feedback.store import FeedbackStore

# A query -> (page id, rank, score) of what is shown.
Search = Callable[[str], Sequence[tuple[str, int, float]]]
_START = datetime(2025, 1, 6, 8, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Habits:
    """How they look, click and mark.

    Attributes:
        eta: a page at rank k is looked at with probability ``k ** -eta``.
        takes: a right page that is looked at is clicked with this probability.
        mistakes: a wrong page that is looked at likewise.
        marks: share of searches in which the person also marks: the right page where it is among the clicked, else a
            clicked wrong page as not relevant, or "none of these" where no right page was shown.
    """

    eta: float = 1.0
    takes: float = 0.9
    mistakes: float = 0.1
    marks: float = 0.15


def visit(
    store: FeedbackStore,
    search: Search,
    questions: Mapping[str, Collection[str]],
    *,
    sessions: int,
    searches: int = 4,
    habits: Habits | None = None,
    seed: int = 0,
    version: str = "v1",
) -> None:
    """Let people search, and keep what they do in a store.

    Args:
        store: gets a search, its clicks and its marks at a time.
        search: what is shown for a query.
        questions: query -> right page ids.
        sessions: how many people.
        searches: of each; each asks for something else.
        habits: theirs.
        seed: another seed, other people.
        version: of the index that is searched.
    """
    chance, habits = random.Random(f"visitors {seed}"), habits or Habits()
    queries = sorted(questions)
    for session in range(sessions):
        for number, query in enumerate(chance.sample(queries, min(searches, len(queries)))):
            name, shown = f"{version}-{session}-{number}", search(query)
            time = _START + timedelta(hours=session, minutes=number)
            store.record_search(
                name,
                query,
                None,
                shown,
                version,
                "simulated",
                "vector",
                session=f"person {session}",
                time=time,
            )
            right = questions[query]
            clicked = clicks(chance, [page for page, _, _ in shown], right, habits)
            for page in clicked:
                store.mark(name, page, "click", time=time)
            if chance.random() < habits.marks:
                _mark(store, name, [page for page, _, _ in shown], clicked, right, time)


def clicks(chance: random.Random, pages: Sequence[str], right: Collection[str], habits: Habits) -> list[str]:
    """What a person clicks of pages shown in this order (the position-based model)."""
    return [
        page
        for rank, page in enumerate(pages, start=1)
        if chance.random() < rank**-habits.eta
        and chance.random() < (habits.takes if page in right else habits.mistakes)
    ]


def _mark(
    store: FeedbackStore,
    name: str,
    shown: Sequence[str],
    clicked: Sequence[str],
    right: Collection[str],
    time: datetime,
) -> None:
    found = [page for page in clicked if page in right]
    if found:
        store.mark(name, found[0], "relevant", time=time)
    elif clicked:
        store.mark(name, clicked[0], "not_relevant", time=time)
    elif not set(shown) & set(right):
        store.mark(name, None, "none_relevant", time=time)
