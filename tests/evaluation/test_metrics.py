"""Metrics against pytrec_eval on made-up runs, and the rules that trec_eval leaves to its caller."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import ConfigError, DataError
from sightline.evaluation.metrics import evaluate, rank_documents

CUTS = (1, 3, 10, 100)
OURS_TO_TREC = {
    "ndcg": "ndcg",
    "map": "map",
    "mrr": "recip_rank",
    **{f"ndcg@{k}": f"ndcg_cut_{k}" for k in CUTS},
    **{f"map@{k}": f"map_cut_{k}" for k in CUTS},
    **{f"recall@{k}": f"recall_{k}" for k in CUTS},
    **{f"precision@{k}": f"P_{k}" for k in CUTS},
    **{f"accuracy@{k}": f"success_{k}" for k in CUTS},
}
MEASURES = {"ndcg", "map", "recip_rank"} | {
    f"{family}.{','.join(map(str, CUTS))}" for family in ("ndcg_cut", "map_cut", "recall", "P", "success")
}
docids = st.sampled_from([f"d{i}" for i in range(30)] + ["Page 1#p0", "Page 1#p10", "é", "z", "中"])
queries = st.sampled_from(["q1", "q2", "q3", "q4"])
# A few repeated values make ties common; arbitrary doubles make near-ties at single precision.
scores = st.sampled_from([0.0, 0.5, 1.0, -1.0, 1.0 + 1e-9]) | st.floats(-1e6, 1e6)
# trec_eval writes outside its arrays, and may hang, where all of a query's judgments are negative.
judged = st.dictionaries(docids, st.integers(-1, 4), min_size=1, max_size=12).filter(
    lambda gains: max(gains.values()) >= 0
)
qrels_made = st.dictionaries(queries, judged, min_size=1)
runs_made = st.dictionaries(queries, st.dictionaries(docids, scores, max_size=30))


@settings(max_examples=300, deadline=None)
@given(qrels=qrels_made, run=runs_made)
def test_equal_to_pytrec_eval(qrels: dict, run: dict) -> None:
    """Graded gains, ties, missing queries, queries without a relevant document."""
    ours = evaluate(qrels, run, list(OURS_TO_TREC))
    theirs = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(run)
    for name, trec in OURS_TO_TREC.items():
        expected = {qid: theirs.get(qid, {}).get(trec, 0.0) for qid in qrels}
        assert ours.per_query[name] == pytest.approx(expected, abs=1e-9), name
        assert ours.mean[name] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)


def test_mrr_at_k_equals_trec_on_a_cut_run() -> None:
    rng = np.random.default_rng(0)
    run = {f"q{i}": {f"d{j}": float(s) for j, s in enumerate(rng.random(50))} for i in range(40)}
    qrels = {qid: {f"d{j}": 1 for j in rng.choice(50, 2)} for qid in run}
    cut = {qid: {d: scores[d] for d in rank_documents(scores)[:10]} for qid, scores in run.items()}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(cut)
    ours = evaluate(qrels, run, ["mrr@10"])
    assert ours.per_query["mrr@10"] == pytest.approx(
        {q: v["recip_rank"] for q, v in theirs.items()}, abs=1e-9
    )


def test_ties_go_to_the_larger_document_id() -> None:
    assert rank_documents({"a": 1.0, "c": 1.0, "b": 1.0, "z": 0.5}) == ["c", "b", "a", "z"]
    assert rank_documents({"a": 1.0 + 1e-12, "b": 1.0}) == ["b", "a"], "equal at single precision"


def test_sets_are_gain_one_and_result_reads_as_a_mapping() -> None:
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    as_set = evaluate({"q": {"b", "c"}}, run, ["ndcg@10", "recall@2"])
    as_gains = evaluate({"q": {"b": 1, "c": 1}}, run, ["ndcg@10", "recall@2"])
    assert dict(as_set) == dict(as_gains) == as_set.mean
    assert as_set["recall@2"] == 0.5


def test_queries_missing_or_without_relevant_documents_count_as_zero() -> None:
    qrels = {"found": {"a": 1}, "missing": {"a": 1}, "nothing": {"a": 0}}
    result = evaluate(qrels, {"found": {"a": 1.0}, "nothing": {"a": 1.0}, "unknown": {"a": 1.0}}, ["map"])
    assert result.per_query["map"] == {"found": 1.0, "missing": 0.0, "nothing": 0.0}
    assert result["map"] == pytest.approx(1 / 3)


def test_negative_gains_count_as_not_relevant() -> None:
    run = {"q": {"bad": 2.0, "good": 1.0}}
    names = ["ndcg@10", "map", "mrr", "recall@10", "accuracy@1"]
    with_negative = evaluate({"q": {"bad": -1, "good": 2}}, run, names)
    assert dict(with_negative) == dict(evaluate({"q": {"good": 2}}, run, names))
    assert dict(evaluate({"q": {"bad": -1}}, run, names)) == dict.fromkeys(names, 0.0)


def test_capped_map_can_always_reach_one() -> None:
    qrels, run = {"q": {"a", "b", "c"}}, {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    result = evaluate(qrels, run, ["map@1", "capped_map@1"])
    assert result["map@1"] == pytest.approx(1 / 3)
    assert result["capped_map@1"] == 1.0


@pytest.mark.parametrize("name", ["ndgc@10", "ndcg@0", "ndcg@", "ndcg@-1", "", "recall@ten"])
def test_unknown_metric_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown metric"):
        evaluate({"q": {"a"}}, {}, [name])


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(DataError, match=r"query 'q1'.*document 'a'"):
        evaluate({"q1": {"a"}}, {"q1": {"a": float("nan")}}, ["map"])
    with pytest.raises(DataError, match="empty"):
        evaluate({}, {}, ["map"])


def test_metrics_import_without_torch() -> None:
    modules = "metrics, significance, bm25, ranking, results, retrieval, rows, report"
    code = (
        f"import sys; from sightline.evaluation import {modules}; "
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
