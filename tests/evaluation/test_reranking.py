"""RerankingEvaluator: parity with ST on the same samples, before and after, depths of a run, ties, bad input."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

from sightline.errors import ConfigError, DataError
from sightline.evaluation.metrics import evaluate
from sightline.evaluation.reranking import RerankingEvaluator, rerank_run, score_candidates
from sightline.training.distributed import share


class TableScorer:
    """Scores each pair by a random number of its own; stands for ST's model, too."""

    num_labels = 1

    def __init__(self, scores: dict[tuple[str, str], float] | None = None, labels: int = 1) -> None:
        self.scores = scores
        self.num_labels = labels
        self.seen: list[tuple[str, str]] = []

    def predict(self, pairs: Any, **_: Any) -> np.ndarray:
        found = [(query, document) for query, document in pairs]
        self.seen += found
        if self.scores is not None:
            return np.array([self.scores[pair] for pair in found], dtype=np.float32)
        return np.array([random.Random(f"{q}|{d}").random() for q, d in found], dtype=np.float32)


def make_samples(count: int, *, documents: bool) -> list[dict[str, Any]]:
    """Among them: positives that were not found, none found, none at all, several, a single one as a text."""
    chance = random.Random(0)
    samples = []
    for number in range(count):
        names = [f"d{number}-{place}" for place in range(chance.randrange(3, 30))]
        positive = chance.sample(names, chance.randrange(1, min(4, len(names))))
        sample: dict[str, Any] = {"query": f"q{number}", "positive": positive}
        if documents:
            sample["documents"] = [name for name in names if name not in positive or chance.random() < 0.7]
            if number % 7 == 0:
                sample["documents"] = [name for name in names if name not in positive]
        else:
            sample["negative"] = [name for name in names if name not in positive]
        if number % 5 == 0:
            sample["positive"] = positive[0]
        samples.append(sample)
    return samples


@pytest.mark.parametrize("k", [3, 10])
@pytest.mark.parametrize(("documents", "rerank_positives"), [(False, True), (True, True), (True, False)])
def test_metrics_equal_those_of_sentence_transformers(
    documents: bool, rerank_positives: bool, k: int
) -> None:
    samples = make_samples(60, documents=documents)
    theirs = CrossEncoderRerankingEvaluator(
        samples, at_k=k, always_rerank_positives=rerank_positives, name="x", write_csv=False
    )
    model = TableScorer()
    # ST's evaluator calls nothing of the model but predict; it stores figures for a model card we have not.
    theirs.store_metrics_in_model_card_data = lambda *_: None  # type: ignore[method-assign,assignment]
    wanted = theirs(model)  # type: ignore[arg-type]
    ours = RerankingEvaluator(samples, k=k, rerank_positives=rerank_positives, name="x")
    found = ours(TableScorer())
    assert {name.replace("before_", "base_") for name in found} == set(wanted)
    for name, value in wanted.items():
        assert found[name.replace("base_", "before_")] == pytest.approx(float(value), abs=1e-6), name
    assert ours.primary_metric == f"x_ndcg@{k}"
    assert 0 < found[f"x_ndcg@{k}"] < 1


def make_run() -> tuple[
    dict[str, str], dict[str, str], dict[str, dict[str, float]], dict[str, dict[str, float]]
]:
    chance = random.Random(1)
    corpus = {f"d{number}": f"text {number}" for number in range(200)}
    queries = {f"q{number}": f"query {number}" for number in range(12)}
    relevant = {qid: {chance.choice(list(corpus)): 1.0, chance.choice(list(corpus)): 2.0} for qid in queries}
    run = {qid: {docid: chance.random() for docid in chance.sample(list(corpus), 80)} for qid in queries}
    for qid in queries:
        for docid in relevant[qid]:
            if chance.random() < 0.8:
                run[qid][docid] = chance.uniform(0.7, 1.0)
    del run["q3"]
    return queries, corpus, relevant, run


def test_depths_of_a_run_against_the_definition() -> None:
    """Every depth from one scoring; what was not found counts against both orders."""
    queries, corpus, relevant, run = make_run()
    scorer = TableScorer()
    evaluator = RerankingEvaluator.of_run(queries, corpus, relevant, run, depths=(10, 50))
    found = evaluator(scorer)
    assert len(scorer.seen) == sum(min(50, len(one)) for one in run.values())
    metrics = ("ndcg@10", "mrr@10", "map")
    before = evaluate(relevant, run, metrics)
    for metric in metrics:
        assert found[f"before_{metric}"] == pytest.approx(before[metric])
    for depth in (10, 50):
        new: dict[str, dict[str, float]] = {}
        for qid, scores in run.items():
            order = sorted(sorted(scores, reverse=True), key=lambda docid: -np.float32(scores[docid]))
            head = sorted(
                order[:depth],
                key=lambda docid: -random.Random(f"{queries[qid]}|{corpus[docid]}").random(),
            )
            new[qid] = {docid: -float(rank) for rank, docid in enumerate(head + order[depth:])}
        after = evaluate(relevant, new, metrics)
        for metric in metrics:
            assert found[f"depth{depth}_{metric}"] == pytest.approx(after[metric])
            if depth == 50:
                assert found[metric] == found[f"depth50_{metric}"]
        again = rerank_run(TableScorer(), queries, corpus, run, depth=depth)
        assert evaluate(relevant, again, metrics).mean == pytest.approx(after.mean)
    assert evaluator.last is not None
    assert evaluator.last.after.per_query["map"]["q3"] == 0.0


