"""Ranking metrics over qrels and runs, equal to trec_eval (Buckley; pytrec_eval, Van Gysel & de Rijke 2018).

Nouns of the field: *qrels* say which documents answer which query, ``{qid: {docid: gain}}`` or
``{qid: {docid, ...}}`` (gain 1); a *run* says what a system retrieved, ``{qid: {docid: score}}``.

The rules that decide numbers:

- Order: score descending at single precision, ties by document id descending, as trec_eval does.
- A document is relevant when its gain is above 0. NDCG uses the gain itself (linear); others only count it.
- The mean is over every query of the qrels (``trec_eval -c``): a query that is missing from the run, or
  that has no relevant document, scores 0. Queries of the run that the qrels don't know are ignored.

Shape letters: K ranks of one query, R judged documents of one query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sightline.errors import ConfigError, DataError

Qrels = Mapping[str, Mapping[str, float] | Iterable[str]]
Run = Mapping[str, Mapping[str, float]]
Metric = Callable[[np.ndarray, np.ndarray, int | None], float]


@dataclass(frozen=True)
class Result(Mapping[str, float]):
    """Metric -> mean (also by plain indexing and iteration), with the per-query scores kept.

    Attributes:
        mean: metric name -> mean over the queries, in the order asked for.
        per_query: metric name -> {qid: score}, all metrics over the same queries in the same order.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]

    def __getitem__(self, metric: str) -> float:
        return self.mean[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self.mean)

    def __len__(self) -> int:
        return len(self.mean)


def ndcg(gains_K: np.ndarray, judged_R: np.ndarray, k: int | None = None) -> float:
    """DCG / ideal DCG, DCG = sum over ranks r <= k of gain_r / log2(r + 1) (Järvelin & Kekäläinen 2002)."""
    ideal_R = np.sort(judged_R[judged_R > 0])[::-1][:k]
    return _dcg(gains_K[:k]) / _dcg(ideal_R) if len(ideal_R) else 0.0


def average_precision(gains_K: np.ndarray, judged_R: np.ndarray, k: int | None = None) -> float:
    """Sum over relevant ranks r <= k of (relevant in the first r) / r, divided by all relevant documents."""
    relevant = int((judged_R > 0).sum())
    return _summed_precision(gains_K[:k]) / relevant if relevant else 0.0


def capped_average_precision(gains_K: np.ndarray, judged_R: np.ndarray, k: int | None = None) -> float:
    """`average_precision` divided by min(k, relevant documents): ST's ``map@k``, 1 is always reachable."""
    relevant = int((judged_R > 0).sum())
    reachable = relevant if k is None else min(k, relevant)
    return _summed_precision(gains_K[:k]) / reachable if reachable else 0.0


def reciprocal_rank(gains_K: np.ndarray, judged_R: np.ndarray, k: int | None = None) -> float:
    """1 / rank of the first relevant document within k, 0 where there is none."""
    rank = first_relevant_rank(gains_K[:k])
    return 1.0 / rank if rank else 0.0


def recall(gains_K: np.ndarray, judged_R: np.ndarray, k: int | None = None) -> float:
    """Relevant documents within k / all relevant documents."""
    relevant = int((judged_R > 0).sum())
    return float((gains_K[:k] > 0).sum()) / relevant if relevant else 0.0


def precision(gains_K: np.ndarray, judged_R: np.ndarray, k: int | None = None) -> float:
    """Relevant documents within k / k (k counts in full even where fewer were retrieved)."""
    ranks = len(gains_K) if k is None else k
    return float((gains_K[:k] > 0).sum()) / ranks if ranks else 0.0


def accuracy(gains_K: np.ndarray, judged_R: np.ndarray, k: int | None = None) -> float:
    """1 if any document within k is relevant, else 0 (trec_eval's ``success``)."""
    return float((gains_K[:k] > 0).any())


METRICS: dict[str, Metric] = {
    "ndcg": ndcg,
    "map": average_precision,
    "capped_map": capped_average_precision,
    "mrr": reciprocal_rank,
    "recall": recall,
    "precision": precision,
    "accuracy": accuracy,
}


