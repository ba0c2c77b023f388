"""Evaluation of a reranker: how it orders documents, next to the order they came in.

Shape letters: K documents of one query.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sightline.errors import ConfigError, DataError
from sightline.evaluation.candidates import (
    CandidatePairs,
    Candidates,
    candidates_of_run,
    candidates_of_samples,
    once_each,
)
from sightline.evaluation.lazy import in_order
from sightline.evaluation.metrics import Qrels, Result, Run, parse_metric, score_rankings
from sightline.evaluation.recorded import RecordedEvaluator
from sightline.evaluation.results import with_primary

if TYPE_CHECKING:
    from sightline.training.check import Asked
    from sightline.training.distributed import Ranks


class PairScorer(Protocol):
    """What the evaluator needs of a model; `sightline.models.reranker.Reranker` is one."""

    @property
    def num_labels(self) -> int: ...
    @property
    def predict(self) -> Callable[..., np.ndarray]: ...


@dataclass(frozen=True)
class RerankingResult:
    """What an evaluation of a reranker found.

    Attributes:
        after: metrics of the new order, to the greatest depth.
        before: metrics of the order the documents came in; None where they came in none.
        by_depth: the same as ``after`` with only the first so many documents put into a new order.
        primary: the metric that decides.
        facts: pairs scored, seconds.
    """

    after: Result
    before: Result | None
    by_depth: dict[int, Result]
    primary: str
    facts: dict[str, Any] = field(default_factory=dict)

    def flat(self, prefix: str = "") -> dict[str, float]:
        """``{"ndcg@10": ..., "before_ndcg@10": ..., "depth50_ndcg@10": ...}``, every name with ``prefix`` in front."""
        parts = {"": self.after} | {f"depth{depth}_": found for depth, found in self.by_depth.items()}
        if self.before is not None:
            parts["before_"] = self.before
        return {
            f"{prefix}{part}{metric}": value
            for part, result in parts.items()
            for metric, value in result.mean.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as values that `json` writes."""
        return {
            "primary": self.primary,
            "metrics": self.flat(),
            "queries": len(self.after.per_query[self.primary]),
            "facts": self.facts,
            "per_query": self.after.per_query,
            "per_query_before": None if self.before is None else self.before.per_query,
        }


