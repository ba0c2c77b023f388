"""What an evaluation found: `RetrievalResult`, made from any ranking, and the checks before it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import DataError
from sightline.evaluation.bm25 import text_of
from sightline.evaluation.metrics import (
    Qrels,
    Result,
    Run,
    first_relevant_rank,
    gains_of,
    rank_documents,
    score_rankings,
)
from sightline.evaluation.storage import Cell, Cost
from sightline.files import write_json

DEFAULT_METRICS = (
    "ndcg@10",
    "map",
    "mrr@10",
    "recall@1",
    "recall@5",
    "recall@10",
    "recall@100",
    "precision@10",
    "accuracy@1",
    "accuracy@10",
)
SHOWN = 10
"""Retrieved documents kept per query."""

Facets = Mapping[str, Mapping[str, str]]
"""What questions are told apart by: ``{"kind": {query id: "table"}, "language": {query id: "de"}}``."""


@dataclass(frozen=True)
class RetrievalResult:
    """Scores of one system on one set of queries, with what the report shows of each query.

    Attributes:
        scores: metrics of the whole system (of an encoder: at its full width).
        by_dim: Matryoshka dimension -> metrics; empty where there are no dimensions.
        primary: the metric that decides, e.g. ``"ndcg@10"``.
        top: query -> its best (document id, score), best first; 10 unless more were asked for.
        first_rank: query -> 1-based rank of its first relevant document, None where it was not retrieved.
        queries: query -> its text.
        relevant: query -> {document id: gain}.
        corpus_size: documents searched.
        facts: how it was made, for the report: similarity, embedding dimension, seconds.
        cells: other ways to keep the same vectors, and rerankers behind them; empty where none were measured.
        cost: of the system as ``scores`` measure it; None where it is not known.
        facets: what the queries are told apart by, for breakdowns.
    """

    scores: Result
    by_dim: dict[int, Result]
    primary: str
    top: dict[str, list[tuple[str, float]]]
    first_rank: dict[str, int | None]
    queries: dict[str, str]
    relevant: dict[str, dict[str, float]]
    corpus_size: int
    facts: dict[str, Any] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    cost: Cost | None = None
    facets: Facets = field(default_factory=dict)

    def per_query(self, metric: str | None = None, dim: int | None = None) -> dict[str, float]:
        """Query -> score, by default of the primary metric at full width."""
        result = self.scores if dim is None else self.by_dim[dim]
        return result.per_query[metric or self.primary]

    def flat(self, prefix: str = "") -> dict[str, float]:
        """``{"ndcg@10": ..., "dim128_ndcg@10": ...}``, every name with ``prefix`` in front."""
        means = {f"{prefix}{metric}": value for metric, value in self.scores.mean.items()}
        for dim, result in self.by_dim.items():
            means |= {f"{prefix}dim{dim}_{metric}": value for metric, value in result.mean.items()}
        return means

    def to_json(self) -> dict[str, Any]:
        """Everything, as values that `json` writes."""
        return {
            "primary": self.primary,
            "metrics": self.flat(),
            "queries": len(self.queries),
            "corpus": self.corpus_size,
            "facts": self.facts,
            "per_query": self.scores.per_query,
            "per_query_by_dim": {
                str(dim): {self.primary: result.per_query[self.primary]}
                for dim, result in self.by_dim.items()
            },
            "first_rank": self.first_rank,
            "top": self.top,
        }


def result_of_run(
    queries: Mapping[str, Any],
    run: Run,
    relevant: Qrels,
    *,
    corpus: Iterable[str],
    metrics: Sequence[str] = DEFAULT_METRICS,
    primary: str = "ndcg@10",
    facts: Mapping[str, Any] | None = None,
    facets: Facets | None = None,
    cost: Cost | None = None,
    keep: int = SHOWN,
) -> RetrievalResult:
    """Score what any system retrieved, e.g. ``BM25(texts).run(queries)`` or a hybrid search.

    Args:
        queries: query -> its value; those of the run that are not here are ignored.
        run: query -> {document id: score}; a query may be missing.
        relevant: query -> relevant documents, as a set or with gains.
        corpus: ids of the documents that were searched.
        metrics, primary: what to compute; ``primary`` is added where it is missing.
        facts, facets, cost: as of `RetrievalResult`.
        keep: documents kept per query.

    Raises:
        DataError: see `check_relevant`.
    """
    documents = set(corpus)
    gains = check_relevant(queries, documents, relevant)
    ranked = {qid: rank_documents(run.get(qid, {}), qid) for qid in queries}
    gains_K = {qid: np.array([gains[qid].get(docid, 0.0) for docid in ranked[qid]]) for qid in queries}
    scores = score_rankings(
        ((qid, gains_K[qid], gains[qid]) for qid in queries), with_primary(metrics, primary)
    )
    return RetrievalResult(
        scores=scores,
        by_dim={},
        primary=primary,
        top={qid: [(d, float(run[qid][d])) for d in ranked[qid][:keep]] for qid in queries},
        first_rank={qid: first_relevant_rank(gains_K[qid]) for qid in queries},
        queries={qid: query_text(value) for qid, value in queries.items()},
        relevant=gains,
        corpus_size=len(documents),
        facts=dict(facts or {}),
        cost=cost,
        facets=facets or {},
    )


def check_relevant(
    queries: Mapping[str, Any], corpus: Mapping[str, Any] | set[str], relevant: Qrels
) -> dict[str, dict[str, float]]:
    """The gains of every query, after checking that the three belong together.

    Raises:
        DataError: no queries, no documents, a query without a relevant document, or a relevant document
            that is not in the corpus; the first of them are named.
    """
    if not queries:
        raise DataError("there are no queries to evaluate")
    if not corpus:
        raise DataError("the corpus is empty: there is nothing to search")
    for what, ids in (("query", queries), ("document", corpus)):
        # A corpus may be long: its types are collected before any id is looked at.
        for identifier in () if set(map(type, ids)) == {str} else ids:
            if not isinstance(identifier, str):
                kind = type(identifier).__name__
                raise DataError(f"the {what} id {identifier!r} is of type {kind}: ids must be str")
    gains = {qid: gains_of(relevant.get(qid, ())) for qid in queries}
    without = [qid for qid, judged in gains.items() if not any(gain > 0 for gain in judged.values())]
    if without:
        raise DataError(
            f"{len(without)} of {len(queries)} queries have no relevant document: {_named(without)}; "
            "give each at least one, or leave them out"
        )
    unknown = [
        f"'{docid}' (query '{qid}')"
        for qid, judged in gains.items()
        for docid, gain in judged.items()
        if gain > 0 and docid not in corpus
    ]
    if unknown:
        raise DataError(f"{len(unknown)} relevant documents are not in the corpus: {_listed(unknown)}")
    return gains


def with_primary(metrics: Sequence[str], primary: str) -> tuple[str, ...]:
    """``metrics`` without repeats, with ``primary`` in front where it was missing."""
    return tuple(dict.fromkeys(metrics if primary in metrics else (primary, *metrics)))


def record_evaluation(
    folder: str | Path,
    kind: str,
    name: str,
    when: Mapping[str, Any],
    means: Mapping[str, float],
    whole: Mapping[str, Any],
) -> None:
    """Writes ``<kind>_<name>.json``, and one more line of ``<kind>_<name>_history.jsonl``.

    Args:
        folder: where.
        kind, name: of the evaluator.
        when: epoch and step.
        means: metric -> mean.
        whole: everything that was found.
    """
    stem = re.sub(r"[^\w.-]+", "-", f"{kind}_{name}" if name else kind)
    write_json(Path(folder) / f"{stem}.json", {**when, **whole})
    with open(Path(folder) / f"{stem}_history.jsonl", "a", encoding="utf-8") as history:
        history.write(json.dumps({**when, **means}) + "\n")


def query_text(value: object) -> str:
    """A query as the report shows it; one without text is named by its kind."""
    text = text_of(value)
    if text:
        return text
    kind = " + ".join(str(key) for key in value) if isinstance(value, Mapping) else type(value).__name__
    return f"({kind} query)"


def _named(ids: Sequence[str]) -> str:
    return _listed([f"'{identifier}'" for identifier in ids])


def _listed(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