def test_a_perfect_reranker_at_every_depth() -> None:
    queries, corpus, relevant, run = make_run()
    perfect = {
        (query, corpus[docid]): relevant[qid].get(docid, 0.0)
        for qid, query in queries.items()
        for docid in corpus
    }
    found = RerankingEvaluator.of_run(queries, corpus, relevant, run, depths=(10, 50, 100))(
        TableScorer(perfect)
    )
    assert found["before_ndcg@10"] < found["depth10_ndcg@10"] < found["depth50_ndcg@10"] <= found["ndcg@10"]


def test_a_tie_is_no_merit() -> None:
    class Constant(TableScorer):
        def predict(self, pairs: Any, **_: Any) -> np.ndarray:
            return np.zeros(len(list(pairs)), dtype=np.float32)

    samples = [{"query": "q", "positive": ["right"], "negative": ["a", "b", "c"]}]
    assert RerankingEvaluator(samples)(Constant())["mrr@10"] == pytest.approx(1 / 4)
    samples = [{"query": "q", "positive": ["right"], "documents": ["right", "a", "b"]}]
    found = RerankingEvaluator(samples)(Constant())
    assert (found["before_mrr@10"], found["mrr@10"]) == (1.0, pytest.approx(1 / 3))
    # A run keeps its order.
    run = {"q": {"1": 3.0, "2": 2.0, "3": 1.0}}
    assert rerank_run(Constant(), {"q": "q"}, {"1": "a", "2": "b", "3": "c"}, run) == run


class SecondOfTwo:
    """The second of two ranks; what the first has to say is known beforehand."""

    def __init__(self, first: Any) -> None:
        self.first = first

    def share(self, count: int) -> slice:
        return share(count, 1, 2)

    def together(self, what: str) -> Any:
        return nullcontext()

    def exchange(self, value: Any, what: str) -> list[Any]:
        return [self.first, value]


@pytest.mark.parametrize("rerank_positives", [True, False])
def test_a_document_that_stands_there_twice_counts_once(rerank_positives: bool) -> None:
    once = {"query": "q", "positive": ["a", "b"], "documents": ["x", "a", "y", "z"]}
    twice = {"query": "q", "positive": ["b", "a", "b"], "documents": ["x", "a", "y", "a", "x", "z", "a"]}
    found = []
    for sample in (once, twice):
        scorer = TableScorer()
        found.append(RerankingEvaluator([sample], rerank_positives=rerank_positives)(scorer))
        assert len(scorer.seen) == len(set(scorer.seen))
    assert found[0] == found[1]
    apart = [{"query": "q", "positive": "a", "negative": ["x", "y"]}]
    again = [{"query": "q", "positive": ["a", "a"], "negative": ["x", "y", "x", "a"]}]
    assert RerankingEvaluator(apart)(TableScorer()) == RerankingEvaluator(again)(TableScorer())


def test_several_ranks_share_the_queries() -> None:
    evaluator = RerankingEvaluator(make_samples(9, documents=True))
    wanted = evaluator(TableScorer())
    theirs = evaluator.candidates[share(9, 0, 2)]
    first = score_candidates(TableScorer(), theirs, {}, None)
    scorer = TableScorer()
    found = evaluator(scorer, ranks=SecondOfTwo(first))  # type: ignore[arg-type]
    assert found == pytest.approx(wanted)
    own = evaluator.candidates[share(9, 1, 2)]
    assert len(scorer.seen) == sum(len(candidate.documents) for candidate in own)
    assert len(own) + len(theirs) == 9


def test_results_are_written(tmp_path: Path) -> None:
    evaluator = RerankingEvaluator(make_samples(5, documents=True), name="my set")
    means = evaluator(TableScorer(), output_dir=tmp_path, epoch=1.0, steps=7)
    whole = json.loads((tmp_path / "reranking_my-set.json").read_text())
    assert whole["steps"] == 7
    assert whole["per_query_before"]["map"].keys() == whole["per_query"]["map"].keys()
    (line,) = (tmp_path / "reranking_my-set_history.jsonl").read_text().splitlines()
    assert json.loads(line) == {"epoch": 1.0, "steps": 7} | means


GOOD = {"query": "q", "positive": ["a"], "negative": ["b"]}


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "there are no samples"),
        ([GOOD, {"positive": ["a"], "negative": ["b"]}], "sample 1: no 'query'"),
        ([{"query": "q", "negative": ["b"]}], "sample 0: no 'positive'"),
        ([GOOD | {"documents": ["a"]}], "sample 0: exactly one of 'negative' and 'documents'"),
        ({"x": {"query": "q", "positive": ["a"]}}, "sample x: exactly one of 'negative' and 'documents'"),
    ],
)
def test_samples_that_lack_something_are_named(samples: Sequence[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        RerankingEvaluator(samples)


def test_what_else_is_refused() -> None:
    queries, corpus, relevant, run = make_run()
    with pytest.raises(ConfigError, match="k is 0"):
        RerankingEvaluator([GOOD], k=0)
    with pytest.raises(ConfigError, match="depths"):
        RerankingEvaluator.of_run(queries, corpus, relevant, run, depths=(0, 10))
    with pytest.raises(ConfigError, match="unknown metric 'ndgc@10'"):
        RerankingEvaluator.of_run(queries, corpus, relevant, run, primary="ndgc@10")
    with pytest.raises(DataError, match="query 'q0': the run's document 'x' is not in the corpus"):
        RerankingEvaluator.of_run(queries, corpus, relevant, run | {"q0": {"x": 1.0}})
    with pytest.raises(ConfigError, match="3 scores per pair"):
        RerankingEvaluator([GOOD])(TableScorer(labels=3))
    bad = TableScorer({("q", "a"): 1.0, ("q", "b"): float("nan")})
    with pytest.raises(DataError, match="query '0': the model's score of a document is not a number"):
        RerankingEvaluator([GOOD])(bad)
