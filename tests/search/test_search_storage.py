"""Indexes of every kind of vector, built from pages and opened again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import SearchIndexError
from sightline.evaluation.quantized import index_of
from sightline.evaluation.storage import Storage
from sightline.models.similarity import similarity
from sightline.search.index import SearchIndex, build_index, open_index, update_index
from sightline.search.lance import STAGED
from sightline.search.options import VectorOptions
from sightline.search.pages import PageRecord
from sightline.search.searcher import Searcher
from sightline.search.table import PageTable
from sightline.types import Embeddings

QUERY = "battery storage of the hospital"


class TokensEncoder(WordsEncoder):
    """A vector per word."""

    similarity_fn_name = "maxsim"

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"similarity": "maxsim", **options})

    def encode_document(
        self, inputs: Any, *, show_progress: bool | None = None, **pooling: Any
    ) -> Embeddings:
        self.encoded += len(inputs)
        found = self._encode(inputs)
        return pooling["token_pooling"].pool(found) if pooling else found

    def _encode(self, inputs: Any) -> Embeddings:
        texts = [(value if isinstance(value, dict) else {"text": value}).get("text", "") for value in inputs]
        words = [torch.stack([self._bag(word) for word in text.split()]) @ self.projection for text in texts]
        return Embeddings.ragged([torch.nn.functional.normalize(one, dim=-1) for one in words])


def built(path: Path, options: VectorOptions, pages: Iterable[PageRecord] = (), **rest: Any) -> SearchIndex:
    encoder = rest.pop("encoder", None) or WordsEncoder()
    return build_index(path, list(pages) or make_pages(), encoder, vectors=options, progress=False, **rest)


def order(index: SearchIndex, query: np.ndarray, limit: int = 30, **options: Any) -> list[int]:
    return [match.position for match in index.nearest(query, limit, **options)]


@pytest.fixture(scope="module")
def vectors() -> tuple[Embeddings, np.ndarray]:
    encoder = WordsEncoder()
    pages = encoder.encode_document([{"text": page.text} for page in make_pages()])
    return pages, encoder.encode_query([QUERY]).numpy()[0]


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        (VectorOptions("float16", dims=(9,)), "float16"),
        (VectorOptions("int8", dims=(9,)), "int8"),
        (VectorOptions("binary", dims=(16,)), "binary+query"),
    ],
)
def test_an_index_finds_what_evaluation_of_its_precision_finds(
    tmp_path: Path, vectors: tuple[Embeddings, np.ndarray], options: VectorOptions, precision: str
) -> None:
    built(tmp_path / "index", options, batch_size=7)
    index = open_index(tmp_path / "index", WordsEncoder())
    assert index.dims == (24, *(options.dims or ()))
    assert index.vector_facts.options == replace(options, dims=index.dims[1:])
    for dim in index.dims:
        expected = index_of(vectors[0], Storage(dim, precision), "cosine")
        asked = Embeddings(torch.from_numpy(vectors[1][None]))
        assert order(index, vectors[1], dim=dim) == expected.search(asked, 30)[0].tolist()
    per_vector = sum(Storage(dim, "binary+int8" if precision == "int8" else precision).bytes_per_vector
                     for dim in index.dims)  # fmt: skip
    assert index.vector_facts.bytes_per_page == per_vector


def test_int8_is_written_when_all_vectors_are_there_and_a_kill_before_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, options = tmp_path / "index", VectorOptions("int8")
    whole = built(tmp_path / "whole", options)
    encoder = WordsEncoder()

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PageTable, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            built(path, options, encoder=encoder)
    (version,) = (path / "versions").iterdir()
    assert (version / f"{STAGED}.lance").is_dir()
    # Killed while the codes were written: a table that was never committed.
    (version / "pages.lance" / "data").mkdir(parents=True)
    index = built(path, options, encoder=encoder)
    assert encoder.encoded == 30
    assert not (version / f"{STAGED}.lance").exists()
    query = WordsEncoder().encode_query([QUERY]).numpy()[0]
    assert index.nearest(query, 30) == whole.nearest(query, 30)
    assert index.table.layout.metadata() == whole.table.layout.metadata()


def test_codes_are_copied_by_the_ranges_they_were_made_by(tmp_path: Path) -> None:
    path, encoder = tmp_path / "index", WordsEncoder()
    first = built(path, VectorOptions("int8", rescore=True), encoder=encoder)
    more = [PageRecord("new#p0", "new", 0, "solar turbine whale audit")]
    second = update_index(path, encoder, add=more, progress=False)
    assert encoder.encoded == 31
    assert str(second.changes) == "1 pages embedded, 0 removed, 30 kept"
    assert second.table.layout.metadata() == first.table.layout.metadata()
    assert second.vector_facts.options == first.vector_facts.options
    query = encoder.encode_query(["solar turbine whale audit"]).numpy()[0]
    assert order(second, query)[0] == 30
    assert [position for position in order(second, query, 31) if position != 30] == order(first, query)


def test_pages_with_nothing_to_embed_are_no_bad_vectors(tmp_path: Path) -> None:
    pages = [*make_pages(2, 3), PageRecord("empty#p0", "empty", 0, "")]
    for precision in ("float16", "int8", "binary"):
        index = built(tmp_path / precision, VectorOptions(precision, rescore=precision == "int8"), pages)
        assert index.facts.pages_without_vector == 1
        query = WordsEncoder().encode_query([QUERY]).numpy()[0]
        assert sorted(order(index, query)) == list(range(6))
    with pytest.raises(SearchIndexError, match="no vector of page 'empty#p0'"):
        index.vectors(["empty#p0"]) if precision != "binary" else built(
            tmp_path / "floats", VectorOptions(), pages
        ).vectors(["empty#p0"])


def test_token_vectors_are_kept_and_scored_as_the_model_scores_them(tmp_path: Path) -> None:
    encoder, pages = TokensEncoder(), make_pages()
    exact = built(tmp_path / "exact", VectorOptions("float32", dims=(8,)), encoder=encoder)
    documents = encoder.encode_document([{"text": page.text} for page in pages])
    query = encoder.encode_query([QUERY])
    for dim in (24, 8):
        cut = [one if dim == 24 else one.truncate(dim, normalize=True) for one in (query, documents)]
        scores = similarity("maxsim", *cut)[0].numpy()
        found = exact.nearest(query.tokens()[0].numpy(), 30, dim=dim)
        assert [match.position for match in found] == np.argsort(-scores, kind="stable").tolist()
        np.testing.assert_allclose([match.score for match in found], np.sort(scores)[::-1], atol=1e-5)
    half = built(tmp_path / "half", VectorOptions(), encoder=encoder)
    assert half.vector_facts.precision == "float16", "what token vectors are kept in unless asked otherwise"
    pooled = built(tmp_path / "pooled", VectorOptions(token_pooling=3.0), encoder=encoder)
    assert pooled.vector_facts.bytes_per_page < half.vector_facts.bytes_per_page * 0.9
    hits = Searcher(half, encoder).search("nurse patient vaccine", mode="vector", top_k=3)
    assert all(hit.document.startswith("health") for hit in hits)
    np.testing.assert_allclose(
        exact.vectors([pages[4].page_id]).tokens()[0], documents.tokens()[4], atol=1e-6
    )
    again = build_index(
        tmp_path / "pooled", pages, encoder, vectors=VectorOptions(token_pooling=3.0), progress=False
    )
    assert str(again.changes) == "0 pages embedded, 0 removed, 30 kept"


def test_questions_measure_an_approximate_search_and_the_facts_tell(tmp_path: Path) -> None:
    pages = make_pages(40, 10)
    questions = [f"{page.text.split()[0]} {page.text.split()[7]}" for page in pages[::4]]
    index = built(
        tmp_path / "index", VectorOptions(dims=(16,), ann="ivf", recall=0.9), pages, questions=questions
    )
    opened = open_index(tmp_path / "index")
    assert [how.dim for how in opened.vector_facts.approximate] == [24, 16]
    assert opened.vector_facts == index.vector_facts
    for how in opened.vector_facts.approximate:
        assert (how.queries, how.sample, how.target) == ("questions", 50, 0.9)
    lines = opened.vector_facts.sentences()
    assert lines[0] == "Vectors: 24 dimensions, prefixes 16, float32, 160 bytes a page"
    assert f"recall@10 {opened.vector_facts.approximate[0].recall:.3f} against exact search" in lines[1]
    query = WordsEncoder().encode_query([QUERY]).numpy()[0]
    exact = open_index(tmp_path / "index").nearest(query, 10, exact=True)
    found = opened.nearest(query, 10)
    known = {match.page_id: match.score for match in exact}
    assert all(
        match.score == pytest.approx(known.get(match.page_id, match.score), abs=1e-5) for match in found
    )


def test_the_dims_a_model_was_trained_with_are_searchable(tmp_path: Path) -> None:
    encoder = WordsEncoder()
    encoder.trained_dims = (24, 12, 6)
    assert built(tmp_path / "index", VectorOptions(), encoder=encoder).dims == (24, 12, 6)
    assert built(tmp_path / "cut", VectorOptions(), encoder=encoder, dim=10).dims == (10, 6)
    assert built(tmp_path / "one", VectorOptions(dims=()), encoder=encoder).dims == (24,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "int4"}, "precision must be one of"),
        ({"rescore": True}, "beside int8 or binary"),
        ({"token_pooling": 0.5}, "1 or more"),
        ({"ann": "lsh"}, "ann must be one of"),
        ({"recall": 2.0}, "recall must lie"),
        ({"dims": (99,)}, "from 1 to 24"),
        ({"token_pooling": 2.0}, "no tokens to pool"),
        ({"precision": "int8", "ann": "hnsw"}, "no HNSW index"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SearchIndexError, match=message):
        built(tmp_path / "index", VectorOptions(**values))
    assert not (tmp_path / "index").exists()


def test_options_that_are_not_for_token_vectors_are_refused(tmp_path: Path) -> None:
    for values in ({"precision": "int8", "rescore": True}, {"precision": "binary", "dims": (8,)}):
        with pytest.raises(SearchIndexError, match=r"not rescored|not kept"):
            built(tmp_path / "index", VectorOptions(**values), encoder=TokensEncoder())  # type: ignore[arg-type]


def test_a_model_narrower_than_the_index_is_refused(tmp_path: Path) -> None:
    index = built(tmp_path / "index", VectorOptions())
    with pytest.raises(SearchIndexError, match="without truncate_dim"):
        index.nearest(np.zeros(12, np.float32), 3)