class RerankingEvaluator(RecordedEvaluator):
    """Scores each query's documents with a reranker and measures the order that follows.

    Call it with a reranker: ``evaluator(reranker)`` returns a flat dict of means, ``{"ndcg@10": 0.71, "mrr@10": 0.63,
    "map": 0.62, "before_ndcg@10": 0.49, ...}``, all names with ``name`` in front. The numbers without a word before the
    metric are those after reranking. They equal sentence-transformers' CrossEncoderRerankingEvaluator on the same
    samples, except where scores tie: here a tie is no merit, the wrong document comes first.

    Args:
        samples: ``{"query", "positive", "negative"}`` or ``{"query", "positive", "documents"}`` each, a list of them or
            a dict with them as values. ``documents`` are all candidates in the order of a first search, best first, and
            give the metrics before reranking; of ``positive``, those not among them are added at the end of that order
            if any is among them.
        k: rank that NDCG and MRR look at.
        rerank_positives: rerank the positives that are not among ``documents`` too; without it the metrics count only
            those that are.
        name: put in front of every metric name and in the files' names.
        options: keyword arguments for ``predict``, e.g. ``{"prompt": "..."}``.

    Attributes:
        primary_metric: name of the deciding metric in the returned dict.
        greater_is_better: True, as for every metric here.
        last: the `RerankingResult` of the last call, with per-query scores.

    Raises:
        DataError: a sample that lacks something; names it.
        ConfigError: a k below 1.
    """

    greater_is_better = True

    kind = "reranking"

    def __init__(
        self,
        samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]],
        *,
        k: int = 10,
        rerank_positives: bool = True,
        name: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if k < 1:
            raise ConfigError(f"k is {k}: it must be at least 1")
        metrics = (f"ndcg@{k}", f"mrr@{k}", "map")
        self._set_up(
            candidates_of_samples(samples, rerank_positives=rerank_positives), metrics, name, options
        )

    @classmethod
    def of_run(
        cls,
        queries: Mapping[str, Any],
        corpus: Mapping[str, Any],
        relevant: Qrels,
        run: Run,
        *,
        depths: Sequence[int] = (100,),
        metrics: Sequence[str] = ("ndcg@10", "mrr@10", "map"),
        primary: str = "ndcg@10",
        name: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> RerankingEvaluator:
        """An evaluator on top of what a retriever found.

        The best documents of each query are scored and ordered anew, those further down stay where they are. A relevant
        document that was not retrieved counts against the metrics, before and after.

        Args:
            queries: query id -> value.
            corpus: document id -> value.
            relevant: query id -> relevant document ids, or {document id: gain}.
            run: query id -> {document id: score}, of any system.
            depths: how many documents are reranked. Each depth is reported, all from one scoring to the greatest;
                metrics without a depth in their name are those of the greatest.
            metrics, primary: see `sightline.evaluation.metrics.METRICS`.
            name, options: as of the class.

        Raises:
            DataError: see `check_relevant`; a run with documents that are not in the corpus.
            ConfigError: an unknown metric, or a depth below 1.
        """
        found = candidates_of_run(queries, corpus, relevant, run, depth=_greatest(depths))
        evaluator = cls.__new__(cls)
        evaluator._set_up(
            found, with_primary(metrics, primary), name, options, primary=primary, depths=depths
        )
        return evaluator

    def _set_up(
        self,
        candidates: Sequence[Candidates],
        metrics: Sequence[str],
        name: str,
        options: Mapping[str, Any] | None,
        *,
        primary: str | None = None,
        depths: Sequence[int] = (),
    ) -> None:
        for metric in metrics:
            parse_metric(metric)
        self.candidates = candidates
        self.metrics = tuple(metrics)
        self.primary = primary or metrics[0]
        self.depths = tuple(dict.fromkeys(depths)) if len(set(depths)) > 1 else ()
        self.name = name
        self.options = {"show_progress": False} | dict(options or {})
        self.last: RerankingResult | None = None

    def check(self, model: Any) -> None:
        """Whether it can measure a model; `check_inputs` says whether the model takes the pairs.

        Raises:
            ConfigError: the model gives no score per pair, or several, or has no prompt of a name in the options.
        """
        from sightline.models.encoder import Encoder

        if isinstance(model, Encoder):
            raise ConfigError(
                "RerankingEvaluator scores pairs, and an Encoder has none; use RetrievalEvaluator"
            )
        _check_labels(model)
        self.asked(model)

    def asked(self, model: Any) -> list[Asked]:
        """Pairs with every query and every document, of a `Reranker`; see `RecordedEvaluator.asked`."""
        from sightline.models.reranker import Reranker
        from sightline.training.check import Asked

        if not isinstance(model, Reranker):
            return []
        prompt = model.prompt_for(self.options.get("prompt"), self.options.get("prompt_name"))
        return [Asked(CandidatePairs(once_each(self.candidates), model.modalities), None, prompt)]

    def __call__(
        self,
        reranker: PairScorer,
        *,
        output_dir: str | Path | None = None,
        epoch: float | None = None,
        steps: int | None = None,
        ranks: Ranks | None = None,
    ) -> dict[str, float]:
        """Evaluate ``reranker``; with ``ranks``, on all of them together, and each returns the same.

        With ``output_dir``, ``reranking_<name>.json`` there gets the whole result, and
        ``reranking_<name>_history.jsonl`` one more line of means with epoch and step.
        """
        return self.tell(self.evaluate(reranker, ranks), output_dir, epoch, steps)

    def evaluate(self, reranker: PairScorer, ranks: Ranks | None = None) -> RerankingResult:
        """As calling, with everything that was found; also kept as `last`."""
        started = time.perf_counter()
        scores = score_candidates(reranker, self.candidates, self.options, ranks)
        after = {depth: self._measured(scores, depth) for depth in self.depths}
        before = None
        if all(one.before_K is not None for one in self.candidates):
            before = score_rankings(
                (
                    (one.qid, one.before_K, one.judged_before)
                    for one in self.candidates
                    if one.before_K is not None
                ),
                self.metrics,
            )
        self.last = RerankingResult(
            after=after[max(self.depths)] if self.depths else self._measured(scores, None),
            before=before,
            by_depth=after,
            primary=self.primary,
            facts={
                "pairs": sum(len(one.documents) for one in self.candidates),
                "seconds": round(time.perf_counter() - started, 3),
            },
        )
        return self.last

    def _measured(self, scores: Sequence[np.ndarray], depth: int | None) -> Result:
        ranked = (
            (one.qid, one.gains_K[reranked(scores_K, len(one.gains_K), depth)], one.judged)
            for one, scores_K in zip(self.candidates, scores, strict=True)
        )
        return score_rankings(ranked, self.metrics)


def reranked(scores_K: np.ndarray, count: int, depth: int | None) -> np.ndarray:
    """Places of ``count`` documents in their new order: the first ``depth`` by score, ties as they stood; the rest.

    Args:
        scores_K: of the leading documents.
        count: of all documents, at least as many.
        depth: how many may move; None for all that have a score.
    """
    moved = len(scores_K) if depth is None else min(depth, len(scores_K))
    order = np.argsort(-scores_K[:moved], kind="stable")
    return np.concatenate([order, np.arange(moved, count)]).astype(np.int64)


def rerank_run(
    reranker: PairScorer,
    queries: Mapping[str, Any],
    corpus: Mapping[str, Any],
    run: Run,
    *,
    depth: int = 100,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """A run with each query's first ``depth`` documents in the reranker's order, and the others behind them.

    Args:
        reranker: gives one score per pair.
        queries: query id -> value; those of the run that are not here are left out.
        corpus: document id -> value.
        run: query id -> {document id: score}.
        depth: how many documents are scored per query.
        options: keyword arguments for ``predict``.

    Returns:
        query id -> {document id: score}; the scores count down from the number of documents, so that they order
        reranked documents and those behind them alike.

    Raises:
        DataError: a run with documents that are not in the corpus.
        ConfigError: a depth below 1.
    """
    asked = in_order(queries, [qid for qid in queries if qid in run])
    candidates = candidates_of_run(asked, corpus, None, run, depth=_greatest([depth]))
    scores = score_candidates(reranker, candidates, {"show_progress": False} | options, None)
    return _as_run(candidates, scores, depth)


def _as_run(
    candidates: Sequence[Candidates], scores: Sequence[np.ndarray], depth: int
) -> dict[str, dict[str, float]]:
    """The new order of each query's documents, with scores that count down."""
    found = {}
    for one, scores_K in zip(candidates, scores, strict=True):
        order = reranked(scores_K, len(one.ids), depth).tolist()
        found[one.qid] = {one.ids[place]: float(len(order) - rank) for rank, place in enumerate(order)}
    return found


def score_candidates(
    reranker: PairScorer, candidates: Sequence[Candidates], options: Mapping[str, Any], ranks: Ranks | None
) -> list[np.ndarray]:
    """(K,) scores of each query's documents, before any activation, which could make different scores equal.

    Raises:
        ConfigError: the model gives several scores per pair.
        DataError: a score is not a number.
        PeerError: another rank failed.
    """
    _check_labels(reranker)
    if ranks is None:
        return _scores(reranker, candidates, options)
    with ranks.together("scoring pairs"):
        mine = _scores(reranker, candidates[ranks.share(len(candidates))], options)
    return [one for theirs in ranks.exchange(mine, "gathering scores") for one in theirs]


def _check_labels(reranker: PairScorer) -> None:
    if reranker.num_labels != 1:
        raise ConfigError(
            f"the model gives {reranker.num_labels} scores per pair, so there is no order to evaluate"
        )


def _scores(
    reranker: PairScorer, candidates: Sequence[Candidates], options: Mapping[str, Any]
) -> list[np.ndarray]:
    import torch

    from sightline.models.reranker import Reranker

    counts = [len(one.documents) for one in candidates]
    if not sum(counts):
        return [np.zeros(0, dtype=np.float32) for _ in counts]
    pairs: Sequence[Any]
    if isinstance(reranker, Reranker):  # others may take values only
        pairs = CandidatePairs(candidates, reranker.modalities)
    else:
        pairs = [(one.query, document) for one in candidates for document in one.documents]
    scores: np.ndarray = reranker.predict(pairs, **({"activation": torch.nn.Identity()} | dict(options)))
    if np.isnan(scores).any():
        bad = int(np.searchsorted(np.cumsum(counts), int(np.isnan(scores).argmax()), side="right"))
        raise DataError(f"query '{candidates[bad].qid}': the model's score of a document is not a number")
    return np.split(scores, np.cumsum(counts)[:-1])


def _greatest(depths: Sequence[int]) -> int:
    if not depths or min(depths) < 1:
        raise ConfigError(f"depths {list(depths)}: give at least one, each at least 1")
    return max(depths)
