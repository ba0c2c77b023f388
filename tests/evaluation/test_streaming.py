"""Search of stored vectors block by block equals search of all at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.evaluation.ranking import search_top_k
from sightline.evaluation.streaming import blocks, pair_scores, search_stored
from sightline.evaluation.token_search import search_tokens
from sightline.models.similarity import similarity_pairwise
from sightline.models.vector_store import GivenVectors
from sightline.types import Embeddings

GENERATOR = torch.Generator().manual_seed(0)
QUERIES, DOCUMENTS = torch.randn(7, 8, generator=GENERATOR), torch.randn(60, 8, generator=GENERATOR)
TOKENS = Embeddings.ragged([torch.randn(1 + n % 5, 4, generator=GENERATOR) for n in range(40)])
ASKED = Embeddings.ragged([torch.randn(1 + n % 3, 4, generator=GENERATOR) for n in range(5)])


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("block_bytes", [1, 200, 10_000])
def test_blocks_find_what_one_search_finds(similarity: str, block_bytes: int) -> None:
    wanted = search_top_k(QUERIES, DOCUMENTS, 9, similarity=similarity)[8]
    found = search_stored(
        Embeddings(QUERIES),
        GivenVectors(Embeddings(DOCUMENTS)),
        9,
        similarity=similarity,
        block_bytes=block_bytes,
    )
    assert torch.equal(found.indices, wanted.indices)
    torch.testing.assert_close(found.scores, wanted.scores)


def test_only_the_rows_asked_for_are_searched_and_results_are_places_in_them() -> None:
    rows = np.array([3, 10, 11, 12, 59])
    wanted = search_top_k(QUERIES, DOCUMENTS[rows], 4)[8]
    found = search_stored(
        Embeddings(QUERIES),
        GivenVectors(Embeddings(DOCUMENTS)),
        4,
        rows=rows,
        similarity="cosine",
        block_bytes=64,
    )
    assert torch.equal(found.indices, wanted.indices)
    none = search_stored(
        Embeddings(QUERIES), GivenVectors(Embeddings(DOCUMENTS)), 4, rows=rows[:0], similarity="cosine"
    )
    assert none.indices.shape == (7, 0)


@pytest.mark.parametrize("similarity", ["maxsim", "meanmaxsim"])
@pytest.mark.parametrize("block_bytes", [1, 300, 100_000])
def test_token_vectors(similarity: str, block_bytes: int) -> None:
    (wanted,) = search_tokens(ASKED, TOKENS, 6, similarity=similarity).values()
    stored = GivenVectors(TOKENS)
    found = search_stored(ASKED, stored, 6, similarity=similarity, block_bytes=block_bytes)
    assert torch.equal(found.indices, wanted.indices)
    torch.testing.assert_close(found.scores, wanted.scores)
    query_P, document_P = np.array([0, 0, 4, 2]), np.array([7, 39, 7, 0])
    scores = pair_scores(ASKED, stored, query_P, document_P, similarity=similarity, block_bytes=block_bytes)
    expected = similarity_pairwise(similarity, ASKED[query_P], TOKENS[document_P])
    torch.testing.assert_close(torch.from_numpy(scores), expected)


def test_no_pairs_have_no_scores() -> None:
    none = np.zeros(0, np.int64)
    assert pair_scores(ASKED, GivenVectors(TOKENS), none, none, similarity="maxsim").shape == (0,)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 400))
def test_blocks_hold_no_more_than_they_may(lengths: list[int], block_bytes: int) -> None:
    vectors = GivenVectors(Embeddings.ragged([torch.ones(length, 2) for length in lengths]))
    rows = np.arange(len(lengths))
    found: Iterator[tuple[int, int]] = blocks(vectors, rows, block_bytes)
    end = 0
    for start, stop in found:
        assert start == end
        assert stop > start
        size = 4 * 2 * max(lengths[start:stop]) * (stop - start)
        assert size <= block_bytes or stop - start == 1
        end = stop
    assert end == len(lengths)
