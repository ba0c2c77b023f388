"""Dimensions, precisions and rerank depths out of one encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from sightline.errors import DataError
from sightline.evaluation.judging import Judge
from sightline.evaluation.matrix import Matrix, measure_matrix, reranked_cells, wanted_pairs
from sightline.evaluation.metrics import evaluate
from sightline.evaluation.quantized import index_of
from sightline.evaluation.retrieval import score_embeddings
from sightline.evaluation.storage import Storage, storages
from sightline.evaluation.tandem import rerank_order, score_pairs
from sightline.types import Embeddings

METRICS = ("ndcg@10", "map", "mrr@10", "recall@1", "recall@100")
IDS = sorted((f"page {number:03}" for number in range(150)), reverse=True)
QIDS = [f"q{number}" for number in range(30)]


def made() -> tuple[Embeddings, Embeddings, dict[str, dict[str, float]]]:
    generator = torch.Generator().manual_seed(5)
    documents = torch.randn(len(IDS), 32, generator=generator)
    places = torch.randint(0, len(IDS), (len(QIDS), 2), generator=generator).tolist()
    near = torch.stack([documents[pair].sum(0) for pair in places])
    queries = near + 2 * torch.randn(len(QIDS), 32, generator=generator)
    relevant = {qid: {IDS[place]: 1.0 for place in pair} for qid, pair in zip(QIDS, places, strict=True)}
    return Embeddings(queries), Embeddings(documents), relevant


def measured(keep_found: bool = False) -> Matrix:
    queries, documents, relevant = made()
    wanted = storages((32, 8), ("float32", "float16", "int8", "binary", "binary+query", "binary+int8"))
    return measure_matrix(
        QIDS,
        queries,
        documents,
        Judge(IDS, relevant, METRICS),
        wanted,
        similarity="cosine",
        depth=150,
        keep_found=keep_found,
        ms_per_page=2.5,
    )


def test_every_cell_is_that_search_alone() -> None:
    queries, documents, relevant = made()
    matrix = measured()
    assert len(matrix.cells) == 12
    assert matrix.found == {}
    for cell in matrix.cells:
        found = index_of(documents, cell.storage, "cosine").search(queries, 150).tolist()
        run = {
            qid: {IDS[place]: -float(rank) for rank, place in enumerate(row)}
            for qid, row in zip(QIDS, found, strict=True)
        }
        assert cell.scores.per_query == evaluate(relevant, run, METRICS).per_query
        assert cell.cost.bytes_per_page == cell.storage.bytes_per_vector
        assert cell.cost.ms_per_query is not None
        assert cell.cost.ms_per_query > 0
        assert cell.cost.ms_per_page == 2.5
        assert cell.cost.pages == 150
        assert cell.cost.hardware.endswith(("thread", "threads"))
    scores = {str(cell.storage): cell.scores["ndcg@10"] for cell in matrix.cells}
    assert scores["32 float16"] == pytest.approx(scores["32 float32"], abs=0.01)
    assert scores["32 binary"] < scores["32 float32"]
    assert scores["32 binary+int8"] > scores["32 binary"]


def test_float32_cells_are_the_dimensions_of_the_evaluator() -> None:
    queries, documents, relevant = made()
    result = score_embeddings(
        dict.fromkeys(QIDS, "a question"), queries, IDS, documents, relevant, dims=(32, 8), metrics=METRICS
    )
    for cell in measured().cells:
        if cell.storage.precision == "float32":
            assert cell.scores.mean == pytest.approx(result.by_dim[cell.storage.dim].mean)


class Reader:
    """Scores a pair by numbers in both texts; counts what it is asked."""

    num_labels = 1

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def predict(self, pairs: Sequence[tuple[Any, Any]], **_: Any) -> np.ndarray:
        self.pairs += pairs
        return np.array([score(query, page) for query, page in pairs], dtype=np.float32)


def score(query: str, page: str) -> float:
    return float(hash((int(query[1:]) * 7 + int(page[-3:]) * 13) % 17))


def test_a_reranker_reads_each_pair_once_for_all_cells() -> None:
    _, _, relevant = made()
    matrix, reader, depths = measured(keep_found=True), Reader(), (5, 20)
    wanted = wanted_pairs(matrix, QIDS, IDS, max(depths))
    scored = score_pairs(reader, {qid: qid for qid in QIDS}, {docid: docid for docid in IDS}, wanted)
    assert len(reader.pairs) == len(set(reader.pairs)) == sum(map(len, wanted.values()))
    cells = reranked_cells(matrix, QIDS, IDS, Judge(IDS, relevant, METRICS), scored, depths)
    assert [(str(cell.storage), cell.depth) for cell in cells][:3] == [
        ("32 float32", 5),
        ("32 float32", 20),
        ("32 float16", 5),
    ]
    for cell in cells:
        run = {}
        for qid, row in zip(QIDS, matrix.found[cell.storage].tolist(), strict=True):
            ids = [IDS[place] for place in row]
            front = sorted(ids[: cell.depth], key=lambda page: -score(qid, page))
            run[qid] = {page: -float(rank) for rank, page in enumerate(front + ids[cell.depth :])}
        assert cell.scores.per_query == evaluate(relevant, run, METRICS).per_query
        plain = next(one for one in matrix.cells if one.storage == cell.storage)
        assert cell.cost.bytes_per_page == plain.cost.bytes_per_page
        assert cell.cost.ms_per_query == pytest.approx(
            (plain.cost.ms_per_query or 0) + cell.depth * scored.ms_per_pair
        )


def test_rerank_order_keeps_ties_and_the_rest() -> None:
    assert rerank_order(["a", "b", "c", "d"], {"a": 1, "b": 2, "c": 2, "d": 9}, 3) == ["b", "c", "a", "d"]
    with pytest.raises(DataError, match="the run's document 'lost' is not in the corpus"):
        score_pairs(Reader(), {"q1": "q1"}, {}, {"q1": ["lost"]})
    assert Storage(8) < Storage(16)
