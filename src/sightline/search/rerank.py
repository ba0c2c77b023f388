"""The second stage of a search: a reranker reads the question with each of the best pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.errors import InputError, SearchIndexError
from sightline.inputs.parse import parse
from sightline.search.index import SearchIndex
from sightline.search.matches import Match
from sightline.search.pages import StoredPage

if TYPE_CHECKING:
    from sightline.models.reranker import Reranker

# What of a page a reranker reads.
_PARTS = ("text", "image")


def check_reranker(reranker: Reranker) -> None:
    """Whether a reranker can order pages.

    Raises:
        SearchIndexError: it gives several scores per pair, or reads neither text nor images.
    """
    if reranker.num_labels != 1:
        raise SearchIndexError(
            f"the reranker gives {reranker.num_labels} scores per pair, so there is no order; use one with one"
        )
    if not set(_PARTS) & set(reranker.modalities):
        raise SearchIndexError(
            f"the reranker takes {', '.join(reranker.modalities)}; pages have text and images"
        )


def check_depth(rerank_depth: int) -> int:
    """How many pages a reranker scores, as given.

    Raises:
        SearchIndexError: no whole number from 1 up.
    """
    if isinstance(rerank_depth, bool) or not isinstance(rerank_depth, int) or rerank_depth < 1:
        raise SearchIndexError(f"rerank_depth must be at least 1, not {rerank_depth}")
    return rerank_depth


def reranked(
    reranker: Reranker, index: SearchIndex, query: Any, ranked: Sequence[tuple[Match, float]]
) -> list[tuple[Match, float]]:
    """The pages by the reranker's score, best first; pages of equal score keep their order.

    Args:
        reranker: reads what there is of a page's text and image, as far as it takes them.
        index: where the pages are.
        query: as of `Searcher.search`.
        ranked: pages with the scores of the first stage, best first.

    Raises:
        InputError: a query the reranker does not read.
    """
    taken = reranker.modalities
    try:
        asked = parse(query, source="query", modalities=taken)
    except InputError as error:
        raise InputError(
            f"the reranker cannot take the query ({error.cause_text}); search without reranking",
            source=error.source,
        ) from error
    pages = index.pages([match for match, _ in ranked])
    scores = reranker.predict(
        [(asked, page_value(index, page, taken)) for page in pages], show_progress=False
    )
    order = np.argsort(-scores, kind="stable")
    return [(ranked[place][0], float(scores[place])) for place in order.tolist()]


def page_value(index: SearchIndex, page: StoredPage, taken: Sequence[str]) -> dict[str, Any]:
    """A page as a model reads it that takes these modalities; without anything of them, an empty text."""
    value: dict[str, Any] = {}
    if "text" in taken and page.text.strip():
        value["text"] = page.text
    image = index.image_of(page)
    if "image" in taken and image is not None:
        value["image"] = image
    return value or {"text": ""}
