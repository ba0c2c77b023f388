"""Blockwise search against the plain full matrix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import ConfigError, DataError
from sightline.evaluation.ranking import SIMILARITIES, search_top_k


def naive(queries: torch.Tensor, documents: torch.Tensor, similarity: str) -> torch.Tensor:
    """The full score matrix in float64, straight from the definition."""
    q, d = queries.double(), documents.double()
    if similarity == "cosine":
        normal = torch.nn.functional.normalize
        return normal(q, dim=1) @ normal(d, dim=1).T
    if similarity == "dot":
        return q @ d.T
    return -(q[:, None] - d[None]).norm(p=1 if similarity == "manhattan" else 2, dim=2)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("block_scores", [1, 7, 64, 10**6])
def test_equal_to_the_full_matrix_at_every_dimension(similarity: str, block_scores: int) -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(9, 24, generator=generator)
    documents = torch.randn(41, 24, generator=generator) * 3
    dims = (24, 4, 16, 1)
    found = search_top_k(queries, documents, 5, dims=dims, similarity=similarity, block_scores=block_scores)
    assert tuple(found) == dims
    for dim in dims:
        expected = naive(queries[:, :dim], documents[:, :dim], similarity)
        if dim == 1 and similarity == "cosine":  # all scores are 1 or -1: only the values are comparable
            torch.testing.assert_close(found[1].scores.double(), expected.sort(1, descending=True)[0][:, :5])
            continue
        order = expected.argsort(1, descending=True)[:, :5]
        assert found[dim].indices.tolist() == order.tolist()
        torch.testing.assert_close(
            found[dim].scores.double(), expected.gather(1, order), atol=2e-5, rtol=1e-5
        )


@settings(max_examples=100, deadline=None)
@given(
    queries=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=1, max_size=5),
    documents=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=1, max_size=40),
    k=st.integers(1, 45),
    block=st.integers(1, 200),
)
def test_ties_go_to_the_lower_index_for_any_block_size(
    queries: list, documents: list, k: int, block: int
) -> None:
    """Small integers: dot products are exact, ties are everywhere, also across block borders."""
    q, d = torch.tensor(queries), torch.tensor(documents)
    found = search_top_k(q, d, k, similarity="dot", dims=(2, 4), block_scores=block)
    for dim in (2, 4):
        scores = (q[:, :dim] @ d[:, :dim].T).tolist()
        expected = [sorted(range(len(row)), key=lambda i: (-row[i], i))[:k] for row in scores]
        assert found[dim].indices.tolist() == expected


def test_cosine_of_a_zero_vector_is_zero() -> None:
    found = search_top_k(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), 3)
    assert found[2].indices.tolist() == [[1, 0, 2]]
    assert found[2].scores.tolist() == [[1.0, 0.0, -1.0]]


def test_half_precision_vectors_are_compared_in_float32() -> None:
    queries, documents = torch.randn(3, 16).bfloat16(), torch.randn(10, 16).bfloat16()
    found = search_top_k(queries, documents, 10, similarity="dot")[16]
    exact = naive(queries, documents, "dot").sort(1, descending=True)[0]
    torch.testing.assert_close(found.scores.double(), exact, atol=1e-5, rtol=1e-5)


def test_no_tensor_of_the_size_of_the_score_matrix_is_ever_made() -> None:
    """The largest tensor any operation returns stays within one block (or the embeddings)."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return out

    queries, documents = torch.randn(500, 8), torch.randn(2000, 8)
    with Watch():
        search_top_k(queries, documents, 10, dims=(2, 4, 8), block_scores=20_000)
    assert largest <= 20_000, "the full matrix has 1,000,000 scores"


def test_wrong_arguments_are_named() -> None:
    q, d = torch.ones(2, 4), torch.ones(3, 4)
    with pytest.raises(ConfigError, match=r"dims \[8\] must be between 1 and the embedding's 4"):
        search_top_k(q, d, 1, dims=(8,))
    with pytest.raises(ConfigError, match="unknown similarity 'cos'"):
        search_top_k(q, d, 1, similarity="cos")
    with pytest.raises(DataError, match="no documents"):
        search_top_k(q, d[:0], 1)
    with pytest.raises(
        DataError, match="2 of the documents have vectors that are not finite, first number 1"
    ):
        search_top_k(q, torch.tensor([[1.0] * 4, [float("nan")] * 4, [float("inf")] * 4]), 1)
    with pytest.raises(DataError, match="one vector each"):
        search_top_k(torch.ones(2, 3, 4), d, 1)
