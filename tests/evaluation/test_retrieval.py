"""The evaluator with a small encoder that returns fixed vectors: names, dims, files, errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from sightline.errors import ConfigError, DataError
from sightline.evaluation.bm25 import BM25
from sightline.evaluation.metrics import evaluate
from sightline.evaluation.results import result_of_run
from sightline.evaluation.retrieval import RetrievalEvaluator, score_embeddings
from sightline.types import Embeddings


class FixedEncoder:
    """Looks vectors up by value and counts what it is asked for."""

    def __init__(self, vectors: dict[str, torch.Tensor], similarity: str = "cosine") -> None:
        self.vectors = vectors
        self.similarity_fn_name = similarity
        self.calls: list[tuple[str, int, dict[str, Any]]] = []

    def _encode(self, what: str, inputs: Sequence[str], options: dict[str, Any]) -> Embeddings:
        self.calls.append((what, len(inputs), options))
        return Embeddings(torch.stack([self.vectors[value] for value in inputs]))

    def encode_query(self, inputs: Sequence[str], **options: Any) -> Embeddings:
        return self._encode("query", inputs, options)

    def encode_document(self, inputs: Sequence[str], **options: Any) -> Embeddings:
        return self._encode("document", inputs, options)


def made(
    num_queries: int = 20, num_documents: int = 60, width: int = 16
) -> tuple[dict, dict, dict, FixedEncoder]:
    """Queries near one of their two relevant documents; vectors by value."""
    generator = torch.Generator().manual_seed(5)
    queries = {f"q{i}": f"question {i}" for i in range(num_queries)}
    corpus = {f"doc.pdf#p{i}": f"page {i}" for i in range(num_documents)}
    relevant = {f"q{i}": {f"doc.pdf#p{2 * i}": 2, f"doc.pdf#p{2 * i + 1}": 1} for i in range(num_queries)}
    vectors = {value: torch.randn(width, generator=generator) for value in corpus.values()}
    for i, value in enumerate(queries.values()):
        vectors[value] = vectors[f"page {2 * i}"] + 1.3 * torch.randn(width, generator=generator)
    return queries, corpus, relevant, FixedEncoder(vectors)


def test_encodes_once_and_reports_every_dimension() -> None:
    queries, corpus, relevant, encoder = made()
    evaluator = RetrievalEvaluator(
        queries, corpus, relevant, dims=(16, 8, 4), name="vdr", document_options={"prompt": "page: "}
    )
    means = evaluator(encoder)
    assert encoder.calls == [("query", 20, {}), ("document", 60, {"prompt": "page: "})]
    assert evaluator.primary_metric == "vdr_ndcg@10"
    assert evaluator.greater_is_better
    assert means["vdr_dim16_ndcg@10"] == means["vdr_ndcg@10"] > means["vdr_dim4_ndcg@10"] > 0
    assert all(type(value) is float for value in means.values())
    # Every dimension is what an encoder of that width would score.
    for dim in (8, 4):
        narrow = FixedEncoder({value: vector[:dim] for value, vector in encoder.vectors.items()})
        alone = RetrievalEvaluator(queries, corpus, relevant)(narrow)
        assert {f"vdr_dim{dim}_{metric}": value for metric, value in alone.items()}.items() <= means.items()


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_equal_to_the_full_run_with_graded_gains(similarity: str) -> None:
    queries, corpus, relevant, encoder = made()
    encoder.similarity_fn_name = similarity
    evaluator = RetrievalEvaluator(queries, corpus, relevant, block_scores=100)
    means = evaluator(encoder)
    q = torch.stack([encoder.vectors[value] for value in queries.values()])
    d = torch.stack([encoder.vectors[value] for value in corpus.values()])
    matrix = {
        "cosine": lambda: torch.cosine_similarity(q[:, None], d[None], dim=2),
        "dot": lambda: q @ d.T,
        "euclidean": lambda: -(q[:, None] - d[None]).norm(dim=2),
        "manhattan": lambda: -(q[:, None] - d[None]).abs().sum(2),
    }[similarity]()
    run = {qid: dict(zip(corpus, row)) for qid, row in zip(queries, matrix.tolist())}
    expected = evaluate(relevant, run, evaluator.metrics)
    assert means == pytest.approx(expected.mean, abs=1e-12)
    assert evaluator.last is not None
    for qid in queries:
        best = sorted(run[qid], key=run[qid].__getitem__, reverse=True)
        assert [docid for docid, _ in evaluator.last.top[qid]] == best[:10]
        assert evaluator.last.first_rank[qid] == min(best.index(docid) + 1 for docid in relevant[qid])


def test_ties_follow_trec_eval_whatever_the_order_of_the_corpus() -> None:
    corpus = {"b": "same", "c": "same", "a": "same"}
    encoder = FixedEncoder({"same": torch.ones(4), "q": torch.ones(4)})
    evaluator = RetrievalEvaluator({"q": "q"}, corpus, {"q": {"a"}})
    evaluator(encoder)
    assert evaluator.last is not None
    assert [docid for docid, _ in evaluator.last.top["q"]] == ["c", "b", "a"]
    direct = score_embeddings(
        {"q": "q"}, Embeddings(torch.ones(1, 4)), list(corpus), Embeddings(torch.ones(3, 4)), {"q": {"a"}}
    )
    assert direct.top == evaluator.last.top


def test_many_queries_are_scored_in_blocks() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(1500, 4, generator=generator)
    queries = {f"q{i}": "x" for i in range(1500)}
    documents = Embeddings(torch.randn(30, 4, generator=generator))
    ids = [f"d{i:02}" for i in range(30)]
    relevant = {qid: {ids[i % 30]} for i, qid in enumerate(queries)}
    whole = score_embeddings(queries, Embeddings(values), ids, documents, relevant)
    assert list(whole.per_query()) == list(queries)
    last = dict(list(queries.items())[1400:])
    part = score_embeddings(last, Embeddings(values[1400:]), ids, documents, relevant)
    assert {qid: whole.per_query()[qid] for qid in last} == part.per_query()


def test_writes_results_and_history(tmp_path: Any) -> None:
    queries, corpus, relevant, encoder = made()
    evaluator = RetrievalEvaluator(queries, corpus, relevant, dims=(4,), name="vdr/test")
    first = evaluator(encoder, output_dir=tmp_path / "run", epoch=0.5, steps=10)
    evaluator(encoder, output_dir=tmp_path / "run", epoch=1.0, steps=20)
    files = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert files == ["retrieval_vdr-test.json", "retrieval_vdr-test_history.jsonl"]
    saved = json.loads((tmp_path / "run" / files[0]).read_text())
    assert (saved["epoch"], saved["steps"], saved["queries"], saved["corpus"]) == (1.0, 20, 20, 60)
    assert set(saved["per_query"]["ndcg@10"]) == set(queries)
    assert len(saved["top"]["q0"]) == 10
    lines = [json.loads(line) for line in (tmp_path / "run" / files[1]).read_text().splitlines()]
    assert [line["steps"] for line in lines] == [10, 20]
    assert lines[0] == {"epoch": 0.5, "steps": 10, **first}


def test_errors_name_what_is_wrong() -> None:
    queries, corpus, relevant, encoder = made()
    with pytest.raises(DataError, match="corpus is empty"):
        RetrievalEvaluator(queries, {}, relevant)
    with pytest.raises(DataError, match="no queries"):
        RetrievalEvaluator({}, corpus, relevant)
    with pytest.raises(DataError, match=r"2 of 20 queries have no relevant document: 'q1', 'q3'"):
        RetrievalEvaluator(queries, corpus, relevant | {"q1": [], "q3": {"doc.pdf#p1": 0}})
    with pytest.raises(DataError, match=r"1 relevant documents are not in the corpus: 'x#p9' \(query 'q2'\)"):
        RetrievalEvaluator(queries, corpus, relevant | {"q2": {"x#p9"}})
    with pytest.raises(DataError, match="document id 7 is of type int"):
        RetrievalEvaluator(queries, corpus | {7: "page"}, relevant)
    with pytest.raises(ConfigError, match="unknown metric 'ndcg10'"):
        RetrievalEvaluator(queries, corpus, relevant, metrics=["ndcg10"])
    with pytest.raises(ConfigError, match="dims"):
        RetrievalEvaluator(queries, corpus, relevant, dims=(32,))(encoder)
    assert [what for what, *_ in encoder.calls] == ["query"], "refused before the corpus is encoded"


def test_result_of_a_bm25_run() -> None:
    corpus = {"a#p0": "annual revenue table", "a#p1": "risk factors", "a#p2": ""}
    queries = {"q1": "revenue", "q2": "zebra"}
    result = result_of_run(
        queries, BM25(corpus).run(queries), {"q1": {"a#p0"}, "q2": {"a#p1"}}, corpus=corpus, metrics=["map"]
    )
    assert result.flat() == {"ndcg@10": 0.5, "map": 0.5}
    assert result.first_rank == {"q1": 1, "q2": None}
    assert result.top["q2"] == []
    assert result.corpus_size == 3
