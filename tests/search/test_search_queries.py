"""Queries of any kind, and what one search may ask for on its own."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import InputError, SearchIndexError
from sightline.search.index import build_index
from sightline.search.pages import PageRecord
from sightline.search.query import embed_query, read_query
from sightline.search.searcher import Searcher


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    index = build_index(
        tmp_path_factory.mktemp("queries") / "index", make_pages(6, 8), WordsEncoder(), progress=False
    )
    return Searcher(index, WordsEncoder())


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    pages = [
        PageRecord("stemming.pdf#p0", "stemming.pdf", 0, "The turbines were running"),
        PageRecord("other.pdf#p0", "other.pdf", 0, "nothing of the kind"),
    ]
    index = build_index(tmp_path_factory.mktemp("texts") / "index", pages, WordsEncoder(), progress=False)
    return Searcher(index, WordsEncoder())


def names(results: Iterable[Any]) -> list[str]:
    return [hit.document for hit in results]


def test_what_is_asked_for_one_search_wins_over_the_searchers_settings(searcher: Searcher) -> None:
    query = "battery storage audit of the reef"
    by_text = searcher.search(query, mode="text", top_k=5)
    assert [hit.page_id for hit in searcher.search(query, top_k=5, weights=(0, 1))] == [
        hit.page_id for hit in by_text
    ]
    assert searcher.search(query, top_k=5, weights=(1.0, 1.0)).hits == searcher.search(query, top_k=5).hits
    assert searcher.search(query, dim=searcher.index.facts.dim).hits == searcher.search(query).hits
    for options, message in [
        ({"weights": (0, 0)}, "nothing to rank by"),
        ({"weights": (1, -1)}, "0 or more"),
        ({"weights": (1, float("nan"))}, "0 or more"),
        ({"weights": (1,)}, "two numbers"),
        ({"rerank": True}, "no reranker"),
        ({"rerank_depth": 0}, "rerank_depth must be at least 1"),
        ({"dim": 5}, "not 5"),
    ]:
        with pytest.raises(SearchIndexError, match=message):
            searcher.search(query, **options)  # type: ignore[arg-type]


def test_scores_are_fused_on_one_scale(searcher: Searcher) -> None:
    query = "battery storage audit of the reef"
    vector = searcher.search(query, mode="vector", top_k=200)
    text = searcher.search(query, mode="text", top_k=200)
    fused = Searcher(searcher.index, WordsEncoder(), fusion="scores", weights=(3, 1), depth=200)
    found = fused.search(query, top_k=200)
    near = {hit.page_id: (hit.score + 1) / (vector[0].score + 1) for hit in vector}
    worded = {hit.page_id: hit.score / text[0].score for hit in text}
    expected = {page: 0.75 * near.get(page, 0.0) + 0.25 * worded.get(page, 0.0) for page in near | worded}
    assert found.scores == pytest.approx(expected)
    assert list(found.scores.values()) == sorted(found.scores.values(), reverse=True)
    with pytest.raises(SearchIndexError, match=r"'magic' is unknown; choose from rrf, scores"):
        Searcher(searcher.index, WordsEncoder(), fusion="magic")


def test_a_query_of_words_never_names_a_file(texts: Searcher, tmp_path: Path) -> None:
    (tmp_path / "turbines").mkdir()
    (tmp_path / "turbines" / "a.png").write_bytes(b"no image")
    for query in (
        str(tmp_path / "turbines" / "a.png"),
        "missing.png",
        "file:///etc/passwd",
        "https://x.y/z.png",
    ):
        for mode in ("vector", "hybrid", "text"):
            assert texts.search(query, mode=mode) is not None
    assert "stemming.pdf" in names(texts.search(str(tmp_path / "turbines" / "a.png"), mode="text"))


class Halves(WordsEncoder):
    """Towers of one space: text or image, never both at once."""

    def supports(self, modality: str | Iterable[str]) -> bool:
        return isinstance(modality, str) or len(set(modality)) == 1


def test_text_and_image_together_are_the_mean_where_a_model_takes_one_at_a_time(tmp_path: Path) -> None:
    picture = tmp_path / "reef.png"
    picture.write_bytes(b"a reef")
    both = {"text": "solar wind", "image": picture}
    encoder = Halves()
    text, image = (
        encoder.encode_query([{kind: both[kind]}]).normalize().numpy()[0] for kind in ("text", "image")
    )
    halves = embed_query(encoder, read_query(both, encoder, mode="vector"))
    np.testing.assert_allclose(halves, (text + image) / 2, atol=1e-6)
    joint = embed_query(WordsEncoder(), read_query(both, WordsEncoder(), mode="vector"))
    np.testing.assert_allclose(joint, WordsEncoder().encode_query([both]).numpy()[0], atol=1e-6)


@pytest.mark.parametrize("form", ["path", "bytes", "image", "array"])
def test_an_image_may_come_in_any_form(form: str, tmp_path: Path, tiny_encoder: Any) -> None:
    from PIL import Image

    picture = Image.new("RGB", (64, 64), "green")
    picture.save(tmp_path / "q.png")
    value = {
        "path": tmp_path / "q.png",
        "bytes": (tmp_path / "q.png").read_bytes(),
        "image": picture,
        "array": np.asarray(picture),
    }[form]
    encoder = tiny_encoder("vit")
    expected = encoder.encode_query([{"image": picture}]).numpy()[0]
    for query in (value, {"image": value}):
        found = embed_query(encoder, read_query(query, encoder, mode="vector"))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_image_for_a_model_of_texts_says_what_it_reads(searcher: Searcher, tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.new("RGB", (8, 8))
    index = build_index(
        tmp_path / "index", make_pages(1, 2), WordsEncoder(modalities=("text",)), progress=False
    )
    texts_only = Searcher(index, WordsEncoder(modalities=("text",)))
    for query in (picture, {"image": picture}, {"image": picture, "text": "solar"}):
        with pytest.raises(InputError, match=r"the query.*: this model reads text, not image"):
            texts_only.search(query)
    found = texts_only.search({"image": picture, "text": "solar"}, mode="text")
    assert [hit.page_id for hit in found] == [hit.page_id for hit in texts_only.search("solar", mode="text")]


def test_a_vector_that_is_known_is_not_made_again(searcher: Searcher) -> None:
    query = "battery storage audit of the reef"
    vector = WordsEncoder().encode_query([query]).numpy()[0]
    found = searcher.search(query, vector=vector)
    assert "encode" not in found.timings
    assert found.hits == searcher.search(query).hits
    assert Searcher(searcher.index).search(query, vector=vector).hits == found.hits


def test_many_threads_find_what_one_finds(searcher: Searcher) -> None:
    queries = [f"{word} report" for word in ("solar", "whale", "profit", "nurse", "track")] * 6
    alone = [searcher.search(query).hits for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert [found.hits for found in pool.map(searcher.search, queries)] == alone
