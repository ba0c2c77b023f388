"""MaxSim in blocks against the products written out, and against Sentence Transformers."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.util import similarity as st
from torch import Tensor

from sightline.errors import ConfigError, InputError
from sightline.models.similarity import similarity, similarity_name, similarity_pairwise
from sightline.modules import maxsim
from sightline.modules.maxsim import EMPTY, TokenVectors
from sightline.types import Embeddings


def ragged(counts: list[int], seed: int, dim: int = 16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=-1)
        for count in counts
    ]


QUERIES = ragged([5, 1, 9, 3], 1)
DOCUMENTS = ragged([7, 30, 2, 1, 12, 4, 4], 2)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("name", ["maxsim", "meanmaxsim"])
def test_equal_to_st(name: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:
        monkeypatch.setattr(maxsim, "CPU_PRODUCTS", 40)
        monkeypatch.setattr(maxsim, "QUERY_TOKENS", 6)
    queries, documents = Embeddings.ragged(QUERIES), Embeddings.ragged(DOCUMENTS)
    theirs = {"maxsim": st.maxsim, "meanmaxsim": st.mean_maxsim}[name](QUERIES, DOCUMENTS)
    torch.testing.assert_close(similarity(name, queries, documents), theirs, atol=1e-5, rtol=0)
    # Tensors without a mask: what is zero is padding.
    torch.testing.assert_close(similarity(name, queries.values, documents.values), theirs, atol=1e-5, rtol=0)
    pairs = {"maxsim": st.maxsim_pairwise, "meanmaxsim": st.mean_maxsim_pairwise}[name](
        QUERIES, DOCUMENTS[:4]
    )
    torch.testing.assert_close(similarity_pairwise(name, queries, documents[:4]), pairs, atol=1e-5, rtol=0)


def test_any_mask() -> None:
    """Padding in front, holes: the tokens that are left are compared, in whatever place they stand."""
    queries = Embeddings.ragged(QUERIES)
    expected = similarity("maxsim", queries, Embeddings.ragged(DOCUMENTS))
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(len(DOCUMENTS), 40, 16, generator=generator) * 5
    mask = torch.zeros(len(DOCUMENTS), 40, dtype=torch.bool)
    for row, tokens in enumerate(DOCUMENTS):
        place = torch.randperm(40, generator=generator)[: len(tokens)].sort().values
        values[row, place], mask[row, place] = tokens, True
    torch.testing.assert_close(similarity("maxsim", queries, Embeddings(values, mask)), expected)


def test_low_precision_is_summed_in_float32() -> None:
    queries, documents = Embeddings.ragged(QUERIES), Embeddings.ragged(DOCUMENTS)
    wanted = similarity("maxsim", queries, documents)
    found = similarity("maxsim", queries.to(torch.bfloat16), documents.quantize("float16"))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)


def test_a_document_without_tokens_scores_below_all() -> None:
    documents = Embeddings.ragged([DOCUMENTS[0], DOCUMENTS[1][:0]])
    found = similarity("maxsim", Embeddings.ragged(QUERIES), documents)
    assert (found[:, 1] == EMPTY).all()
    assert similarity("maxsim", Embeddings.ragged(QUERIES), documents[1:]).tolist() == [[EMPTY]] * 4
    assert similarity_pairwise("maxsim", Embeddings.ragged(QUERIES[:1]), documents[1:]).tolist() == [EMPTY]


def test_blocks_hold_at_most_so_many_tokens() -> None:
    tokens = TokenVectors(*(Embeddings.ragged(DOCUMENTS).values,))
    assert [list(block) for block in tokens.blocks(14)] == [[0], [1], [2, 3], [4], [5, 6]]
    assert [list(block) for block in tokens.blocks(1)] == [[number] for number in range(7)]
    assert list(TokenVectors(torch.zeros(0, 3, 4)).blocks(9)) == []


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_pairs_of_single_vectors(name: str) -> None:
    first, second = torch.randn(5, 8), torch.randn(5, 8)
    torch.testing.assert_close(
        similarity_pairwise(name, first, second),
        similarity(name, first, second).diagonal(),
        atol=1e-5,
        rtol=0,
    )


def test_what_does_not_fit_is_refused() -> None:
    tokens, single = Embeddings.ragged(QUERIES), torch.randn(3, 16)
    with pytest.raises(InputError, match="maxsim compares vectors of shape"):
        similarity("maxsim", tokens, single)
    with pytest.raises(InputError, match="cosine compares vectors of shape"):
        similarity("cosine", tokens, tokens)
    with pytest.raises(InputError, match="truncate both alike"):
        similarity("maxsim", tokens, tokens.truncate(8))
    with pytest.raises(InputError, match="same size"):
        similarity_pairwise("maxsim", tokens, tokens[:2])
    with pytest.raises(ConfigError, match="not for a model that gives a vector per token"):
        similarity_name("cosine", multi_vector=True)
    with pytest.raises(ConfigError, match="not for a model that gives one vector per item"):
        similarity_name("maxsim", multi_vector=False)
    with pytest.raises(ConfigError, match="unknown similarity"):
        similarity_name("likeness", multi_vector=True)
    assert similarity_name(None, multi_vector=True) == "maxsim"


def test_autocast_does_not_round_the_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, documents = (TokenVectors(torch.randn(3, 7, 16, generator=generator)) for _ in range(2))
    wanted = maxsim.maxsim(queries, documents)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(maxsim.maxsim(queries, documents), wanted)
