"""Rows of the results table, what separates them, and ``results.json``."""

from __future__ import annotations

import platform
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from sightline.errors import DataError
from sightline.evaluation.results import RetrievalResult
from sightline.evaluation.significance import Interval, bootstrap_mean, paired_bootstrap, randomization_test
from sightline.files import write_json

BASELINE = "bm25"
_FEW_DOCUMENTS = 10
_PACKAGES = ("sightline", "torch", "transformers", "numpy", "datasets", "accelerate", "peft")


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

    def interval(self) -> Interval:
        """The primary metric's mean with its 95% bootstrap interval."""
        return bootstrap_mean(list(self.result.per_query().values()), groups=_groups(self.result))

    def to_json(self) -> dict[str, Any]:
        """``{"name", "fields", "ndcg@10", "map", ..., "ndcg@10@384", ...}``: means, the primary by dim."""
        result, interval = self.result, self.interval()
        return {
            "name": self.name,
            "fields": self.fields,
            **result.scores.mean,
            **{f"{result.primary}@{dim}": found[result.primary] for dim, found in result.by_dim.items()},
            f"{result.primary} interval": [interval.low, interval.high],
            "queries": len(result.queries),
            "corpus": result.corpus_size,
            "facts": result.facts,
        }


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

    @property
    def verdict(self) -> Literal["better", "worse", "no clear difference"]:
        """Better or worse only where the whole interval lies on one side of zero."""
        if not self.difference.excludes_zero:
            return "no clear difference"
        return "better" if self.difference.mean > 0 else "worse"

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
    groups = _groups(after.result)
    return Comparison(
        before=before,
        after=after,
        metric=metric,
        difference=paired_bootstrap(old_Q, new_Q, groups=groups),
        p_value=randomization_test(old_Q, new_Q, groups=groups),
        resampled="documents" if groups else "queries",
        better=sum(b > a for a, b in zip(old_Q, new_Q)),
        worse=sum(b < a for a, b in zip(old_Q, new_Q)),
        same=sum(b == a for a, b in zip(old_Q, new_Q)),
    )


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
    return [compare(before, after) for before, after in pairs]


def headline(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison the report leads with: of those between models, the one with the best system."""
    between = [found for found in comparisons if found.before.name != BASELINE] or list(comparisons)
    return max(between, key=lambda found: found.after.result.scores[found.metric], default=None)


def write_results(
    rows: Sequence[Row],
    path: str | PathLike[str],
    *,
    comparisons: Sequence[Comparison] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``{"rows": [...], "comparisons": [...], "facts": {...}}`` atomically.

    Args:
        rows: in the order of the table.
        path: the JSON file.
        comparisons: by default `standard_comparisons`.
        facts: about data and models; versions and the time are added.
    """
    found = standard_comparisons(rows) if comparisons is None else comparisons
    return write_json(
        path,
        {
            "rows": [row.to_json() for row in rows],
            "comparisons": [comparison.to_json() for comparison in found],
            "facts": {**(facts or {}), **made_with()},
        },
    )


def made_with() -> dict[str, Any]:
    """When and with which versions: packages are asked for their version without importing them."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"created": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions}


def _groups(result: RetrievalResult) -> list[Hashable] | None:
    """The document each query asks about, None where ids name no documents or too few of them."""
    documents: list[Hashable] = []
    for qid in result.per_query():
        wanted = min(docid for docid, gain in result.relevant[qid].items() if gain > 0)
        document, mark, _ = wanted.rpartition("#p")
        if not mark:
            return None
        documents.append(document)
    return documents if len(set(documents)) >= _FEW_DOCUMENTS else None
