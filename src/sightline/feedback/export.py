"""Feedback becomes training questions: what ``sightline feedback export STORE --dataset PAGES`` runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.documents.adding import Added, add_questions
from sightline.documents.dataset import Dataset
from sightline.documents.feedback_facts import write_feedback_facts
from sightline.documents.records import FEEDBACK, Question
from sightline.feedback.propensity import PositionBias
from sightline.feedback.questions import ASIDE, TRAIN, questions_of
from sightline.feedback.records import LoggedSearch
from sightline.feedback.weighing import JudgedQuery, WeighingRules, judge
from sightline.files import write_text

# Examples of each thing that a report names.
EXAMPLES = 20


@dataclass(frozen=True)
class Contradiction:
    """A page about which people, or their marks and clicks, disagree.

    Attributes:
        query, page_id: what it is about.
        verdict: what came of it: "right", "wrong", or "open" where it was left out.
    """

    query: str
    page_id: str
    verdict: str


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Attributes:
        output: the dataset or the question file.
        added: what changed in the dataset; None where a file was written.
        questions: those that the feedback makes.
        searches, queries: in the log: all searches, and different queries of text.
        image_searches: searches with an image, which make no questions: those of a dataset are text.
        bias: what was taken for the position bias.
        aside: how many of what were left aside, in words.
        contradictions: all that were found, resolved or not.
        unanswered: queries that ended in "none of these" and have no right page.
        gone: right pages that the dataset has not, each as (query, page id).
    """

    output: Path
    added: Added | None
    questions: tuple[Question, ...]
    searches: int
    queries: int
    image_searches: int
    bias: PositionBias
    aside: Mapping[str, int]
    contradictions: tuple[Contradiction, ...]
    unanswered: tuple[str, ...]
    gone: tuple[tuple[str, str], ...]

    @property
    def splits(self) -> Counter[str]:
        """Questions by split."""
        return Counter(question.split or TRAIN for question in self.questions)

    @property
    def negatives(self) -> int:
        """Negatives of all questions."""
        return sum(len(question.negatives) for question in self.questions)

    def to_json(self) -> dict[str, Any]:
        return {
            "output": str(self.output),
            "questions": dict(sorted(self.splits.items())),
            "by_marks": sum(question.extra["evidence"] == "marks" for question in self.questions),
            "negatives": self.negatives,
            "added": None if self.added is None else self.added.added,
            "removed": None if self.added is None else self.added.removed,
            "searches": self.searches,
            "queries": self.queries,
            "image_searches": self.image_searches,
            "position_bias": {"eta": self.bias.eta, "source": self.bias.source, "error": self.bias.error},
            "left_aside": dict(self.aside),
            "contradictions": len(self.contradictions),
            "contradictions_open": sum(one.verdict == "open" for one in self.contradictions),
            "unanswered": list(self.unanswered),
            "gone": len(self.gone),
        }

    def lines(self) -> list[str]:
        """What was done, in a few lines for the terminal."""
        sides = ", ".join(f"{count:,} {split}" for split, count in sorted(self.splits.items())) or "none"
        by_marks = sum(question.extra["evidence"] == "marks" for question in self.questions)
        lines = [
            f"{self.output}: {len(self.questions):,} questions from feedback ({sides}; {by_marks:,} by marks, "
            f"{len(self.questions) - by_marks:,} by clicks alone) with {self.negatives:,} negatives, of "
            f"{self.searches:,} searches for {self.queries:,} queries",
            f"Clicks: {self.bias.sentence()}",
        ]
        if self.contradictions:
            undecided = sum(one.verdict == "open" for one in self.contradictions)
            lines.append(
                f"Contradictions: {len(self.contradictions):,} pages, {undecided:,} of them undecided and left out"
            )
        if self.unanswered:
            lines.append(f"Unanswered: {len(self.unanswered):,} queries, {_shown(self.unanswered)}")
        lines += [f"Left aside: {count:,} {name}" for name, count in self.aside.items()]
        if self.image_searches:
            lines.append(f"Left aside: {self.image_searches:,} searches with an image; questions are text")
        return lines


def export_feedback(
    searches: Iterable[LoggedSearch],
    dataset: str | Path,
    output: str | Path | None = None,
    *,
    rules: WeighingRules | None = None,
    max_negatives: int = 10,
) -> ExportReport:
    """Make questions of what people said of searches, ready to train on.

    Without ``output`` they go into the dataset in place of those of an earlier export, so that the dataset says what
    the feedback says now; what was mined for other questions stays good. `sightline train` takes them as they are.

    Args:
        searches: of `FeedbackStore.searches`.
        dataset: the dataset folder whose pages were searched.
        output: write a question file for `sightline ingest --questions` there, and leave the dataset as it is.
        rules: what is taken for an answer.
        max_negatives: per question.

    Raises:
        DataError: the dataset cannot be read or written, or another process writes it.
    """
    opened = Dataset.load(dataset)
    judged = judge(searches, rules)
    made = questions_of(opened, judged.queries, max_negatives=max_negatives)
    added = None
    if output is None:
        added = add_questions(opened.root, made.questions, replace_origin=FEEDBACK, keep_mined=True)
    else:
        write_text(output, "".join(map(_line, made.questions)))
    report = ExportReport(
        output=opened.root if output is None else Path(output),
        added=added,
        questions=tuple(made.questions),
        searches=judged.searches,
        queries=len(judged.queries),
        image_searches=judged.image_searches,
        bias=judged.bias,
        aside={ASIDE[name]: count for name, count in made.aside.items()},
        contradictions=tuple(_contradictions(judged.queries)),
        unanswered=tuple(query.query for query in judged.queries if query.unanswered),
        gone=tuple(made.gone),
    )
    if output is None:
        write_feedback_facts(
            opened.root,
            {
                "questions": len(report.questions),
                "contradictions": len(report.contradictions),
                "contradictions_open": sum(one.verdict == "open" for one in report.contradictions),
                "unanswered": len(report.unanswered),
                "gone": [f"{page} of '{query}'" for query, page in report.gone[:EXAMPLES]],
                "gone_count": len(report.gone),
                "left_aside": dict(report.aside),
            },
        )
    return report


def _contradictions(queries: Iterable[JudgedQuery]) -> Iterable[Contradiction]:
    for query in queries:
        for page in query.pages:
            if page.contradicted:
                yield Contradiction(query.query, page.page_id, page.verdict)


def _line(question: Question) -> str:
    """A line of a question file."""
    record = {
        "id": question.id,
        "query": question.query,
        "document": question.document,
        "pages": list(question.pages),
        "split": question.split,
        "origin": question.origin,
        "negatives": list(question.negatives),
        **question.extra,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def _shown(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return "; ".join(repr(name) for name in names[:3]) + more
