"""Top-k by MaxSim in blocks against the whole score matrix; the evaluator with a multi-vector model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sightline.errors import ConfigError, DataError
from sightline.evaluation.ranking import merge_shards
from sightline.evaluation.retrieval import RetrievalEvaluator, score_embeddings
from sightline.evaluation.token_search import search_tokens
from sightline.models.similarity import similarity
from sightline.types import Embeddings


def token_vectors(count: int, longest: int, seed: int) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return Embeddings.ragged([torch.randn(length, 8, generator=generator) for length in lengths]).normalize()


QUERIES, DOCUMENTS = token_vectors(9, 6, 1), token_vectors(70, 11, 2)


@pytest.mark.parametrize("name", ["maxsim", "meanmaxsim"])
@pytest.mark.parametrize("block_scores", [2**24, 60])
def test_equal_to_sorting_the_whole_matrix(name: str, block_scores: int) -> None:
    found = search_tokens(QUERIES, DOCUMENTS, 12, dims=(8, 3), similarity=name, block_scores=block_scores)
    for dim in (8, 3):
        cut = [one if dim == 8 else one.truncate(dim, normalize=True) for one in (QUERIES, DOCUMENTS)]
        scores, indices = similarity(name, *cut).sort(dim=1, descending=True, stable=True)
        torch.testing.assert_close(found[dim].scores, scores[:, :12])
        assert torch.equal(found[dim].indices, indices[:, :12])


def test_ties_go_to_the_lower_index_and_shards_merge() -> None:
    # Whole numbers, so that equal documents have equal scores wherever they stand.
    queries, some = (Embeddings((one.values * 4).round(), one.mask) for one in (QUERIES, DOCUMENTS[:20]))
    documents = Embeddings.concatenate([some, some])
    whole = search_tokens(queries, documents, 7)[8]
    assert all(row.index(number) < row.index(number + 20) for row in whole.indices.tolist()
               for number in row if number < 20 and number + 20 in row)  # fmt: skip
    shards = [
        search_tokens(queries, documents[begin:end], 7, first_index=begin)
        for begin, end in ((0, 13), (13, 40))
    ]
    merged = merge_shards(shards, 7)[8]
    assert torch.equal(merged.indices, whole.indices)


def test_what_cannot_be_searched() -> None:
    with pytest.raises(ConfigError, match="not compared by 'cosine'"):
        search_tokens(QUERIES, DOCUMENTS, 3, similarity="cosine")
    with pytest.raises(DataError, match="documents have one vector each"):
        search_tokens(QUERIES, Embeddings(torch.randn(4, 8)), 3)
    with pytest.raises(DataError, match="queries have 8 dimensions but documents 4"):
        search_tokens(QUERIES, DOCUMENTS.truncate(4), 3)
    bad = Embeddings(DOCUMENTS.values.clone(), DOCUMENTS.mask)
    bad.values[5, 0, 0] = torch.nan
    with pytest.raises(
        DataError, match="1 of the documents have vectors that are not finite, first number 5"
    ):
        search_tokens(QUERIES, bad, 3)


class Fixed:
    """A multi-vector model of fixed vectors."""

    similarity_fn_name = "maxsim"

    def encode_query(self, values: Any, **options: Any) -> Embeddings:
        return QUERIES[list(values)]

    def encode_document(self, values: Any, **options: Any) -> Embeddings:
        return DOCUMENTS[list(values)]


def test_the_evaluator_with_a_vector_per_token() -> None:
    ids = {f"d{number:02}": number for number in range(len(DOCUMENTS))}
    best = search_tokens(QUERIES, DOCUMENTS, 1)[8].indices[:, 0].tolist()
    relevant = {f"q{number}": {f"d{best[number]:02}"} for number in range(len(QUERIES))}
    queries = {f"q{number}": number for number in range(len(QUERIES))}
    evaluator = RetrievalEvaluator(queries, ids, relevant, dims=(4,))
    found = evaluator(Fixed())
    assert found["ndcg@10"] == 1.0
    assert 0 < found["dim4_ndcg@10"] <= 1.0
    same = score_embeddings(queries, QUERIES, list(ids), DOCUMENTS, relevant, similarity="maxsim")
    assert same.flat("")["ndcg@10"] == 1.0
