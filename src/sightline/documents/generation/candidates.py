"""Questions before they are chosen, why some are not, and the file that tells."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sightline.documents import store
from sightline.documents.adding import Added
from sightline.documents.records import Question, page_id
from sightline.files import remove_unfinished, write_text

# Beside the tables of the dataset: what was asked of a model, and what was filtered.
FOLDER = "questions"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that may enter the dataset.

    Attributes:
        query: the question.
        document: the document it is about.
        pages: zero-based gold pages.
        kind: see `Question`.
        language: ISO 639-1, "" where unknown.
        score: how good it is beside others of the same page; higher is better.
        answer: the answer, where a model gave one.
    """

    query: str
    document: str
    pages: tuple[int, ...]
    kind: str
    language: str = ""
    score: float = 0.0
    answer: str = ""

    @property
    def page_ids(self) -> tuple[str, ...]:
        return tuple(page_id(self.document, page) for page in self.pages)

    def to_question(self, origin: str) -> Question:
        """The question with an id that depends on its origin, pages and words alone."""
        said = json.dumps([origin, self.document, self.pages, self.query])
        name = f"{origin.split(':')[0]}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
        extra = {"model_answer": self.answer} if self.answer else {}
        return Question(
            name,
            self.query,
            self.document,
            self.pages,
            extra=extra,
            kind=self.kind,
            origin=origin,
            language=self.language,
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """A question that was filtered.

    Attributes:
        reason: a word for the filter, "margin" for example.
        detail: what it saw.
    """

    candidate: Candidate
    reason: str
    detail: str = ""

    def to_line(self) -> str:
        one = self.candidate
        values = {
            "query": one.query,
            "document": one.document,
            "pages": list(one.pages),
            "kind": one.kind,
            "reason": self.reason,
            "detail": self.detail,
        }
        return json.dumps(values, ensure_ascii=False)


@dataclass(frozen=True)
class QuestionsReport:
    """What a run of `sightline questions` did.

    Attributes:
        origin: "offline" or "model:<name>".
        pages: pages that were looked at.
        candidates: questions before the filters.
        kinds: kind -> questions kept.
        rejected: reason -> questions filtered; each with its detail in `rejected_file`.
        rejected_file: JSON lines.
        added: what changed in the dataset.
        notes: what a person should know.
        facts: of a model's run: requests, tokens, cost.
    """

    origin: str
    pages: int
    candidates: int
    kinds: Mapping[str, int]
    rejected: Mapping[str, int]
    rejected_file: Path
    added: Added
    notes: tuple[str, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """What was made and what was left out, for the terminal."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.kinds.items()))
        kept = sum(self.kinds.values())
        text = f"{kept:,} questions ({kinds})" if kept else "no questions"
        text = f"{text} from {self.pages:,} pages; the dataset has {self.added.total:,} now"
        if self.facts:
            used = self.facts
            text += f"\n{used['requests']:,} requests"
            text += f" ({used['reused']:,} answered earlier)" if used["reused"] else ""
            text += f", {used['tokens_in']:,} tokens in, {used['tokens_out']:,} out"
            text += f", cost {used['cost']:,.4f}" if "cost" in used else ""
        if self.rejected:
            why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.rejected.items()))
            text += f"\nleft out: {why} ({self.rejected_file})"
        return text


def write_rejected(root: Path, name: str, rejected: Sequence[Rejected]) -> Path:
    """Write what was filtered to ``questions/rejected-<name>.jsonl`` of a dataset.

    Raises:
        DataError: the disk is full or read-only.
    """
    lines = "".join(f"{item.to_line()}\n" for item in rejected)
    path = root / FOLDER / f"rejected-{name}.jsonl"
    with store.writing(root):
        remove_unfinished(path)
        return write_text(path, lines)


def counts(items: Iterable[str]) -> dict[str, int]:
    """How often each occurs, sorted by name."""
    return dict(sorted(Counter(items).items()))
