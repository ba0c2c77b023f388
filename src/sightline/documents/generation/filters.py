"""What keeps a question out of the dataset, whoever made it.

Order matters where a question fails several: what it says about itself comes first, then its likeness to other
questions, then how many pages answer it.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sightline.documents.dataset import Dataset
from sightline.documents.generation.candidates import Candidate, Rejected
from sightline.documents.generation.words import content_words, word_set
from sightline.documents.records import Page
from sightline.evaluation.bm25 import BM25, words

MAX_CHARACTERS = 300
# Words of questions that say how is asked, not for what.
_ASKING = word_set(
    """tell read look looking details information known find show shows shown value high evidence findings percentage
    according report document describe described mentioned explain list name give"""
)
_NUMBER = r"(?:\d+|[ivx]+\b)"
# Places in a file, which nobody who searches knows.
_PLACES = re.compile(
    rf"\b(?:on|at|in|from|of|to|see|auf|von|sur|à|en|de)? ?(?:the )?(?:pages?|pg\.?|p\.|pp\.|slides?|seiten?"
    rf"|folien?|folie|páginas?|diapositivas?|diapositives?) ?(?:no\.? ?|number )?{_NUMBER}"
    r"|\b(?:this|these|the (?:above|below|following|given|provided|attached|first|last|next|previous|current|second)"
    r"|dieser|diesem|dieses|diese|cette|ce|esta|este) (?:page|slide|document|image|picture|figure|table|chart|graph"
    r"|diagram|text|passage|screenshot|section|seite|folie|dokument|bild|tabelle|abbildung|diapositive|tableau|graphique"
    r"|página|documento|imagen|tabla|gráfico)s?\b"
    r"|\b(?:in|on|from|to|by) the (?:page|slide|document|image|picture|passage|screenshot|text)s?\b"
    r"|\b(?:shown|described|listed|mentioned|given|depicted|displayed|discussed|presented) (?:above|below|here)\b"
    rf"|\b(?:figures?|fig\.|tables?|charts?|exhibits?|box|appendix|section|chapter|abbildung|tabelle|tableau|tabla|figura)"
    rf" ?(?:no\.? ?)?[a-z]?\d+(?:[.-]\d+)*\b",
    re.IGNORECASE,
)


def place_mentioned(query: str) -> str:
    """The words of a question that point at a place in a file ("on page 3", "the table above"); "" for none."""
    match = _PLACES.search(query)
    return match.group().strip() if match else ""


def asked_for(query: str, language: str = "") -> list[str]:
    """The words of a question that say what it wants."""
    return [word for word in content_words(query, language) if word not in _ASKING]


def check_wording(candidate: Candidate) -> Rejected | None:
    """Reject what is empty, endless, about nothing, or points at a place in the file."""
    query = candidate.query
    if not query.strip() or not asked_for(query, candidate.language):
        return Rejected(candidate, "empty", "no word says what it asks for")
    if len(query) > MAX_CHARACTERS or "\n" in query.strip():
        return Rejected(
            candidate, "too long", f"{len(query)} characters; at most {MAX_CHARACTERS} in one line"
        )
    if place := place_mentioned(query):
        return Rejected(candidate, "place", f"it says '{place}'")
    return None


class Distinct:
    """Finds questions that ask the same in other words or in another order.

    Two are the same where their content words have a Jaccard index of at least ``likeness`` and their numbers are
    equal. Candidates for a match share one of the rarest words of the question (prefix filtering: Chaudhuri et al.
    2006), so that a large set is not compared with itself.

    Args:
        known: questions the dataset has already, with their languages.
        likeness: 0 to 1.
    """

    def __init__(self, known: Iterable[tuple[str, str]], *, likeness: float = 0.75) -> None:
        self.likeness = likeness
        self._sets: list[tuple[frozenset[str], frozenset[str], str]] = []
        self._by_word: defaultdict[str, list[int]] = defaultdict(list)
        for query, language in known:
            self._keep(query, frozenset(asked_for(query, language)))

    def like(self, query: str, language: str = "") -> str | None:
        """An earlier question that asks the same; otherwise the question is remembered, and None given."""
        own = frozenset(asked_for(query, language))
        numbers = _numbers(own)
        for position in dict.fromkeys(
            number for word in sorted(own) for number in self._by_word.get(word, ())
        ):
            other, theirs, earlier = self._sets[position]
            if numbers == theirs and len(own & other) >= self.likeness * len(own | other):
                return earlier
        self._keep(query, own)
        return None

    def _keep(self, query: str, own: frozenset[str]) -> None:
        position = len(self._sets)
        self._sets.append((own, _numbers(own), query))
        # Of two sets this alike, one has a word of the other's first |x| - ceil(likeness * |x|) + 1 in any fixed
        # order of words; longest first, because long words are rare.
        ordered = sorted(own, key=lambda word: (-len(word), word))
        prefix = len(ordered) - math.ceil(self.likeness * len(ordered)) + 1
        for word in ordered[:prefix]:
            self._by_word[word].append(position)


def _numbers(terms: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in terms if any(character.isdigit() for character in word))


class Groups:
    """Pages that are the same or nearly the same: a copy of a gold page is no rival of it."""

    def __init__(self, pages: Iterable[Page]) -> None:
        by_text: dict[str, str] = {}
        self._group: dict[str, str] = {}
        self._members: Counter[str] = Counter()
        for page in pages:
            key = " ".join(words(page.text)) or page.content_hash
            first = page.duplicate_of or by_text.setdefault(key, page.page_id)
            group = self._group.get(first, first)
            self._group[page.page_id] = group
            self._members[group] += 1

    def of(self, page_ids: Iterable[str]) -> frozenset[str]:
        return frozenset(self._group.get(name, name) for name in page_ids)

    def same(self, page_id: str, groups: frozenset[str]) -> bool:
        return self._group.get(page_id, page_id) in groups

    def size(self, groups: frozenset[str]) -> int:
        return sum(self._members[group] for group in groups)


class Search(Protocol):
    """Ranks all pages for questions."""

    def __call__(self, queries: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
        """The ``k`` best (page id, score) of each query, best first."""


@dataclass(frozen=True)
class Margin:
    """Keeps a question whose gold page stands out in a search over all pages.

    A rival is another page, no copy of the gold page, that scores at least as much as the best gold page less the
    share ``margin`` of it. With more than ``rivals`` of them, many pages answer the question as far as the search
    can tell.

    Attributes:
        search: BM25 over the text layer, or an encoder.
        judges: whether the search can find a page at all; BM25 cannot find one without text.
        groups: copies.
        margin: 0 to 1.
        rivals: how many are let pass.
    """

    search: Search
    judges: Callable[[str], bool]
    groups: Groups
    margin: float
    rivals: int

    def apply(self, candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[Rejected], int]:
        """Those kept, those rejected, and how many could not be judged (they are kept)."""
        kept, rejected, unjudged = [], [], 0
        depth = max((self.groups.size(self.groups.of(item.page_ids)) for item in candidates), default=0)
        found = self.search([item.query for item in candidates], depth + self.rivals + 1)
        for item, ranking in zip(candidates, found):
            if not any(self.judges(name) for name in item.page_ids):
                unjudged += 1
                kept.append(item)
                continue
            groups = self.groups.of(item.page_ids)
            gold = max((score for name, score in ranking if self.groups.same(name, groups)), default=None)
            if gold is None:
                others = [name for name, _ in ranking]
                detail = (
                    f"other pages fit better: {', '.join(others[:3])}"
                    if others
                    else "its words are on no page"
                )
                rejected.append(Rejected(item, "margin", detail))
                continue
            least = gold - self.margin * abs(gold)  # similarities may be negative
            rivals = [n for n, score in ranking if score >= least and not self.groups.same(n, groups)]
            if len(rivals) > self.rivals:
                rejected.append(Rejected(item, "margin", f"as well: {', '.join(rivals[:3])}"))
            else:
                kept.append(item)
        return kept, rejected, unjudged


def known_questions(dataset: Dataset, *, but: str) -> list[tuple[str, str]]:
    """The questions a dataset has, with their languages, for `Distinct`; without those of one origin."""
    return [(item.query, item.language) for item in dataset.all_questions if item.origin != but]


def bm25_search(texts: Mapping[str, str]) -> Search:
    """BM25 over the pages' text layers, by what the questions ask for."""
    index = BM25(texts)

    def search(queries: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
        return [index.search(" ".join(asked_for(query)) or query, k) for query in queries]

    return search
