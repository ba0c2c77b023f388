"""A reranker behind a retriever in the results table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.documents.dataset import Dataset
from sightline.errors import ConfigError, DataError
from sightline.evaluation.results import result_of_run
from sightline.evaluation.rows import Row
from sightline.runs.compare import compare_models
from sightline.runs.tandem import shown, tandem_rows, view_of
from support import page_datasets
from support.fixtures import MINILM
from support.tiny_rerankers import bert_scores

WORDS = ("bees", "bread", "bridges", "clocks", "rivers", "violins", "volcanoes", "whales")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_datasets.one_page_each(tmp_path_factory.mktemp("pages"), WORDS, held_out=6)


class Reader:
    """Scores a page 1 where it holds the question's last word."""

    num_labels = 1
    name_or_path = "somewhere/reader"

    def __init__(self, modalities: tuple[str, ...] = ("text",)) -> None:
        self.modalities = modalities
        self.pairs = 0

    def predict(self, pairs: Sequence[tuple[Any, Any]], **_: Any) -> np.ndarray:
        self.pairs += len(pairs)
        return np.array(
            [query["text"].split()[-1] in page["text"] for query, page in pairs], dtype=np.float32
        )


def test_a_row_per_depth_from_one_scoring(pages: Path) -> None:
    """The right page stands at rank 4 of every question; only a reranker that looks so far down can lift it."""
    dataset = Dataset.load(pages)
    queries = dataset.queries("test")
    relevant = dataset.relevant("test")
    corpus = list(dataset.corpus("text", "test"))
    run = {}
    for query in queries:
        (right,) = relevant[query]
        wrong = [page for page in corpus if page != right]
        order = [*wrong[:3], right, *wrong[3:]]
        run[query] = {page: -float(rank) for rank, page in enumerate(order)}
    row = Row("made up", "text", result_of_run(queries, run, relevant, corpus=corpus))
    reader = Reader()
    found = tandem_rows(row, reader, dataset, "test", depths=(3, 5))  # type: ignore[arg-type]
    assert [one.label for one in found] == ["made up + reader to 3 (text)", "made up + reader to 5 (text)"]
    assert reader.pairs == 5 * len(queries)
    assert row.result.scores["mrr@10"] == pytest.approx(1 / 4)
    assert found[0].result.scores.mean == pytest.approx(row.result.scores.mean)
    assert found[1].result.scores["mrr@10"] == 1.0
    assert len(shown(row).result.top[next(iter(queries))]) == len(corpus)


def test_what_a_reranker_sees_of_a_page() -> None:
    assert view_of(Reader(("text", "image"))) == "both"  # type: ignore[arg-type]
    assert view_of(Reader(("text", "audio"))) == "text"  # type: ignore[arg-type]
    assert view_of(Reader(("image",))) == "image"  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the reranker takes audio"):
        view_of(Reader(("audio",)))  # type: ignore[arg-type]


def test_the_table_has_the_reranked_rows(pages: Path, tmp_path: Path) -> None:
    reranker = bert_scores(tmp_path / "tiny-reranker")
    outcome = compare_models([str(MINILM)], pages, reranker=str(reranker), rerank_depths=(2, 4), bm25=False)
    assert [row.name for row in outcome.rows] == [
        "model",
        "model + tiny-reranker to 2",
        "model + tiny-reranker to 4",
    ]
    plain, *reranked = outcome.rows
    for row in reranked:
        assert row.result.per_query().keys() == plain.result.per_query().keys()
        # Whatever a reranker does, the pages it looks at stay in front of the others.
        assert row.result.scores["recall@10"] == plain.result.scores["recall@10"]
    with pytest.raises(ConfigError, match="leave out within_document"):
        compare_models([str(MINILM)], pages, reranker=str(reranker), within_document=True)
    with pytest.raises(ConfigError, match="each at least 1"):
        compare_models([str(MINILM)], pages, reranker=str(reranker), rerank_depths=(0,))
