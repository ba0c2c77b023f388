"""What mining found, for a person: how many negatives, how hard, what was left out and why, and five to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.documents.dataset import Dataset
from sightline.documents.negatives import MinedRow, Negatives

_EXAMPLES = 5
_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Example:
    """A negative to look at.

    Attributes:
        question: the question's text.
        wanted, mined: page ids.
        wanted_score, mined_score: their scores.
        rank: of the mined page.
    """

    question: str
    wanted: str
    mined: str
    wanted_score: float
    mined_score: float
    rank: int


@dataclass(frozen=True)
class MiningReport:
    """See the module.

    Attributes:
        path: the file of negatives.
        facts: what they were made of.
        pairs: questions with a page that answers them.
        negatives: of all pairs together.
        short: pairs with fewer than were asked for, by how many they have.
        ranks, gaps: quantiles (5, 25, 50, 75, 95 %) of the negatives' ranks, and of how far they score below the right
            page; empty without negatives.
        dropped: candidates that were left out, by reason.
        examples: spread evenly from the negative closest to its right page to the farthest.
        seconds: wall-clock time.
    """

    path: Path
    facts: Mapping[str, Any]
    pairs: int
    negatives: int
    short: Mapping[int, int]
    ranks: tuple[float, ...]
    gaps: tuple[float, ...]
    dropped: Mapping[str, int]
    examples: tuple[Example, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path), "seconds": round(self.seconds, 3)}

    def lines(self) -> list[str]:
        """The report in words, a line each."""
        asked = self.facts["rules"]["num_negatives"]
        found = [
            f"{self.path}: {self.negatives:,} negatives for {self.pairs:,} pairs of question and page, out of "
            f"{self.facts['searched']:,} pages, in {self.seconds:.1f} s"
        ]
        if self.facts["copies"]:
            found.append(
                f"{self.facts['copies']:,} more pages show the same as one of these and were not searched"
            )
        if self.facts["without_page"]:
            found.append(
                f"{self.facts['without_page']:,} questions are left out: no page of theirs shows anything as "
                f'"{self.facts["fields"]}"'
            )
        if self.short:
            told = ", ".join(f"{pairs:,} have {count}" for count, pairs in self.short.items())
            found.append(
                f"fewer than {asked}: {told}; a smaller margin or a larger range_max finds more, training takes them "
                "as they are"
            )
        if self.ranks:
            found.append(_spread("rank", self.ranks, "{:.0f}"))
            found.append(_spread("score below the right page", self.gaps, "{:.3f}"))
        if self.dropped:
            told = ", ".join(f"{reason} {count:,}" for reason, count in self.dropped.items())
            found.append(f"candidates left out: {told}")
        for one in self.examples:
            found.append(f'"{one.question}"')
            found.append(
                f"    wanted {one.wanted} ({one.wanted_score:.3f}), "
                f"mined {one.mined} ({one.mined_score:.3f}, rank {one.rank})"
            )
        return found


def report_of(path: Path, dataset: Dataset, mined: Negatives, seconds: float) -> MiningReport:
    """The report of a file of negatives."""
    asked = mined.facts["rules"]["num_negatives"]
    counts = [len(row.negatives) for row in mined.rows]
    short = {count: counts.count(count) for count in sorted(set(counts)) if count < asked}
    gaps = [row.positive_score - score for row in mined.rows for score in row.scores]
    return MiningReport(
        path=path,
        facts=mined.facts,
        pairs=len(mined.rows),
        negatives=sum(counts),
        short=short,
        ranks=_quantiles([rank for row in mined.rows for rank in row.ranks]),
        gaps=_quantiles(gaps),
        dropped=mined.facts["dropped"],
        examples=_examples(dataset, mined.rows, gaps),
        seconds=seconds,
    )


def _examples(dataset: Dataset, rows: Sequence[MinedRow], gaps: Sequence[float]) -> tuple[Example, ...]:
    queries = {question.id: question.query for question in dataset.all_questions}
    places = [(row, number) for row in rows for number in range(len(row.negatives))]
    order = np.argsort(np.array(gaps), kind="stable").tolist()
    spread = np.linspace(0, len(order) - 1, _EXAMPLES).round().astype(int) if order else np.zeros(0, int)
    found = []
    for place in np.unique(spread).tolist():
        row, number = places[order[place]]
        found.append(
            Example(
                queries[row.question_id],
                row.positive,
                row.negatives[number],
                row.positive_score,
                row.scores[number],
                row.ranks[number],
            )
        )
    return tuple(found)


def _quantiles(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(one) for one in np.quantile(values, _SHARES)) if values else ()


def _spread(what: str, values: Sequence[float], form: str) -> str:
    low, _, middle, _, high = (form.format(value) for value in values)
    return f"{what}: {middle} in the middle, {low} to {high} for nine in ten"
