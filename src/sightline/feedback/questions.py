"""Judged queries as questions of a dataset: what is trained on, what is held out, what is left aside and why."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sightline.documents.dataset import Dataset
from sightline.documents.doctor.question_checks import spoken
from sightline.documents.mining import same_content
from sightline.documents.records import FEEDBACK, Page, Question
from sightline.feedback.records import query_key
from sightline.feedback.weighing import JudgedQuery, Judgement

TRAIN = "train"
# What each reason to leave something aside is called in reports.
ASIDE = {
    "open": "queries without an answer that is clear enough",
    "gone": "right pages that are not in the dataset",
    "held out": "queries answered in held-out documents, kept from training",
    "clicks held out": "queries answered in held-out documents by clicks alone, which are no measure",
    "both sides": "queries that the other split's questions ask already",
    "several documents": "held-out queries answered in several documents, which no question can name",
    "known": "queries that the dataset asks already, with the same pages",
    "same page": "negatives that show the same as a right page",
    "other split": "negatives of held-out documents",
}


@dataclass
class Made:
    """Questions, and what did not become one.

    Attributes:
        questions: those to add, in the order in which they were first asked.
        aside: how many of what, by the keys of `ASIDE`.
        gone: right pages that the dataset has not, each with its query.
    """

    questions: list[Question] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)
    gone: list[tuple[str, str]] = field(default_factory=list)


def questions_of(dataset: Dataset, queries: Sequence[JudgedQuery], *, max_negatives: int = 10) -> Made:
    """The questions that judged queries make in a dataset.

    A query whose right pages are in training documents becomes a training question per document, with the wrong and
    then the skipped pages of training documents as negatives. A query with a page of a held-out document that people
    have marked right becomes a question of that split and is kept out of training with all its pages; clicks alone
    make no held-out question, because what is measured with must be sure. A query that the questions of another split
    ask in the same words is left out.

    Args:
        dataset: with the questions it has; those from earlier feedback are passed over.
        queries: of `judge`.
        max_negatives: per question.
    """
    made = Made()
    view = _View.of(dataset)
    for query in queries:
        right = query.having("right")
        there = [page for page in right if page.page_id in view.pages]
        made.gone += [(query.query, page.page_id) for page in right if page.page_id not in view.pages]
        if not there:
            made.aside["open"] += not right
            continue
        split = _side(there, view, made)
        if split is not None:
            _add(
                query,
                [page for page in there if view.split(page.page_id) == split],
                split,
                view,
                made,
                max_negatives,
            )
    made.aside["gone"] = len(made.gone)
    made.aside = Counter({name: made.aside[name] for name in ASIDE if made.aside[name]})
    return made


@dataclass(frozen=True)
class _View:
    """What is looked up in the dataset."""

    pages: dict[str, Page]
    splits: dict[str, str]
    same: dict[str, int]
    asked: dict[str, dict[str, set[str]]]  # words -> split -> right pages

    @classmethod
    def of(cls, dataset: Dataset) -> _View:
        asked: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for question in dataset.all_questions:
            if question.origin != FEEDBACK:
                asked[spoken(question.query)][question.split or TRAIN].update(question.page_ids)
        numbers = same_content(dataset.pages)
        return cls(
            {page.page_id: page for page in dataset.pages},
            {item.document: item.split or TRAIN for item in dataset.documents},
            {page.page_id: int(number) for page, number in zip(dataset.pages, numbers, strict=True)},
            asked,
        )

    def split(self, page_id: str) -> str:
        return self.splits[self.pages[page_id].document]


def _side(right: Sequence[Judgement], view: _View, made: Made) -> str | None:
    """The split of a query's question; None where it has none."""
    held = [page for page in right if view.split(page.page_id) != TRAIN]
    sure = [page for page in held if page.evidence == "marks"]
    if sure:
        if len(held) < len(right):
            made.aside["held out"] += 1
        return view.split(sure[0].page_id)
    if held:
        made.aside["clicks held out"] += 1
    return TRAIN if len(held) < len(right) else None


def _add(
    query: JudgedQuery, right: list[Judgement], split: str, view: _View, made: Made, max_negatives: int
) -> None:
    sides = view.asked.get(spoken(query.query), {})
    if any(side != split for side in sides):
        made.aside["both sides"] += 1
        return
    known = sides.get(split, set())
    if split != TRAIN:
        right = [page for page in right if page.evidence == "marks"]
    right = [page for page in right if page.page_id not in known]
    if not right:
        made.aside["known"] += 1
        return
    documents: dict[str, list[Judgement]] = {}
    for page in right:
        documents.setdefault(view.pages[page.page_id].document, []).append(page)
    if split != TRAIN and (len(documents) > 1 or known):
        made.aside["several documents"] += 1
        return
    answers = {page.page_id for page in right} | known
    negatives = _negatives(query, answers, view, made)[:max_negatives] if split == TRAIN else []
    contradicted = sum(page.contradicted for page in query.pages)
    for document, pages in documents.items():
        evidence = "marks" if any(page.evidence == "marks" for page in pages) else "clicks"
        made.questions.append(
            Question(
                question_id(query.query, document),
                query.query,
                document,
                tuple(sorted(view.pages[page.page_id].page for page in pages)),
                split,
                {
                    "evidence": evidence,
                    "voices": max(page.voices for page in pages),
                    "contradictions": contradicted,
                },
                origin=FEEDBACK,
                negatives=tuple(negatives),
            )
        )


def _negatives(query: JudgedQuery, answers: set[str], view: _View, made: Made) -> list[str]:
    """Wrong pages, the best ranked first: those that were marked, then "none of these", then those passed over."""
    order = {"marks": 0, "none of these": 1, "clicks": 2}
    shown_like = {view.same[name] for name in answers if name in view.same}
    found = []
    for page in sorted(query.having("wrong", "skipped"), key=lambda page: order[page.evidence]):
        if page.page_id not in view.pages:
            continue
        if view.split(page.page_id) != TRAIN:
            made.aside["other split"] += 1
        elif view.same[page.page_id] in shown_like:
            made.aside["same page"] += 1
        else:
            found.append(page.page_id)
    return found


def question_id(query: str, document: str) -> str:
    """The same for the same words about the same document."""
    digest = hashlib.sha256(f"{query_key(query)}\0{document}".encode()).hexdigest()
    return f"{FEEDBACK}-{digest[:16]}"
