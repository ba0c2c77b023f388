"""Indexes of lower precision against naive searches over the decoded vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sightline.errors import ConfigError
from sightline.evaluation.quantized import Bits, Codes, index_of
from sightline.evaluation.storage import PRECISIONS, Storage, storages
from sightline.models.similarity import similarity
from sightline.types import Embeddings


def vectors(count: int, dim: int, seed: int) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    lengths = 0.5 + torch.rand(count, 1, generator=generator)
    return Embeddings(lengths * torch.randn(count, dim, generator=generator))


QUERIES, DOCUMENTS = vectors(11, 72, 1), vectors(300, 72, 2)


def best_first(scores_QN: torch.Tensor, k: int) -> torch.Tensor:
    """Ties to the lower index."""
    return scores_QN.argsort(dim=1, descending=True, stable=True)[:, :k]


def signs(embeddings: Embeddings, dim: int) -> torch.Tensor:
    return torch.where(embeddings.values[:, :dim] > 0, 1.0, -1.0)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
@pytest.mark.parametrize("dim", [72, 20])
def test_float_and_int8_search_what_they_store(name: str, dim: int) -> None:
    unit = name == "cosine"
    queries, documents = (one.truncate(dim, normalize=unit) for one in (QUERIES, DOCUMENTS))
    half = Embeddings(documents.values.half().float())
    codes = Codes.of(DOCUMENTS, dim, unit=unit)
    stored = {"float32": documents, "float16": half, "int8": Embeddings(codes[0:300])}
    for precision, expected in stored.items():
        index = index_of(DOCUMENTS, Storage(dim, precision), name)
        measure = "dot" if unit else name
        wanted = best_first(similarity(measure, queries, expected), 40)
        assert torch.equal(index.search(QUERIES, 40), wanted), precision


def test_int8_is_the_usual_one_and_decodes_to_the_nearest_half_step() -> None:
    codes = Codes.of(DOCUMENTS, 72, unit=False)
    values = DOCUMENTS.values
    assert torch.equal(codes.codes_ND, DOCUMENTS.quantize("int8").values)
    step_D = (values.amax(0) - values.amin(0)) / 255
    error_ND = (codes[0:300] - values).abs() / step_D
    # Two steps are cut to the code 0, one to every other.
    assert float(error_ND[codes.codes_ND != 0].max()) <= 0.501
    assert float(error_ND.max()) <= 1.001
    assert torch.equal(codes[torch.tensor([7, 3])], codes[0:300][[7, 3]])


@pytest.mark.parametrize("dim", [72, 64, 20])
def test_hamming_distance_counted_or_multiplied(dim: int) -> None:
    """A few queries go through bit counts, many through products of signs; both are the naive order, ties included."""
    index = index_of(DOCUMENTS, Storage(dim, "binary"), "cosine")
    wanted = best_first(signs(QUERIES, dim) @ signs(DOCUMENTS, dim).T, 50)
    assert torch.equal(index.search(QUERIES, 50), wanted)
    for number in range(len(QUERIES)):
        assert torch.equal(index.search(QUERIES[number], 50), wanted[number : number + 1])
    assert index.search(QUERIES[0], 1000).shape == (1, 300)


@pytest.mark.parametrize("count", [1, 11])
@pytest.mark.parametrize("name", ["cosine", "euclidean"])
@pytest.mark.parametrize("precision", ["binary+query", "binary+int8"])
def test_rescoring_orders_the_best_anew(precision: str, name: str, count: int) -> None:
    dim, moved, unit = 40, 25, name == "cosine"
    index = index_of(DOCUMENTS, Storage(dim, precision), name, rescored=moved)
    asked = QUERIES[:count]
    first = best_first(signs(asked, dim) @ signs(DOCUMENTS, dim).T, 60)
    queries = asked.truncate(dim, normalize=unit)
    if precision == "binary+query":
        scores = queries.values @ signs(DOCUMENTS, dim).T
    else:
        decoded = Embeddings(Codes.of(DOCUMENTS, dim, unit=unit)[0:300])
        scores = similarity("dot" if unit else name, queries, decoded)
    wanted = []
    for row, candidates in zip(scores, first.tolist(), strict=True):
        better = sorted(sorted(candidates[:moved]), key=lambda place: -float(row[place]))
        wanted.append(better + candidates[moved:])
    assert index.search(asked, 60).tolist() == wanted
    # Fewer results than candidates: the candidates are looked at all the same.
    assert index.search(asked, 5).tolist() == [row[:5] for row in wanted]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dim", [72, 64, 20])
def test_the_size_is_exact(precision: str, dim: int) -> None:
    storage = Storage(dim, precision)
    index = index_of(DOCUMENTS, storage, "cosine")
    assert index.nbytes == 300 * storage.bytes_per_vector
    assert Storage(1024, "binary+int8").bytes_per_vector == 1024 // 8 + 1024
    assert Storage(1024, "float16").bytes_per_vector == 2048


def test_bits_not_above_zero_are_below() -> None:
    bits = Bits.of(Embeddings(torch.tensor([[0.0, -0.0, 1e-30, -3.0, 2.0]])), 5)
    assert bits[0:1].tolist() == [[-1.0, -1.0, 1.0, -1.0, 1.0]]


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "binary"])
def test_token_vectors(precision: str) -> None:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 9, (60,), generator=generator).tolist()
    documents = Embeddings.ragged([torch.randn(n, 16, generator=generator) for n in lengths]).normalize()
    queries = Embeddings.ragged([torch.randn(n, 16, generator=generator) for n in (3, 5)]).normalize()
    storage = Storage(8, precision)
    index = index_of(documents, storage, "maxsim")
    assert index.nbytes == sum(lengths) * storage.bytes_per_vector
    short = [one.truncate(8, normalize=True) for one in (queries, documents)]
    tokens = torch.cat(short[1].tokens())
    if precision == "int8":
        decoded = Codes.of(Embeddings(tokens), 8, unit=False)[0 : len(tokens)]
    elif precision == "binary":
        decoded = torch.where(tokens > 0, 1.0, -1.0)
        short[0] = Embeddings.ragged([torch.where(one > 0, 1.0, -1.0) for one in short[0].tokens()])
    else:
        decoded = tokens.half().float() if precision == "float16" else tokens
    stored = Embeddings.ragged(list(decoded.split(lengths)))
    wanted = best_first(similarity("maxsim", short[0], stored), 20)
    assert torch.equal(index.search(queries, 20), wanted)


def test_what_cannot_be_kept() -> None:
    with pytest.raises(ConfigError, match="unknown precision 'int4'"):
        storages([64], ["float32", "int4"])
    with pytest.raises(ConfigError, match="dimension 73 must lie in the model's 72"):
        index_of(DOCUMENTS, Storage(73), "cosine")
    tokens = Embeddings.ragged([torch.randn(3, 8)])
    with pytest.raises(ConfigError, match="not rescored"):
        index_of(tokens, Storage(8, "binary+int8"), "maxsim")
    assert [str(one) for one in storages([16, 32, 16], ["int8", "binary"])] == [
        "32 int8",
        "32 binary",
        "16 int8",
        "16 binary",
    ]
    assert np.isfinite(Storage(32).bytes_per_vector)
