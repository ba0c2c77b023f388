"""Questions in, pages out: the model, the index and the fusion of its rankings.

Shape letters: D vector components.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError
from sightline.evaluation.fusion import reciprocal_rank_fusion
from sightline.inputs.parse import parse
from sightline.search.index import SearchIndex, open_index
from sightline.search.rerank import check_reranker, reranked
from sightline.search.results import Hit, SearchResults, check_request, document_filter
from sightline.search.snippets import snippet
from sightline.search.table import Match

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker


class Searcher:
    """Searches an index by vectors, by words, or by both.

    Args:
        index: an open index, or its folder.
        encoder: the model that built the index; not needed for searches by words alone.
        rrf_k: the k of reciprocal rank fusion.
        weights: weights of the vector and of the full-text ranking in a hybrid search.
        depth: how far down each ranking a hybrid search looks, at least; never less than ``top_k``.
        reranker: puts the best pages of every search into a new order.
        rerank_depth: how many pages it scores, at least; never less than ``top_k``.

    Raises:
        SearchIndexError: the index cannot be opened, or was built with another model; a ``rerank_depth`` below 1, or
            a reranker that cannot order pages.
    """

    def __init__(
        self,
        index: SearchIndex | str | Path,
        encoder: Encoder | None = None,
        *,
        rrf_k: float = 60.0,
        weights: tuple[float, float] = (1.0, 1.0),
        depth: int = 100,
        reranker: Reranker | None = None,
        rerank_depth: int = 50,
    ) -> None:
        self.index = index if isinstance(index, SearchIndex) else open_index(index)
        if encoder is not None:
            self.index.check_model(encoder)
        self.encoder = encoder
        self.rrf_k = rrf_k
        self.weights = weights
        self.depth = depth
        self.reranker = reranker
        self.rerank_depth = rerank_depth
        if rerank_depth < 1:
            raise SearchIndexError(f"rerank_depth must be at least 1, not {rerank_depth}")
        if reranker is not None:
            check_reranker(reranker)

    def search(
        self,
        query: Any,
        *,
        top_k: int = 10,
        mode: str = "hybrid",
        documents: str | Iterable[str] | None = None,
    ) -> SearchResults:
        """The ``top_k`` pages that answer ``query`` best.

        Args:
            query: text, or anything else the model reads (an image, a dict of text and image). Text is
                words only: no character in it is query syntax. An empty text finds nothing.
            top_k: pages to return; fewer where there are fewer.
            mode: "vector" compares vectors, "text" matches words (BM25), "hybrid" fuses both rankings by
                reciprocal rank. A hybrid search for a query without words goes by vectors alone.
            documents: search in these documents only.

        Raises:
            SearchIndexError: no model for a search by vectors, no words for a search by words, an unknown
                document or mode.
            InputError: a query the model cannot read.
        """
        check_request(top_k, mode)
        if mode != "text" and self.encoder is None:
            raise SearchIndexError(
                f"a {mode} search needs the model; search with mode='text', or load the model"
            )
        wanted = self._known(document_filter(documents))
        timings: dict[str, float] = {}
        with _timed(timings, "total"):
            words, empty = self._words(query, mode)
            if empty:
                return SearchResults((), mode, timings)
            wide = top_k if self.reranker is None else max(top_k, self.rerank_depth)
            limit = max(wide, self.depth) if mode == "hybrid" else wide
            vector = self._by_vector(query, limit, wanted, timings) if mode != "text" else []
            text: list[Match] = []
            if mode != "vector" and words:
                with _timed(timings, "text"):
                    text = self.index.matching(words, limit, wanted)
            with _timed(timings, "fuse"):
                ranked = self._fuse(vector, text, mode)[:wide]
            if self.reranker is not None and ranked:
                with _timed(timings, "rerank"):
                    ranked = reranked(self.reranker, self.index, query, ranked)[:top_k]
            with _timed(timings, "pages"):
                hits = self._hits(ranked, vector, text, words)
        return SearchResults(hits, mode, timings)

    def _words(self, query: Any, mode: str) -> tuple[str, bool]:
        """The words of a query, and whether there is nothing to search for at all."""
        item = parse(query, modalities=("text",) if self.encoder is None else self.encoder.modalities)
        words = " ".join(str(part.value) for part in item.parts if part.modality == "text").strip()
        only_text = all(part.modality == "text" for part in item.parts)
        if mode == "text" and not only_text and not words:
            raise SearchIndexError("a search by words needs words; this query has none (use mode='vector')")
        return words, only_text and not words

    def _by_vector(
        self, query: Any, limit: int, documents: Sequence[str] | None, timings: dict[str, float]
    ) -> list[Match]:
        assert self.encoder is not None
        with _timed(timings, "encode"):
            vector_D = self.encoder.encode_query([query], show_progress=False).numpy()[0]
        with _timed(timings, "vector"):
            return self.index.nearest(vector_D, limit, documents)

    def _fuse(self, vector: list[Match], text: list[Match], mode: str) -> list[tuple[Match, float]]:
        if mode != "hybrid":
            return [(match, match.score) for match in vector or text]
        matches = {match.page_id: match for match in (*vector, *text)}
        rankings = [[match.page_id for match in ranking] for ranking in (vector, text)]
        fused = reciprocal_rank_fusion(rankings, k=self.rrf_k, weights=self.weights)
        return [(matches[page_id], score) for page_id, score in fused]

    def _hits(
        self, ranked: list[tuple[Match, float]], vector: list[Match], text: list[Match], words: str
    ) -> tuple[Hit, ...]:
        vector_ranks = {match.page_id: rank for rank, match in enumerate(vector, start=1)}
        text_ranks = {match.page_id: rank for rank, match in enumerate(text, start=1)}
        pages = self.index.pages([match for match, _ in ranked])
        return tuple(
            Hit(
                rank=rank,
                page_id=page.page_id,
                document=page.document,
                page=page.page,
                score=score,
                vector_rank=vector_ranks.get(page.page_id),
                text_rank=text_ranks.get(page.page_id),
                snippet=snippet(page.text, words),
                image=self.index.image_of(page),
            )
            for rank, ((_, score), page) in enumerate(zip(ranked, pages), start=1)
        )

    def _known(self, documents: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [name for name in documents or () if name not in self.index.documents]
        if unknown:
            near = get_close_matches(unknown[0], self.index.documents, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SearchIndexError(
                f"no document {unknown[0]!r} among the {len(self.index.documents)} of this index{hint}"
            )
        return documents


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = time.perf_counter() - start
