"""What a search returns, and what anything that searches pages looks like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from sightline.errors import SearchIndexError
from sightline.search.snippets import Snippet

if TYPE_CHECKING:
    from sightline.search.filters import Filter

Mode = Literal["hybrid", "vector", "text"]
MODES: tuple[str, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Hit:
    """One page found.

    Attributes:
        rank: 1 for the best.
        page_id: ``"<document>#p<page>"``.
        document: the document's name.
        page: zero-based page number.
        score: the reranker's where there is one; else the fused score (hybrid), the similarity (vector) or BM25 (text).
            Comparable within one search only.
        vector_rank: place in the ranking by vectors, None where the page is not in it.
        text_rank: place in the full-text ranking, None where the page is not in it.
        snippet: text of the page around the words of the query.
        image: the page image; None where the page has none. The file may have been moved since.
        width, height: of the page image, in pixels; 0 where unknown.
    """

    rank: int
    page_id: str
    document: str
    page: int
    score: float
    vector_rank: int | None = None
    text_rank: int | None = None
    snippet: Snippet = field(default_factory=Snippet)
    image: Path | None = None
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class SearchResults:
    """The pages found, best first; ``len``, indexing and iteration go over the hits.

    Attributes:
        hits: best first.
        mode: what was searched by.
        timings: seconds per stage, in their order: ``query`` (reading it), ``encode``, ``vector``, ``text``, ``fuse``,
            ``rerank``, ``pages`` (texts, snippets), and ``total``; stages that did not run are absent.
        reranked: whether a reranker gave the scores.
    """

    hits: tuple[Hit, ...]
    mode: str = "hybrid"
    timings: Mapping[str, float] = field(default_factory=dict)
    reranked: bool = False

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __getitem__(self, index: int) -> Hit:
        return self.hits[index]

    @property
    def scores(self) -> dict[str, float]:
        """Page id -> score, best first: one query of a run for `sightline.evaluation.metrics`."""
        return {hit.page_id: hit.score for hit in self.hits}


class PageSearcher(Protocol):
    """Anything that finds pages: `Searcher` over an index, `FakeSearcher` over a table of answers."""

    def search(
        self,
        query: Any,
        *,
        top_k: int = 10,
        mode: str = "hybrid",
        documents: str | Iterable[str] | None = None,
        where: Filter | None = None,
        weights: tuple[float, float] | None = None,
        rerank: bool | None = None,
        rerank_depth: int | None = None,
        dim: int | None = None,
    ) -> SearchResults: ...


def run_queries(
    searcher: PageSearcher, queries: Mapping[str, Any], *, top_k: int = 100, mode: str = "hybrid"
) -> dict[str, dict[str, float]]:
    """Search every query: {query id: {page id: score}}, the run that the metrics take."""
    return {qid: searcher.search(query, top_k=top_k, mode=mode).scores for qid, query in queries.items()}


def check_request(top_k: int, mode: str) -> None:
    """Refuse a search that cannot be meant.

    Raises:
        SearchIndexError: an unknown mode, or a ``top_k`` that is not a whole number from 1 up.
    """
    if mode not in MODES:
        raise SearchIndexError(f"search mode {mode!r} is unknown; choose from {', '.join(MODES)}")
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        raise SearchIndexError(f"top_k must be a whole number from 1 up, not {top_k!r}")


def document_filter(documents: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """A filter as a tuple of names; None for no filter. A single name may stand alone."""
    if documents is None:
        return None
    return (documents,) if isinstance(documents, str) else tuple(dict.fromkeys(documents))
