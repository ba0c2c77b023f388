"""Quality by document, kind of question, modality and language: where a system is good, and where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.evaluation.results import Facets, RetrievalResult
from sightline.evaluation.rows import Row, groups_of
from sightline.evaluation.significance import Interval, bootstrap_means, paired_bootstrap

FACETS = ("kind", "modality", "language", "origin", "document")
"""In the order they are shown; ``modality`` says what there is of the wanted page: text, image, or both."""
FEW = 10
"""A figure over fewer questions says little, and is marked."""


@dataclass(frozen=True)
class Slice:
    """The questions that are alike in one respect.

    Attributes:
        facet: in what: one of `FACETS`, or another.
        value: what they share; empty where nobody said.
        questions: how many.
        documents: how many documents they ask about.
        scores: metric -> mean with its 95% interval; of a difference between two systems likewise.
    """

    facet: str
    value: str
    questions: int
    documents: int
    scores: Mapping[str, Interval]

    @property
    def few(self) -> bool:
        """Whether the questions are too few to say much."""
        return self.questions < FEW

    def to_json(self) -> dict[str, Any]:
        return {
            "facet": self.facet,
            "value": self.value,
            "questions": self.questions,
            "documents": self.documents,
            "few": self.few,
            "scores": {
                name: {"mean": found.mean, "interval": [found.low, found.high]}
                for name, found in self.scores.items()
            },
        }


def breakdown(row: Row, *, metrics: Sequence[str] | None = None) -> list[Slice]:
    """The scores of each group of questions that the result's facets tell apart, largest first.

    Args:
        row: its result has the facets.
        metrics: by default the primary one and those for cutoffs of 1 and 10.
    """
    result = row.result
    names = _metrics(result) if metrics is None else tuple(metrics)
    slices = []
    for facet, value, qids in _groups(result.facets, list(result.queries)):
        intervals = bootstrap_means(
            [[result.scores.per_query[name][qid] for qid in qids] for name in names],
            groups=groups_of(result, qids),
        )
        scores = dict(zip(names, intervals, strict=True))
        slices.append(Slice(facet, value, len(qids), _documents(result, qids), scores))
    return slices


def breakdown_of_difference(before: Row, after: Row, *, metric: str | None = None) -> list[Slice]:
    """Mean of after - before within each group of questions, with its paired interval.

    Args:
        before, after: rows over the same questions.
        metric: by default the primary one.
    """
    result = after.result
    name = metric or result.primary
    old, new = before.result.per_query(name), result.per_query(name)
    return [
        Slice(
            facet,
            value,
            len(qids),
            _documents(result, qids),
            {
                name: paired_bootstrap(
                    [old[qid] for qid in qids], [new[qid] for qid in qids], groups=groups_of(result, qids)
                )
            },
        )
        for facet, value, qids in _groups(result.facets, list(result.queries))
    ]


def _metrics(result: RetrievalResult) -> tuple[str, ...]:
    wanted = (result.primary, "recall@1", "recall@10")
    return tuple(name for name in dict.fromkeys(wanted) if name in result.scores)


def _groups(facets: Facets, qids: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """Facet, value and queries of each group; facets that say nothing are left out."""
    ordered = sorted(facets, key=lambda name: FACETS.index(name) if name in FACETS else len(FACETS))
    found = []
    for facet in ordered:
        by_value: dict[str, list[str]] = {}
        for qid in qids:
            by_value.setdefault(facets[facet].get(qid, ""), []).append(qid)
        if by_value.keys() != {""}:
            largest = sorted(by_value.items(), key=lambda item: (-len(item[1]), item[0]))
            found += [(facet, value, members) for value, members in largest]
    return found


def _documents(result: RetrievalResult, qids: Sequence[str]) -> int:
    named = result.facets.get("document", {})
    return len({named.get(qid, "") for qid in qids} - {""})
