"""A searcher without index and model, for tests of what is built on searching."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sightline.search.results import Hit, SearchResults, check_request, document_filter
from sightline.search.snippets import snippet

if TYPE_CHECKING:
    from sightline.search.filters import Filter


class FakeSearcher:
    """Answers from a table: ``FakeSearcher({"q1": {"d7": 1.0}})``; a query not in it finds nothing.

    Args:
        answers: query -> {page id: score}. A page id like ``"report.pdf#p3"`` is page 3 of that document,
            any other is page 0 of a document of that name.
        texts: page id -> text that snippets are cut from.
    """

    def __init__(
        self, answers: Mapping[Any, Mapping[str, float]], *, texts: Mapping[str, str] | None = None
    ) -> None:
        self._answers = answers
        self._texts = texts or {}

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
    ) -> SearchResults:
        """As `Searcher.search`: best first, equal scores in the table's order; of a filter the documents
        count, and how pages are fused, reranked and cut makes no difference."""
        check_request(top_k, mode)
        wanted = document_filter(documents)
        ranked = sorted(self._answers.get(query, {}).items(), key=lambda entry: -entry[1])
        kept = [
            (page_id, score, *_place(page_id))
            for page_id, score in ranked
            if wanted is None or _place(page_id)[0] in wanted
        ]
        hits = tuple(
            Hit(
                rank=rank,
                page_id=page_id,
                document=document,
                page=page,
                score=float(score),
                vector_rank=None if mode == "text" else rank,
                text_rank=None if mode == "vector" else rank,
                snippet=snippet(self._texts.get(page_id, ""), str(query)),
            )
            for rank, (page_id, score, document, page) in enumerate(kept[:top_k], start=1)
        )
        return SearchResults(hits, mode, {"total": 0.0})


def _place(page_id: str) -> tuple[str, int]:
    document, found, page = page_id.rpartition("#p")
    return (document, int(page)) if found and page.isascii() and page.isdigit() else (page_id, 0)
