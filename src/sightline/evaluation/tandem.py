"""A reranker behind one search or several: every pair of a query and a document is scored once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sightline.errors import DataError
from sightline.evaluation.candidates import Candidates
from sightline.evaluation.lazy import values_of
from sightline.evaluation.reranking import PairScorer, reranked, score_candidates
from sightline.evaluation.results import RetrievalResult, result_of_run


@dataclass(frozen=True)
class PairScores:
    """What a reranker thinks of pairs.

    Attributes:
        scores: query id -> document id -> score.
        ms_per_pair: milliseconds that a pair took, on average.
    """

    scores: Mapping[str, Mapping[str, float]]
    ms_per_pair: float


def score_pairs(
    reranker: PairScorer,
    queries: Mapping[str, Any],
    corpus: Mapping[str, Any],
    wanted: Mapping[str, Iterable[str]],
    **options: Any,
) -> PairScores:
    """Scores each query with the documents wanted for it.

    Args:
        reranker: gives one score per pair.
        queries: query id -> value.
        corpus: document id -> value.
        wanted: query id -> document ids.
        options: keyword arguments for ``predict``.

    Raises:
        DataError: a wanted document that is not in the corpus, or a score that is not a number.
        ConfigError: a model with several scores per pair.
    """
    candidates = []
    for qid in queries:
        ids = list(wanted.get(qid, ()))
        unknown = next((docid for docid in ids if docid not in corpus), None)
        if unknown is not None:
            raise DataError(f"query '{qid}': the run's document '{unknown}' is not in the corpus")
        asked, documents = values_of(queries, [qid]), values_of(corpus, ids)
        candidates.append(Candidates(qid, asked, documents, np.zeros(len(ids)), {}, ids=ids))
    started = time.perf_counter()
    found = score_candidates(reranker, candidates, {"show_progress": False} | options, None)
    seconds = time.perf_counter() - started
    pairs = sum(len(one.ids) for one in candidates)
    return PairScores(
        {
            one.qid: dict(zip(one.ids, scores_K.tolist(), strict=True))
            for one, scores_K in zip(candidates, found, strict=True)
        },
        1000 * seconds / max(1, pairs),
    )


def rerank_order(ids: Sequence[str], scores: Mapping[str, float], depth: int) -> list[str]:
    """The first ``depth`` by score, ties as they stood, and the others behind them."""
    scores_K = np.array([scores[docid] for docid in ids[:depth]], dtype=np.float64)
    return [ids[place] for place in reranked(scores_K, len(ids), depth).tolist()]


def reranked_result(
    result: RetrievalResult, scored: PairScores, depth: int, *, corpus: Iterable[str]
) -> RetrievalResult:
    """What a retriever found, its first ``depth`` pages in the reranker's order.

    Args:
        result: keeps as many pages of each query as the metrics look at.
        scored: of every page that is reranked.
        depth: how many are.
        corpus: ids of all documents.
    """
    run = {}
    for qid, found in result.top.items():
        order = rerank_order([docid for docid, _ in found], scored.scores.get(qid, {}), depth)
        # Scores that count down put reranked pages and those behind them into one order.
        run[qid] = {docid: float(len(order) - rank) for rank, docid in enumerate(order)}
    found_again = result_of_run(
        result.queries,
        run,
        result.relevant,
        corpus=corpus,
        metrics=tuple(result.scores.mean),
        primary=result.primary,
        facts={"reranked": depth},
        facets=result.facets,
    )
    cost = result.cost
    if cost is not None and cost.ms_per_query is not None:
        cost = replace(cost, ms_per_query=cost.ms_per_query + depth * scored.ms_per_pair)
    return replace(found_again, cost=cost)
