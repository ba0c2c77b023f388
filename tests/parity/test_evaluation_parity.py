"""Metrics of ST 6.2's InformationRetrievalEvaluator on the same embeddings, several pages per query."""

from __future__ import annotations

import pytest
import torch

from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.types import Embeddings

CUTS = [1, 3, 5, 10]
OURS_TO_ST = {
    "mrr@10": "mrr@10",
    "map@100": "map@100",
    "ndcg@10": "ndcg@10",
    "capped_map@5": "map@5",
    **{f"{family}@{k}": f"{family}@{k}" for family in ("accuracy", "precision", "recall") for k in CUTS},
}


class FixedModel:
    """Vectors by value, through both libraries' call signatures."""

    def __init__(self, vectors: dict[str, torch.Tensor], similarity: str) -> None:
        from sentence_transformers.util import cos_sim, dot_score, euclidean_sim, manhattan_sim

        self.vectors = vectors
        self.similarity_fn_name = similarity
        self.similarity = {
            "cosine": cos_sim,
            "dot": dot_score,
            "euclidean": euclidean_sim,
            "manhattan": manhattan_sim,
        }[similarity]

    def stack(self, values: list[str], dim: int | None) -> torch.Tensor:
        return torch.stack([self.vectors[value][:dim] for value in values])

    def encode_query(
        self, values: list[str], *, truncate_dim: int | None = None, **options: object
    ) -> object:
        vectors = self.stack(values, truncate_dim)
        return vectors if options else Embeddings(vectors)  # ST asks for tensors by keyword

    encode_document = encode_query


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
def test_equal_to_st_at_every_dimension(similarity: str) -> None:
    generator = torch.Generator().manual_seed(11)
    corpus = {f"report-{i // 8}.pdf#p{i % 8}": f"page {i}" for i in range(400)}
    ids = list(corpus)
    vectors = {value: torch.randn(32, generator=generator) for value in corpus.values()}
    queries, relevant = {}, {}
    for i in range(80):
        pages = torch.randperm(400, generator=generator)[: 1 + i % 7].tolist()
        queries[f"q{i}"] = f"question {i}"
        relevant[f"q{i}"] = {ids[page] for page in pages}
        near = torch.stack([vectors[f"page {page}"] for page in pages]).sum(0)
        vectors[f"question {i}"] = near + 2 * torch.randn(32, generator=generator)
    model = FixedModel(vectors, similarity)
    ours = RetrievalEvaluator(queries, corpus, relevant, dims=(32, 16, 8), metrics=list(OURS_TO_ST))(model)
    for dim in (32, 16, 8):
        theirs = st_metrics(queries, corpus, relevant, dim, model)
        for name, st_name in OURS_TO_ST.items():
            assert ours[f"dim{dim}_{name}"] == pytest.approx(theirs[st_name], abs=1e-6), name


def st_metrics(queries: dict, corpus: dict, relevant: dict, dim: int, model: FixedModel) -> dict[str, float]:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    evaluator = InformationRetrievalEvaluator(
        queries, corpus, relevant, corpus_chunk_size=150, map_at_k=[5, 100], truncate_dim=dim
    )
    # Its __call__ also writes to the model card, which a fixed model has not.
    evaluator.score_functions = {model.similarity_fn_name: model.similarity}
    evaluator.score_function_names = [model.similarity_fn_name]
    scores = evaluator.compute_all_metrics(model)[model.similarity_fn_name]
    return {
        metric.replace("@k", f"@{k}"): float(value)
        for metric, values in scores.items()
        for k, value in values.items()
    }
