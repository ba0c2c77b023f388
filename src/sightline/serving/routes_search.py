"""``POST /v1/search`` and ``GET /v1/index``."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request

from sightline.search.results import Hit
from sightline.search.words import clean
from sightline.serving.errors import ApiError
from sightline.serving.schemas import (
    DocumentBody,
    HitBody,
    IndexAnswer,
    SearchAnswer,
    SearchRequest,
    SnippetBody,
)
from sightline.serving.service import Served, Service


def router(service: Service) -> APIRouter:
    """Search, and what there is to search in."""
    routes = APIRouter(tags=["search"])

    @routes.post("/search", summary="Find the pages that answer a question")
    async def search(request: Request, wanted: SearchRequest) -> SearchAnswer:
        """Pages by meaning, by words, or by both, best first; optionally reordered by a reranker."""
        served = service.current
        query = _query(service, wanted)
        _check_limits(service, wanted)
        if service.settings.log_queries:
            request.state.log = {"query": wanted.query}
        found = await service.in_thread(
            served.searcher.search,
            query,
            top_k=wanted.top_k,
            mode=wanted.mode,
            documents=wanted.filters.documents or None if wanted.filters else None,
        )
        return SearchAnswer(
            id=uuid.uuid4().hex,
            query=query.get("text"),
            mode=found.mode,
            version=served.version,
            model=served.model,
            dimensions=wanted.dimensions or served.index.facts.dim,
            reranked="rerank" in found.timings,
            hits=[_hit(served, hit) for hit in found],
            timings={stage: seconds * 1000 for stage, seconds in found.timings.items()},
        )

    @routes.get("/index", summary="What is served")
    async def index() -> IndexAnswer:
        """The documents, the model, and what can be asked for."""
        served = service.current
        facts = served.index.facts
        return IndexAnswer(
            pages=facts.pages,
            documents=[DocumentBody(name=name, pages=0) for name in served.index.documents],
            dimensions=[facts.dim],
            model=served.model,
            version=served.version,
            versions=[served.version],
            reranker=served.reranker,
            query_modalities=[],
            languages=[],
            kinds=[],
            feedback=False,
        )

    return routes


def _query(service: Service, wanted: SearchRequest) -> dict[str, Any]:
    """The question as a dict of modalities, so that no text of it is taken for a file or a URL."""
    query: dict[str, Any] = {}
    if wanted.query is not None:
        if len(wanted.query) > service.settings.max_characters:
            raise ApiError(
                413, f"the query is longer than {service.settings.max_characters:,} characters", param="query"
            )
        query["text"] = clean(wanted.query)
    if not query:
        raise ApiError(400, "give a query, an image, or both", param="query")
    return query


def _check_limits(service: Service, wanted: SearchRequest) -> None:
    for name, value in (("top_k", wanted.top_k), ("rerank_depth", wanted.rerank_depth or 1)):
        if value > service.settings.max_top_k:
            raise ApiError(400, f"{name} can be at most {service.settings.max_top_k} here", param=name)


def _hit(served: Served, hit: Hit) -> HitBody:
    place = urlencode({"page_id": hit.page_id, "version": served.version})
    shown = hit.image is not None
    return HitBody(
        rank=hit.rank,
        page_id=hit.page_id,
        document=hit.document,
        page=hit.page,
        score=hit.score,
        vector_rank=hit.vector_rank,
        text_rank=hit.text_rank,
        snippet=SnippetBody(text=hit.snippet.text, highlights=list(hit.snippet.highlights)),
        image=f"/v1/page/image?{place}" if shown else None,
        thumbnail=f"/v1/page/thumbnail?{place}" if shown else None,
        width=0,
        height=0,
    )
