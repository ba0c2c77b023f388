"""A search whose best pages a reranker puts into a new order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import InputError, SearchIndexError
from sightline.search.index import SearchIndex, build_index
from sightline.search.searcher import Searcher
from sightline.types import Item


class Backwards:
    """Scores a page by its letters; remembers what it was asked."""

    num_labels = 1

    def __init__(self, modalities: tuple[str, ...] = ("text",), constant: bool = False) -> None:
        self.modalities = modalities
        self.constant = constant
        self.pairs: list[tuple[Any, dict[str, Any]]] = []

    def predict(self, pairs: Sequence[tuple[Any, Any]], **_: Any) -> np.ndarray:
        self.pairs = list(pairs)
        scores = [
            0.0 if self.constant else float(sum(map(ord, page.get("text", "")))) for _, page in self.pairs
        ]
        return np.array(scores, dtype=np.float32)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    return build_index(
        tmp_path_factory.mktemp("rerank") / "index", make_pages(8, 10), WordsEncoder(), progress=False
    )


def make(index: SearchIndex, reranker: Any, **options: Any) -> Searcher:
    return Searcher(index, WordsEncoder(), reranker=reranker, **options)


QUERY = "battery storage audit of the reef"


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_the_best_pages_are_reordered_by_the_rerankers_score(index: SearchIndex, mode: str) -> None:
    plain = Searcher(index, WordsEncoder()).search(QUERY, mode=mode, top_k=20)
    reranker = Backwards()
    found = make(index, reranker, rerank_depth=20).search(QUERY, mode=mode, top_k=5)
    assert len(reranker.pairs) == len(plain)
    assert {hit.page_id for hit in found} <= {hit.page_id for hit in plain}
    scores = sorted((sum(map(ord, page["text"])) for _, page in reranker.pairs), reverse=True)
    assert [hit.score for hit in found] == [float(np.float32(score)) for score in scores[:5]]
    assert [hit.rank for hit in found] == [1, 2, 3, 4, 5]
    assert found.timings["rerank"] >= 0
    by_id = {hit.page_id: hit for hit in plain}
    assert all(hit.vector_rank == by_id[hit.page_id].vector_rank for hit in found)


def test_more_pages_are_scored_where_more_are_wanted(index: SearchIndex) -> None:
    reranker = Backwards()
    found = make(index, reranker, rerank_depth=3).search(QUERY, mode="vector", top_k=7)
    assert len(reranker.pairs) == len(found) == 7


def test_equal_scores_keep_the_order_of_the_search(index: SearchIndex) -> None:
    plain = Searcher(index, WordsEncoder()).search(QUERY, top_k=6)
    found = make(index, Backwards(constant=True)).search(QUERY, top_k=6)
    assert [hit.page_id for hit in found] == [hit.page_id for hit in plain]


def test_the_reranker_gets_what_it_reads_of_a_page(index: SearchIndex) -> None:
    reranker = Backwards(("text",))
    make(index, reranker).search(QUERY)
    query, page = reranker.pairs[0]
    assert isinstance(query, Item)
    assert query.parts[0].value == QUERY
    assert set(page) == {"text"}
    both = Backwards(("text", "image"))
    make(index, both).search(QUERY)
    assert all(set(page) <= {"text", "image"} for _, page in both.pairs)


def test_nothing_found_is_nothing_reranked(index: SearchIndex) -> None:
    reranker = Backwards()
    assert len(make(index, reranker).search("zzzz", mode="text")) == 0
    assert reranker.pairs == []


def test_rerankers_that_cannot_order_pages_are_refused(index: SearchIndex) -> None:
    several = Backwards()
    several.num_labels = 3
    with pytest.raises(SearchIndexError, match="3 scores per pair"):
        make(index, several)
    with pytest.raises(SearchIndexError, match="the reranker takes audio"):
        make(index, Backwards(("audio",)))
    with pytest.raises(SearchIndexError, match="rerank_depth must be at least 1, not 0"):
        make(index, Backwards(), rerank_depth=0)
    with pytest.raises(InputError, match="this model reads image, not text"):
        make(index, Backwards(("image",))).search(QUERY)


@pytest.mark.parametrize("concurrent", [False, True])
def test_a_model_is_asked_by_one_thread_at_a_time_unless_it_takes_several(
    index: SearchIndex, concurrent: bool
) -> None:
    both = Barrier(2)

    class Meeting(Backwards):
        def predict(self, pairs: Sequence[tuple[Any, Any]], **_: Any) -> np.ndarray:
            both.wait(timeout=30.0 if concurrent else 0.2)
            return super().predict(pairs)

    searcher = make(index, Meeting(), concurrent=concurrent)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(searcher.search, QUERY) for _ in range(2)]
        outcomes = [one.exception() is None for one in waiting]
    assert outcomes == [concurrent, concurrent]


def test_a_query_may_be_an_image_where_the_reranker_reads_images(index: SearchIndex, tmp_path: Path) -> None:
    picture = tmp_path / "q.png"
    Image.new("RGB", (8, 8)).save(picture)
    sees = Backwards(("text", "image"))
    found = make(index, sees).search({"image": picture, "text": QUERY}, mode="vector")
    assert found.reranked
    query, _ = sees.pairs[0]
    assert [(part.modality, part.value) for part in query.parts] == [("image", picture), ("text", QUERY)]
    blind = make(index, Backwards(("text",)))
    with pytest.raises(
        InputError, match=r"reranker cannot take the query \(this model reads text, not image\); search"
    ):
        blind.search({"image": picture})
    assert not blind.search({"image": picture}, rerank=False).reranked
