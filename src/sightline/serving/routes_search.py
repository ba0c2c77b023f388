"""``POST /v1/search`` and ``GET /v1/index``."""

from __future__ import annotations

import logging
import time
import uuid

import numpy as np
from fastapi import APIRouter, Request

from sightline.errors import FeedbackError, InputError, MediaError
from sightline.search.filters import Filter
from sightline.search.query import embed_query, read_query
from sightline.search.results import Hit, SearchResults
from sightline.serving.errors import ApiError
from sightline.serving.questions import Question, read_question
from sightline.serving.routes_pages import picture_paths
from sightline.serving.schemas import (
    DocumentBody,
    HitBody,
    IndexAnswer,
    SearchAnswer,
    SearchRequest,
    SnippetBody,
)
from sightline.serving.service import Served, Service

_log = logging.getLogger("sightline.serving")


def router(service: Service) -> APIRouter:
    """Search, and what there is to search in."""
    routes = APIRouter(prefix="/v1", tags=["search"])

    @routes.post("/search", summary="Find the pages that answer a question")
    async def search(request: Request, wanted: SearchRequest) -> SearchAnswer:
        """Pages by meaning, by words, or by both, best first; optionally reordered by a reranker."""
        started = time.perf_counter()
        _check_limits(service, wanted)
        served = await service.served_at(wanted.version)
        question = await read_question(service, wanted.query, wanted.image)
        if service.settings.log_queries:
            request.state.log = {"query": question.text, "image": question.image_hash}
        vector, encoding = None, {}
        if wanted.mode != "text":
            before = time.perf_counter()
            vector = await _vector(served, question)
            encoding = {"encode": time.perf_counter() - before}
        try:
            found = await service.in_thread(
                served.searcher.search,
                question.value,
                top_k=wanted.top_k,
                mode=wanted.mode,
                where=_filter(wanted),
                weights=(wanted.weights.vector, wanted.weights.text) if wanted.weights else None,
                rerank=wanted.rerank,
                rerank_depth=wanted.rerank_depth,
                dim=wanted.dimensions,
                vector=vector,
            )
        except (
            MediaError
        ) as error:  # the question was read before, so it is a page that the reranker cannot read
            _log.exception("a page image cannot be read")
            raise ApiError(503, "the images of some pages cannot be read; search without rerank") from error
        search_id = uuid.uuid4().hex
        await _remember(service, served, search_id, question, found, wanted.session)
        timings = {**encoding, **found.timings, "total": time.perf_counter() - started}
        return SearchAnswer(
            id=search_id,
            query=question.text,
            mode=found.mode,
            version=served.version,
            model=served.model,
            dimensions=wanted.dimensions or served.index.dims[0],
            reranked=found.reranked,
            hits=[_hit(served, hit) for hit in found],
            timings={stage: seconds * 1000 for stage, seconds in timings.items()},
        )

    @routes.get("/index", summary="What is served")
    async def index() -> IndexAnswer:
        """The documents, the model, and what can be asked for."""
        served = service.current
        found = served.index
        documents = await service.in_thread(lambda: found.document_pages)
        first = await service.in_thread(lambda: found.first_pages)
        assert served.engine.encoder is not None
        return IndexAnswer(
            pages=found.facts.pages,
            documents=[
                DocumentBody(name=name, pages=pages, first_page=first[name])
                for name, pages in documents.items()
            ],
            dimensions=list(found.dims),
            model=served.model,
            version=served.version,
            versions=await service.versions(),
            reranker=served.reranker,
            query_modalities=[kind for kind in ("text", "image") if served.engine.encoder.supports(kind)],
            languages=list(await service.in_thread(lambda: found.languages)),
            kinds=list(await service.in_thread(lambda: found.kinds)),
            feedback=service.feedback is not None,
        )

    return routes


def _check_limits(service: Service, wanted: SearchRequest) -> None:
    most = service.settings.max_top_k
    for name, value in (("top_k", wanted.top_k), ("rerank_depth", wanted.rerank_depth or 1)):
        if value > most:
            raise ApiError(400, f"{name} can be at most {most} here", param=name)


def _filter(wanted: SearchRequest) -> Filter | None:
    given = wanted.filters
    if given is None:
        return None
    return Filter(tuple(given.documents), tuple(given.languages), tuple(given.kinds), given.metadata)


async def _vector(served: Served, question: Question) -> np.ndarray | None:
    """The question's vector; None where there is nothing to embed.

    Shares the model's passes with other requests, unless the model embeds text and image of a question apart.
    """
    encoder = served.engine.encoder
    assert encoder is not None
    query = read_query(question.value, encoder, mode="vector")
    if query.empty:
        return None
    kinds = query.item.modalities
    if len(kinds) > 1 and not encoder.supports(kinds):
        return await served.engine.run(lambda: embed_query(encoder, query))
    answer = await served.engine.embedded([query.value], role="query")
    vector: np.ndarray = answer.rows[0]
    return vector


async def _remember(
    service: Service,
    served: Served,
    search_id: str,
    question: Question,
    found: SearchResults,
    session: str | None,
) -> None:
    """Keep what was shown, so that feedback can name it; a search is answered even if that fails.

    A search that found nothing is kept too: what people look for in vain is worth knowing.
    """
    if service.feedback is None or not ((question.text or "").strip() or question.image_hash):
        return
    shown = [(hit.page_id, hit.rank, hit.score) for hit in found]
    facts = served.index.facts
    try:
        await service.in_thread(
            service.feedback.record_search,
            search_id,
            question.text,
            question.image_hash,
            shown,
            facts.version,
            facts.fingerprint,
            found.mode,
            session=session,
        )
    except (FeedbackError, InputError) as error:
        _log.error("a search was not kept for feedback: %s", error)


def _hit(served: Served, hit: Hit) -> HitBody:
    return HitBody(
        rank=hit.rank,
        page_id=hit.page_id,
        document=hit.document,
        page=hit.page,
        score=hit.score,
        vector_rank=hit.vector_rank,
        text_rank=hit.text_rank,
        snippet=SnippetBody(text=hit.snippet.text, highlights=list(hit.snippet.highlights)),
        **picture_paths(served.version, hit.page_id, shown=hit.image is not None),
        width=hit.width,
        height=hit.height,
    )
