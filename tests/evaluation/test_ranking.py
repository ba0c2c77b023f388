"""Blockwise search against the plain full matrix."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import ConfigError, DataError
from sightline.evaluation.ranking import SIMILARITIES, merge_shards, search_top_k


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


@pytest.mark.parametrize("order", ["mixed", "worst first", "all equal", "minus zero"])
@pytest.mark.parametrize("k", [1, 40, 1500])
def test_many_documents_in_many_blocks(order: str, k: int) -> None:
    """Past the first block only what beats the best so far is looked at; small integers keep ties common."""
    generator = torch.Generator().manual_seed(k)
    queries = torch.randint(1, 4, (6, 8), generator=generator).float()
    documents = torch.randint(-3, 4, (5000, 8), generator=generator).float()
    if order == "worst first":
        documents = documents[documents.sum(1).argsort()]
    elif order == "all equal":
        documents[:] = 1.0
    elif order == "minus zero":
        documents[::2], documents[1::2] = -0.0, 0.0
        queries[::2] = -queries[::2]
    for block_scores in (6 * 33, 6 * 400, 2**24):
        found = search_top_k(queries, documents, k, dims=(3, 8), similarity="dot", block_scores=block_scores)
        for dim in (3, 8):
            scores = queries[:, :dim] @ documents[:, :dim].T
            expected = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
            assert torch.equal(found[dim].indices, expected)
            assert torch.equal(found[dim].scores, scores.gather(1, expected))


@settings(max_examples=50, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=30),
    borders=st.lists(st.integers(1, 29), max_size=4, unique=True),
    k=st.integers(1, 35),
)
def test_merged_shards_equal_one_search(documents: list, borders: list[int], k: int) -> None:
    d, q = torch.tensor(documents), torch.tensor([[1, -1, 2], [0, 1, 0]])
    edges = [0, *sorted(border for border in borders if border < len(d)), len(d)]
    shards = [
        search_top_k(q, d[a:b], k, similarity="dot", dims=(3, 1), first_index=a) for a, b in pairwise(edges)
    ]
    whole = search_top_k(q, d, k, similarity="dot", dims=(3, 1))
    for merged in (merge_shards(shards, k), merge_shards(shards[::-1], k)):
        assert list(merged) == [3, 1]
        for dim in whole:
            assert torch.equal(merged[dim].indices, whole[dim].indices)
            assert torch.equal(merged[dim].scores, whole[dim].scores)


def test_shards_that_do_not_fit_are_refused() -> None:
    one = search_top_k(torch.ones(2, 4), torch.ones(3, 4), 1)
    with pytest.raises(DataError, match="no shards"):
        merge_shards([], 1)
    with pytest.raises(DataError, match=r"answer \[2, 1\] queries"):
        merge_shards([one, search_top_k(torch.ones(1, 4), torch.ones(3, 4), 1)], 1)
    with pytest.raises(DataError, match="different dimensions"):
        merge_shards([one, search_top_k(torch.ones(2, 4), torch.ones(3, 4), 1, dims=(2,))], 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_memory_mapped_documents(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal((3000, 12)).astype(dtype)
    values.tofile(tmp_path / "vectors")
    mapped = np.memmap(tmp_path / "vectors", dtype=dtype, mode="r", shape=values.shape)
    queries = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    expected = search_top_k(queries, torch.from_numpy(values).float(), 7, dims=(12, 5))
    found = search_top_k(queries, mapped, 7, dims=(12, 5))
    for dim in (12, 5):
        assert torch.equal(found[dim].indices, expected[dim].indices)
        assert torch.equal(found[dim].scores, expected[dim].scores)
    values[2999, 3] = np.nan
    with pytest.raises(
        DataError, match="1 of the documents have vectors that are not finite, first number 2999"
    ):
        search_top_k(queries, values, 7)


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
