"""Ranking metrics over qrels and runs, equal to trec_eval (Buckley; pytrec_eval, Van Gysel & de Rijke 2018).

Nouns of the field: *qrels* say which documents answer which query, ``{qid: {docid: gain}}`` or
``{qid: {docid, ...}}`` (gain 1); a *run* says what a system retrieved, ``{qid: {docid: score}}``.

The rules that decide numbers:

- Order: score descending at single precision, ties by document id descending, as trec_eval does.
- A document is relevant when its gain is above 0. NDCG uses the gain itself (linear); others only count it.
- The mean is over every query of the qrels (``trec_eval -c``): a query that is missing from the run, or
  that has no relevant document, scores 0. Queries of the run that the qrels don't know are ignored.

Shape letters: Q queries, K ranks of one query, R judged documents of one query, H relevant documents of all lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sightline.errors import ConfigError, DataError

Qrels = Mapping[str, Mapping[str, float] | Iterable[str]]
Run = Mapping[str, Mapping[str, float]]


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


@dataclass(frozen=True)
class Hits:
    """The relevant documents of some ranked lists: list, 1-based rank and gain of each, list by list."""

    list_H: np.ndarray
    rank_H: np.ndarray
    gain_H: np.ndarray

    @staticmethod
    def of(lists: Sequence[np.ndarray]) -> Hits:
        """From the gains of every list in rank order; only gains above 0 are relevant."""
        if not lists:
            return Hits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        gains = np.concatenate(lists)
        ends = np.cumsum([len(gains_K) for gains_K in lists])
        places_H = np.flatnonzero(gains > 0)
        list_H = np.searchsorted(ends, places_H, side="right")
        first_Q = np.concatenate([[0], ends[:-1]])
        return Hits(list_H, places_H - first_Q[list_H] + 1, gains[places_H])

    def within(self, k: int | None) -> Hits:
        """Those down to rank ``k``."""
        if k is None:
            return self
        kept = self.rank_H <= k
        return Hits(self.list_H[kept], self.rank_H[kept], self.gain_H[kept])


@dataclass(frozen=True)
class Judgments:
    """Rankings of Q queries as the metrics see them.

    Attributes:
        hits: what was retrieved.
        ideal: the best possible ranking of each query.
        relevant_Q: relevant documents per query.
        retrieved_Q: retrieved documents per query.
    """

    hits: Hits
    ideal: Hits
    relevant_Q: np.ndarray
    retrieved_Q: np.ndarray


def ndcg(judged: Judgments, k: int | None = None) -> np.ndarray:
    """DCG / ideal DCG, DCG = sum over ranks r <= k of gain_r / log2(r + 1) (Järvelin & Kekäläinen 2002)."""
    count = len(judged.relevant_Q)
    return _ratio(_dcg(judged.hits.within(k), count), _dcg(judged.ideal.within(k), count))


def average_precision(judged: Judgments, k: int | None = None) -> np.ndarray:
    """Sum over relevant ranks r <= k of (relevant in the first r) / r, divided by all relevant documents."""
    return _ratio(_summed_precision(judged, k), judged.relevant_Q)


def capped_average_precision(judged: Judgments, k: int | None = None) -> np.ndarray:
    """`average_precision` divided by min(k, relevant documents): ST's ``map@k``, 1 is always reachable."""
    reachable_Q = judged.relevant_Q if k is None else np.minimum(judged.relevant_Q, k)
    return _ratio(_summed_precision(judged, k), reachable_Q)


def reciprocal_rank(judged: Judgments, k: int | None = None) -> np.ndarray:
    """1 / rank of the first relevant document within k, 0 where there is none."""
    hits = judged.hits.within(k)
    first_Q = np.full(len(judged.relevant_Q), np.inf)
    np.minimum.at(first_Q, hits.list_H, hits.rank_H)
    return 1.0 / first_Q


def recall(judged: Judgments, k: int | None = None) -> np.ndarray:
    """Relevant documents within k / all relevant documents."""
    return _ratio(_counted(judged, k), judged.relevant_Q)


def precision(judged: Judgments, k: int | None = None) -> np.ndarray:
    """Relevant documents within k / k (k counts in full even where fewer were retrieved)."""
    ranks_Q = judged.retrieved_Q if k is None else np.full(len(judged.relevant_Q), k)
    return _ratio(_counted(judged, k), ranks_Q)


def accuracy(judged: Judgments, k: int | None = None) -> np.ndarray:
    """1 if any document within k is relevant, else 0 (trec_eval's ``success``)."""
    return (_counted(judged, k) > 0).astype(np.float64)


Metric = Callable[[Judgments, int | None], np.ndarray]
"""From rankings and a cutoff to one score per query."""

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
    qids, lists, judgments = [], [], []
    for qid, gains_K, judged in ranked:
        qids.append(qid)
        lists.append(gains_K)
        judgments.append(judged)
    ideal, relevant_Q = best_possible(judgments)
    retrieved_Q = np.array([len(gains_K) for gains_K in lists], dtype=np.int64)
    return score_hits(qids, Judgments(Hits.of(lists), ideal, relevant_Q, retrieved_Q), metrics)


def best_possible(judgments: Iterable[Mapping[str, float]]) -> tuple[Hits, np.ndarray]:
    """The ideal ranking of each query's judged documents, and how many of them are relevant (Q,)."""
    ideal = [
        np.array(sorted((gain for gain in judged.values() if gain > 0), reverse=True)) for judged in judgments
    ]
    return Hits.of(ideal), np.array([len(gains_R) for gains_R in ideal], dtype=np.int64)


def score_hits(qids: Sequence[str], judged: Judgments, metrics: Sequence[str]) -> Result:
    """Metrics of queries whose retrieved relevant documents are known.

    Args:
        qids: id of each query.
        judged: what was retrieved, and what is relevant.
        metrics: metric names.
    """
    functions = {name: parse_metric(name) for name in metrics}
    return _with_means(
        {
            name: dict(zip(qids, function(judged, k).tolist(), strict=True))
            for name, (function, k) in functions.items()
        }
    )


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


def _dcg(hits: Hits, count: int) -> np.ndarray:
    return np.bincount(hits.list_H, hits.gain_H / np.log2(hits.rank_H + 1), count)


def _counted(judged: Judgments, k: int | None) -> np.ndarray:
    return np.bincount(judged.hits.within(k).list_H, minlength=len(judged.relevant_Q))


def _summed_precision(judged: Judgments, k: int | None) -> np.ndarray:
    hits, count = judged.hits.within(k), len(judged.relevant_Q)
    size_Q = np.bincount(hits.list_H, minlength=count)
    before_Q = np.cumsum(size_Q) - size_Q
    relevant_so_far_H = np.arange(len(hits.list_H)) - before_Q[hits.list_H] + 1
    return np.bincount(hits.list_H, relevant_so_far_H / hits.rank_H, count)


def _ratio(above_Q: np.ndarray, below_Q: np.ndarray) -> np.ndarray:
    """Their quotient, 0 where there is nothing to divide by."""
    return np.divide(above_Q, below_Q, out=np.zeros(len(below_Q)), where=below_Q > 0)
