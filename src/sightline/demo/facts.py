"""What pages state and what people ask: facts, questions, and the rule that ties them together.

A fact is a set of marks such as ``("company", "Corvane"), ("metric", "muster"), ("year", "2022")`` on
one page. A question carries the marks it mentions. Its gold pages are, by definition, all pages with
a fact that has every mark of the question. Questions whose pages lie in more than one document, or
on too many pages, are ambiguous and never leave the generator.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sightline.demo.terms import Term, fill, slots_of

Mark = tuple[str, str]
# What a fact is about: names of marks with their terms.
About = dict[str, Term | str]
KINDS = ("fact", "table", "chart", "figure", "procedure", "topic", "multi-page")
MAX_GOLD_PAGES = 4


@dataclass(frozen=True)
class Ask:
    """A question before its pages are known: wording, kind, and the marks it mentions."""

    query: str
    kind: str
    marks: frozenset[Mark]
    evidence: str


@dataclass
class Section:
    """Blocks that stay together on one page, with the facts they state and questions about them.

    Attributes:
        blocks: layout blocks, drawn in order.
        facts: the marks of each fact.
        asks: questions raised by these facts.
        full_page: the section starts a page and nothing follows on it.
    """

    blocks: list[Any] = field(default_factory=list)
    facts: list[frozenset[Mark]] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    full_page: bool = False

    def tell(
        self,
        rng: random.Random,
        marks: Mapping[str, Term | str],
        *,
        evidence: str = "",
        kind: str = "fact",
        templates: Sequence[str | tuple[str, str]] = (),
        fixed: Iterable[str] = (),
        say: Mapping[str, Term | str] | None = None,
        take: int = 1,
    ) -> None:
        """State a fact and raise up to ``take`` questions about it.

        A question mentions the marks whose slots its template has, and the ``fixed`` ones, which the
        template's own words imply. ``say`` gives further slots that identify nothing. A template may
        bring its own evidence: ``(template, evidence)``.
        """
        fact = frozenset((name, str(value)) for name, value in marks.items())
        self.facts.append(fact)
        for chosen in rng.sample(list(templates), min(take, len(templates))):
            template, answer = (chosen, evidence) if isinstance(chosen, str) else chosen
            names = (slots_of(template) & marks.keys()) | set(fixed)
            mentioned = frozenset((name, str(marks[name])) for name in names)
            query = fill(rng, template, {**marks, **(say or {})})
            self.asks.append(Ask(query, kind, mentioned, answer))

    def also(self, marks: Mapping[str, Term | str]) -> None:
        """State a fact nobody asks about here (it may make a question elsewhere ambiguous)."""
        self.facts.append(frozenset((name, str(value)) for name, value in marks.items()))


@dataclass(frozen=True)
class Question:
    """A question with its gold pages (zero-based) and the words that answer it."""

    query: str
    document: str
    pages: tuple[int, ...]
    kind: str
    evidence: str
    marks: frozenset[Mark]


class Ledger:
    """All facts of the collection by page, and the questions about them."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, int, frozenset[Mark]]] = []
        self.asks: list[tuple[str, int, Ask]] = []
        self._pages_by_mark: dict[Mark, set[int]] = defaultdict(set)

    def enter(self, document: str, page: int, section: Section) -> None:
        """Record that ``section`` was laid out on ``page``."""
        for fact in section.facts:
            for mark in fact:
                self._pages_by_mark[mark].add(len(self.facts))
            self.facts.append((document, page, fact))
        self.asks.extend((document, page, ask) for ask in section.asks)

    def pages_of(self, marks: frozenset[Mark]) -> set[tuple[str, int]]:
        """The (document, page) pairs with a fact that has all ``marks``."""
        rows = set.intersection(*(self._pages_by_mark.get(mark, set()) for mark in marks)) if marks else set()
        return {self.facts[row][:2] for row in rows}

    def questions(self, rng: random.Random, *, per_page: int) -> list[Question]:
        """Unambiguous questions, none twice, at most ``per_page`` raised by one page."""
        by_page: dict[tuple[str, int], list[Question]] = defaultdict(list)
        seen: set[str] = set()
        for document, page, ask in self.asks:
            gold = self.pages_of(ask.marks)
            if len({found for found, _ in gold}) != 1 or len(gold) > MAX_GOLD_PAGES:
                continue
            assert (document, page) in gold, f"a question misses its own page: {ask}"
            if ask.query.lower() in seen:
                continue
            seen.add(ask.query.lower())
            pages = tuple(sorted(number for _, number in gold))
            kind = "multi-page" if len(pages) > 1 else ask.kind
            by_page[document, page].append(
                Question(ask.query, document, pages, kind, ask.evidence, ask.marks)
            )
        kept: list[Question] = []
        for questions in by_page.values():
            chosen = questions if len(questions) <= per_page else rng.sample(questions, per_page)
            kept.extend(question for question in questions if question in chosen)
        return kept


def check(ledger: Ledger, questions: Sequence[Question]) -> list[str]:
    """What is wrong with the questions: ambiguous, incomplete, repeated. Empty when all is well."""
    problems: list[str] = []
    seen: set[str] = set()
    for question in questions:
        found = {
            (document, page) for document, page, fact in ledger.facts if question.marks <= fact
        }  # a plain scan, on purpose not the index the questions were made with
        expected = {(question.document, page) for page in question.pages}
        if found != expected:
            problems.append(f"{question.query!r} is answered on {sorted(found)}, not on {sorted(expected)}")
        if question.query.lower() in seen:
            problems.append(f"{question.query!r} appears twice")
        if question.kind not in KINDS:
            problems.append(f"{question.query!r} has the unknown kind {question.kind!r}")
        seen.add(question.query.lower())
    return problems