def evaluate(qrels: Qrels, run: Run, metrics: Sequence[str] = ("ndcg@10", "map", "recall@100")) -> Result:
    """Score ``run`` against ``qrels``.

    Args:
        qrels: query -> relevant documents, with gains or as a set.
        run: query -> retrieved documents with scores (higher is better).
        metrics: names from `METRICS`, each with an optional cutoff: ``"ndcg@10"``, ``"map"``.

    Raises:
        ConfigError: an unknown metric or a cutoff below 1.
        DataError: no queries, or a score that is not a number.
    """
    if not qrels:
        raise DataError("the qrels are empty: there is no query to evaluate")
    scored = []
    for qid, judged in qrels.items():
        gains = gains_of(judged)
        ranked = rank_documents(run.get(qid, {}), qid)
        scored.append((qid, np.array([gains.get(docid, 0.0) for docid in ranked]), gains))
    return score_rankings(scored, metrics)


def score_rankings(
    ranked: Iterable[tuple[str, np.ndarray, Mapping[str, float]]], metrics: Sequence[str]
) -> Result:
    """Metrics of rankings that are already in order.

    Args:
        ranked: per query its id, the gains of what was retrieved in rank order (K,), and its judged gains.
        metrics: metric names.
    """
    functions = {name: parse_metric(name) for name in metrics}
    per_query: dict[str, dict[str, float]] = {name: {} for name in metrics}
    for qid, gains_K, judged in ranked:
        judged_R = np.fromiter(judged.values(), dtype=np.float64, count=len(judged))
        clipped_K = np.maximum(gains_K, 0.0)
        for name, (function, k) in functions.items():
            per_query[name][qid] = float(function(clipped_K, judged_R, k))
    return _with_means(per_query)


def merge_results(parts: Sequence[Result]) -> Result:
    """One Result over the queries of all ``parts`` (the same metrics, different queries)."""
    return _with_means(
        {
            name: {qid: score for part in parts for qid, score in part.per_query[name].items()}
            for name in parts[0].per_query
        }
    )


def parse_metric(name: str) -> tuple[Metric, int | None]:
    """``"ndcg@10"`` -> (ndcg, 10); ``"map"`` -> (average_precision, None).

    Raises:
        ConfigError: an unknown metric or a cutoff below 1.
    """
    found = re.fullmatch(r"([a-z_]+)(?:@([1-9]\d*))?", name)
    if not found or found[1] not in METRICS:
        known = ", ".join(METRICS)
        raise ConfigError(f"unknown metric '{name}': use one of {known}, with a cutoff as in 'ndcg@10'")
    return METRICS[found[1]], int(found[2]) if found[2] else None


def gains_of(judged: Mapping[str, float] | Iterable[str]) -> dict[str, float]:
    """Relevance of one query as {docid: gain}; a plain collection of ids means gain 1."""
    if isinstance(judged, Mapping):
        return {docid: float(gain) for docid, gain in judged.items()}
    return dict.fromkeys(sorted(judged), 1.0)


def rank_documents(scores: Mapping[str, float], qid: str = "") -> list[str]:
    """Document ids, best first: score descending at single precision, ties by id descending.

    Single precision because trec_eval keeps scores as C floats, so scores that differ beyond it are ties.
    """
    docids = sorted(scores, reverse=True)
    values = np.array([scores[docid] for docid in docids], dtype=np.float64)
    if np.isnan(values).any():
        bad = docids[int(np.isnan(values).argmax())]
        raise DataError(f"query '{qid}': the score of document '{bad}' is not a number")
    with np.errstate(over="ignore"):
        order = np.argsort(-values.astype(np.float32), kind="stable")
    return [docids[position] for position in order]


def first_relevant_rank(gains_K: np.ndarray) -> int | None:
    """1-based rank of the first relevant document, None where there is none."""
    hits = np.flatnonzero(gains_K > 0)
    return int(hits[0]) + 1 if len(hits) else None


def _with_means(per_query: dict[str, dict[str, float]]) -> Result:
    mean = {name: float(np.mean(list(scores.values()))) for name, scores in per_query.items()}
    return Result(mean, per_query)


def _dcg(gains_K: np.ndarray) -> float:
    return float((gains_K / np.log2(np.arange(2, len(gains_K) + 2))).sum())


def _summed_precision(gains_K: np.ndarray) -> float:
    ranks = np.flatnonzero(gains_K > 0) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).sum())
