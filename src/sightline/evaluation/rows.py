"""Rows of the results table, and what separates them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from sightline.errors import DataError
from sightline.evaluation.results import RetrievalResult
from sightline.evaluation.significance import (
    Interval,
    bootstrap_means,
    holm,
    paired_bootstrap,
    randomization_test,
)

BASELINE = "bm25"
SIGNIFICANT = 0.05
_FEW_DOCUMENTS = 10


@dataclass(frozen=True)
class Row:
    """One system of the table.

    Attributes:
        name: ``"bm25"``, ``"untuned"``, ``"fine-tuned"`` or any other.
        fields: what of a page the system saw: ``"text"``, ``"image"`` or ``"both"``.
        result: what its evaluation found.
    """

    name: str
    fields: str
    result: RetrievalResult

    @property
    def label(self) -> str:
        return f"{self.name} ({self.fields})" if self.fields else self.name

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """Each metric's mean with its 95% bootstrap interval."""
        scores = self.result.scores.per_query
        found = bootstrap_means(
            [list(by_query.values()) for by_query in scores.values()], groups=groups_of(self.result)
        )
        return dict(zip(scores, found, strict=True))

    @cached_property
    def cell_intervals(self) -> Sequence[Interval]:
        """The primary metric's interval of each cell."""
        scores = [cell.scores.per_query[self.result.primary] for cell in self.result.cells]
        return bootstrap_means([list(one.values()) for one in scores], groups=groups_of(self.result))

    def interval(self) -> Interval:
        """The primary metric's mean with its 95% bootstrap interval."""
        return self.intervals[self.result.primary]


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same queries.

    Attributes:
        before, after: the rows.
        metric: what is compared.
        difference: mean of after - before with its 95% paired bootstrap interval.
        p_value: of the paired randomisation test.
        resampled: ``"documents"`` where whole documents were resampled, else ``"queries"``.
        better, worse, same: queries whose score rose, fell, stayed.
        corrected_p: the p-value, corrected for all the comparisons that are shown together (Holm).
    """

    before: Row
    after: Row
    metric: str
    difference: Interval
    p_value: float
    resampled: Literal["documents", "queries"]
    better: int
    worse: int
    same: int
    corrected_p: float

    @property
    def verdict(self) -> Literal["better", "worse", "no clear difference"]:
        """Better or worse only where the whole interval lies on one side of zero."""
        if not self.difference.excludes_zero:
            return "no clear difference"
        return "better" if self.difference.mean > 0 else "worse"

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.corrected_p < SIGNIFICANT

    def to_json(self) -> dict[str, Any]:
        return {
            "before": {"name": self.before.name, "fields": self.before.fields},
            "after": {"name": self.after.name, "fields": self.after.fields},
            "metric": self.metric,
            "before_mean": self.before.result.scores[self.metric],
            "after_mean": self.after.result.scores[self.metric],
            "difference": self.difference.mean,
            "low": self.difference.low,
            "high": self.difference.high,
            "confidence": self.difference.confidence,
            "p_value": self.p_value,
            "corrected_p": self.corrected_p,
            "significant": self.significant,
            "resampled": self.resampled,
            "better": self.better,
            "worse": self.worse,
            "same": self.same,
            "verdict": self.verdict,
        }


def compare(before: Row, after: Row, *, metric: str | None = None) -> Comparison:
    """How ``after`` differs from ``before`` on the same queries.

    Questions about one document are easy or hard together, so where the ids name documents
    (``report.pdf#p3``) and there are at least 10 of them, whole documents are resampled.

    Raises:
        DataError: the rows were not evaluated on the same queries and metric.
    """
    metric = metric or after.result.primary
    if metric not in before.result.scores or metric not in after.result.scores:
        raise DataError(f"'{before.label}' and '{after.label}' were not both scored with {metric}")
    old, new = before.result.per_query(metric), after.result.per_query(metric)
    if old.keys() != new.keys():
        odd = sorted(old.keys() ^ new.keys())[0]
        raise DataError(f"'{before.label}' and '{after.label}' have different queries, e.g. '{odd}'")
    old_Q, new_Q = [old[qid] for qid in new], list(new.values())
    groups = groups_of(after.result)
    p_value = randomization_test(old_Q, new_Q, groups=groups)
    return Comparison(
        before=before,
        after=after,
        metric=metric,
        difference=paired_bootstrap(old_Q, new_Q, groups=groups),
        p_value=p_value,
        resampled="documents" if groups else "queries",
        better=sum(b > a for a, b in zip(old_Q, new_Q)),
        worse=sum(b < a for a, b in zip(old_Q, new_Q)),
        same=sum(b == a for a, b in zip(old_Q, new_Q)),
        corrected_p=p_value,
    )


def compare_all(pairs: Iterable[tuple[Row, Row]], *, metric: str | None = None) -> list[Comparison]:
    """`compare` for each (before, after), the p-values corrected for being several."""
    found = [compare(before, after, metric=metric) for before, after in pairs]
    corrected = holm([one.p_value for one in found])
    return [replace(one, corrected_p=p) for one, p in zip(found, corrected, strict=True)]


def standard_comparisons(rows: Sequence[Row]) -> list[Comparison]:
    """What a reader wants to know: every system against the one before it on equal fields, then BM25
    against every view of the last system."""
    models = [row for row in rows if row.name != BASELINE]
    pairs = []
    for number, after in enumerate(models):
        earlier = [row for row in models[:number] if row.fields == after.fields and row.name != after.name]
        pairs += [(earlier[-1], after)] if earlier else []
    last = [row for row in models if row.name == models[-1].name] if models else []
    pairs += [(baseline, row) for baseline in rows if baseline.name == BASELINE for row in last]
    return compare_all(pairs)


def against_baseline(rows: Sequence[Row], baseline: str) -> list[Comparison]:
    """Every other row against the baseline, the one on equal fields where it has several.

    Args:
        rows: of the table.
        baseline: name or label of a row.

    Raises:
        DataError: there is no such row.
    """
    bases = [row for row in rows if baseline in (row.name, row.label)]
    if not bases:
        known = ", ".join(dict.fromkeys(row.name for row in rows))
        raise DataError(f"the baseline '{baseline}' is not in the table; it has {known}")
    return compare_all(
        (next((base for base in bases if base.fields == row.fields), bases[0]), row)
        for row in rows
        if not any(row is base for base in bases)
    )


def headline(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison the report leads with: of those between models, the one with the best system."""
    between = [found for found in comparisons if found.before.name != BASELINE] or list(comparisons)
    return max(between, key=lambda found: found.after.result.scores[found.metric], default=None)


def groups_of(result: RetrievalResult, qids: Iterable[str] | None = None) -> list[Hashable] | None:
    """The document each query asks about, None where that is not known or there are too few of them.

    Args:
        result: its facet ``"document"`` says, or else the ids do (``report.pdf#p3``).
        qids: some of its queries, in the order wanted; by default all.
    """
    named = result.facets.get("document", {})
    documents: list[Hashable] = []
    for qid in result.per_query() if qids is None else qids:
        document = named.get(qid, "")
        if not document:
            wanted = min(docid for docid, gain in result.relevant[qid].items() if gain > 0)
            document, mark, _ = wanted.rpartition("#p")
            if not mark:
                return None
        documents.append(document)
    return documents if len(set(documents)) >= _FEW_DOCUMENTS else None
