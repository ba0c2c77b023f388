"""Questions in, pages out: the model, the index and the fusion of its rankings.

Shape letters: D vector components.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError
from sightline.search.filters import Filter
from sightline.search.fusing import Fusion, check_weights
from sightline.search.heat import MODELS, HeatMap, HeatSettings, heat_map
from sightline.search.index import SearchIndex, open_index
from sightline.search.matches import Match
from sightline.search.query import Query, as_embeddings, embed_query, read_query
from sightline.search.rerank import check_depth, check_reranker, page_value, reranked
from sightline.search.results import Hit, SearchResults, check_request, document_filter
from sightline.search.snippets import snippet
from sightline.search.word_boxes import PlacedWord, original_of, placed_words

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder
    from sightline.models.page_scores import PageScores
    from sightline.models.reranker import Reranker
    from sightline.search.pages import StoredPage


class Searcher:
    """Searches an index by vectors, by words, or by both. Several threads may search at once.

    Args:
        index: an open index, or its folder.
        encoder: the model that built the index; not needed for searches by words alone.
        fusion: how a hybrid search fuses: "rrf" (reciprocal ranks) or "scores" (normalised scores).
        rrf_k: the k of reciprocal rank fusion.
        weights: weights of the vector and of the full-text ranking in a hybrid search.
        depth: how far down each ranking a hybrid search looks, at least; never less than ``top_k``.
        reranker: puts the best pages of every search into a new order.
        rerank_depth: how many pages it scores, at least; never less than ``top_k``.
        concurrent: the models take questions of several threads at once by themselves; by default they are asked one
            at a time.
        originals: the folder that was ingested, if it has been moved since; heat maps look there for where words stand.

    Raises:
        SearchIndexError: the index cannot be opened, or was built with another model; a fusion that cannot be (see
            `Fusion`); a ``rerank_depth`` below 1, or a reranker that cannot order pages.
    """

    def __init__(
        self,
        index: SearchIndex | str | Path,
        encoder: Encoder | None = None,
        *,
        fusion: str = "rrf",
        rrf_k: float = 60.0,
        weights: tuple[float, float] = (1.0, 1.0),
        depth: int = 100,
        reranker: Reranker | None = None,
        rerank_depth: int = 50,
        concurrent: bool = False,
        originals: str | Path | None = None,
    ) -> None:
        self.index = index if isinstance(index, SearchIndex) else open_index(index)
        if encoder is not None:
            self.index.check_model(encoder)
        self.encoder = encoder
        self.fusion = Fusion(fusion, check_weights(weights), rrf_k)
        self.depth = depth
        self.reranker = reranker
        self.rerank_depth = check_depth(rerank_depth)
        self.originals = None if originals is None else Path(originals)
        # Tokenizers keep settings of a call in themselves.
        self._models: AbstractContextManager[Any] = nullcontext() if concurrent else Lock()
        if reranker is not None:
            check_reranker(reranker)

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
        vector: np.ndarray | None = None,
    ) -> SearchResults:
        """The ``top_k`` pages that answer ``query`` best.

        Args:
            query: text, an image (path, bytes, PIL image), a dict of text and image, or anything else the model
                reads. Text is words only: no character in it is query syntax, and it never names a file. An empty
                text finds nothing. See `search.query` for models that do not take text and image together.
            top_k: pages to return; fewer where there are fewer.
            mode: "vector" compares vectors, "text" matches words (BM25), "hybrid" fuses both rankings. A hybrid
                search for a query without words goes by vectors alone.
            documents: search in these documents only.
            where: search in the pages of which all of this holds.
            weights: of vectors and words in a hybrid search; by default the searcher's.
            rerank: whether the reranker orders the best pages; by default wherever there is one.
            rerank_depth: how many pages it scores; by default the searcher's.
            dim: compare this Matryoshka prefix of the vectors; by default all that is stored.
            vector: the query's vector, where it is known already; then nothing is encoded.

        Raises:
            SearchIndexError: no model for a search by vectors, no words for a search by words, no reranker where one
                is asked for, an unknown document or mode, weights or a dimension that cannot be.
            InputError: a query the model, or the reranker, cannot read.
        """
        check_request(top_k, mode)
        if mode != "text" and self.encoder is None and vector is None:
            raise SearchIndexError(
                f"a {mode} search needs the model; search with mode='text', or load the model"
            )
        fusion = self.fusion if weights is None else replace(self.fusion, weights=check_weights(weights))
        reranker = self._reranker(rerank)
        depth = self.rerank_depth if rerank_depth is None else check_depth(rerank_depth)
        named = document_filter(documents)
        for given in (Filter(documents=named or ()), where):
            self.index.check_filter(given)
        known = _both(named, where)
        self._check_dim(dim)
        timings: dict[str, float] = {}
        with _timed(timings, "total"):
            with _timed(timings, "query"):
                asked = read_query(query, self.encoder, mode=mode)
            if asked.empty or known is None:
                return SearchResults((), mode, timings)
            wide = top_k if reranker is None else max(top_k, depth)
            limit = max(wide, self.depth) if mode == "hybrid" else wide
            near: list[Match] = []
            if mode != "text":
                near = self._by_vector(asked, vector, limit, known, dim, timings)
            worded: list[Match] = []
            if mode != "vector" and asked.words:
                with _timed(timings, "text"):
                    worded = self.index.matching(asked.words, limit, known)
            with _timed(timings, "fuse"):
                ranked = self._fused(near, worded, mode, fusion, limit)[:wide]
            if reranker is not None and ranked:
                with _timed(timings, "rerank"), self._models:
                    ranked = reranked(reranker, self.index, asked.value, ranked)[:top_k]
            with _timed(timings, "pages"):
                hits = self._hits(ranked, near, worded, asked.words)
        return SearchResults(hits, mode, timings, reranked="rerank" in timings)

    def rankings(self, query: Any) -> tuple[list[Match], list[Match]]:
        """The ranking by vectors and the ranking by words, ``depth`` pages each, before they are fused.

        Raises:
            SearchIndexError: no model.
            InputError: a query the model cannot read.
        """
        if self.encoder is None:
            raise SearchIndexError("a ranking by vectors needs the model; load it")
        asked = read_query(query, self.encoder, mode="hybrid")
        if asked.empty:
            return [], []
        near = self._by_vector(asked, None, self.depth, Filter(), None, {})
        return near, self.index.matching(asked.words, self.depth) if asked.words else []

    def explain(
        self,
        query: Any,
        page_id: str,
        *,
        model: str | None = None,
        method: str | None = None,
        dim: int | None = None,
        tiles: int = 48,
        steps: int = 8,
    ) -> HeatMap:
        """Where on a page its score for a question comes from; see `search.heat`.

        Args:
            query: as of `search`.
            page_id: of a page of the index.
            model: "encoder" or "reranker"; by default the encoder, where there is one.
            method: "token similarity" (one pass), "gradient" (``2 * steps + 1`` passes) or "occlusion" (at most
                ``tiles + 1``); by default the first of them that suits the model and the page.
            dim: components of the vectors that are compared; by default all.
            tiles, steps: the cost.

        Raises:
            SearchIndexError: no such page or model, a method that does not suit it, or nothing to show.
            InputError: a query the model cannot read.
            MediaError: the page's image is missing or damaged.
        """
        settings = HeatSettings(method, tiles, steps)
        chosen = model or ("reranker" if self.encoder is None and self.reranker is not None else "encoder")
        if chosen not in MODELS:
            raise SearchIndexError(f"model must be {' or '.join(MODELS)}, not {chosen!r}")
        self._check_dim(dim)
        page = self.index.page(page_id)
        if page is None:
            raise SearchIndexError(f"this index has no page {page_id!r}")
        started = time.perf_counter()
        if read_query(query, None, mode="hybrid").empty:
            raise SearchIndexError("a heat map needs a question; this one is empty")
        with self._models:
            scores, value = self._asked(query, page, chosen, dim)
            found = heat_map(
                scores,
                value,
                words=self._placed_words(page) if "text" in value else [],
                size=(page.width, page.height),
                settings=settings,
            )
        return replace(found, seconds=time.perf_counter() - started)

    def _asked(
        self, query: Any, page: StoredPage, model: str, dim: int | None
    ) -> tuple[PageScores, dict[str, Any]]:
        """A model with the question, and the page as it reads it."""
        from sightline.models.page_scores import EncoderScores, RerankerScores

        if model == "reranker":
            if self.reranker is None:
                raise SearchIndexError("there is no reranker to explain")
            asked = read_query(query, None, mode="vector")
            return RerankerScores(self.reranker, asked.value), page_value(
                self.index, page, self.reranker.modalities
            )
        if self.encoder is None:
            raise SearchIndexError("a heat map needs the model that built the index; load it")
        asked = read_query(query, self.encoder, mode="vector")
        fields = ("text", "image") if self.index.facts.fields == "both" else (self.index.facts.fields,)
        vector = as_embeddings(embed_query(self.encoder, asked))
        scores = EncoderScores(self.encoder, vector, self.index.facts.similarity, dim or self.index.dims[0])
        return scores, page_value(self.index, page, fields)

    def _placed_words(self, page: StoredPage) -> list[PlacedWord]:
        pdf = original_of(self.index.media_root, page.document, self.originals)
        return [] if pdf is None else placed_words(pdf, page.page, page.text)

    def _check_dim(self, dim: int | None) -> None:
        if dim is not None and dim not in self.index.dims:
            known = " or ".join(map(str, self.index.dims))
            raise SearchIndexError(f"this index can be searched with {known} dimensions, not {dim}")

    def _reranker(self, rerank: bool | None) -> Reranker | None:
        if rerank and self.reranker is None:
            raise SearchIndexError("there is no reranker to order pages by; give one, or search without")
        return None if rerank is False else self.reranker

    def _by_vector(
        self,
        query: Query,
        vector: np.ndarray | None,
        limit: int,
        where: Filter,
        dim: int | None,
        timings: dict[str, float],
    ) -> list[Match]:
        if vector is None:
            assert self.encoder is not None
            with _timed(timings, "encode"), self._models:
                vector = embed_query(self.encoder, query)
        with _timed(timings, "vector"):
            return self.index.nearest(vector, limit, where, dim=dim)

    def _fused(
        self, vector: list[Match], text: list[Match], mode: str, fusion: Fusion, limit: int
    ) -> list[tuple[Match, float]]:
        if mode != "hybrid":
            return [(match, match.score) for match in vector or text]
        return fusion.fuse(vector, text, limit=limit, similarity=self.index.facts.similarity)

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
                width=page.width,
                height=page.height,
            )
            for rank, ((_, score), page) in enumerate(zip(ranked, pages), start=1)
        )


def _both(documents: tuple[str, ...] | None, where: Filter | None) -> Filter | None:
    """Both conditions in one; None where no document meets both."""
    where = where or Filter()
    if documents is None:
        return where
    named = tuple(name for name in documents if not where.documents or name in where.documents)
    return replace(where, documents=named) if named else None


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = time.perf_counter() - start
