"""``POST /v1/rerank`` and ``/v2/rerank`` in Cohere's schema, which is also Jina's.

Shape letters: N documents.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from torch import nn

from sightline.inputs.pairs import parse_pair
from sightline.models.reranker import Reranker
from sightline.serving.embedding_schemas import Fields, ImagePart, ImageUrl, TextPart
from sightline.serving.errors import ApiError
from sightline.serving.inputs import Reader, check_count, told_to_client
from sightline.serving.rerank_schemas import (
    DocumentFields,
    RerankAnswer,
    RerankRequest,
    RerankResult,
    RerankUsage,
)
from sightline.serving.routes_embeddings import unknown_model
from sightline.serving.service import Served, Service
from sightline.types import Item, Part

# Activations whose values are between 0 and 1 already.
_SHARES = (nn.Sigmoid, nn.Softmax)
# Documents above which a request is read on another thread, so that others do not wait for it.
_FEW = 32
_SUMMARY = "Order documents by their fit to a query"


def router(service: Service) -> APIRouter:
    """Reranking, at the paths of both versions of Cohere's API."""
    routes = APIRouter(tags=["models"])

    @routes.post("/v1/rerank", summary=_SUMMARY, response_model_exclude_none=True)
    @routes.post("/v2/rerank", summary=_SUMMARY, response_model_exclude_none=True)
    async def rerank(wanted: RerankRequest) -> RerankAnswer:
        """Documents (texts, or images where the reranker reads them), best first."""
        served = service.current
        reranker = _reranker(served, wanted)
        check_count(len(wanted.documents), service.settings, "documents")
        if len(wanted.documents) > _FEW or not all(isinstance(one, str) for one in wanted.documents):
            pairs = await service.in_thread(_pairs, service, reranker, wanted)
        else:
            pairs = _pairs(service, reranker, wanted)
        with told_to_client("documents"):
            answer = await served.engine.scored(pairs)
        scores_N = _relevance(reranker, served.engine.scores(answer))
        order = np.argsort(-scores_N, kind="stable")[: wanted.top_n]
        return RerankAnswer(
            id=uuid.uuid4().hex,
            model=served.reranker or "",
            results=[
                RerankResult(
                    index=int(number),
                    relevance_score=float(scores_N[number]),
                    document=_shown(wanted.documents[number]) if wanted.return_documents else None,
                )
                for number in order
            ],
            meta={
                "api_version": {"version": "2"},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": answer.tokens},
            },
            usage=RerankUsage(prompt_tokens=answer.tokens, total_tokens=answer.tokens),
        )

    return routes


def _reranker(served: Served, wanted: RerankRequest) -> Reranker:
    reranker = served.engine.reranker
    if reranker is None:
        raise ApiError(501, "this service has no reranker; its owner can give it one with --reranker")
    if reranker.num_labels != 1:
        raise ApiError(501, "this service's reranker gives several scores per pair, so it makes no order")
    if wanted.model is not None and wanted.model != served.reranker:
        raise unknown_model(wanted.model, [served.reranker or ""])
    return reranker


def _pairs(service: Service, reranker: Reranker, wanted: RerankRequest) -> list[Item]:
    reader, taken = Reader(service.settings, "document"), reranker.modalities
    query = _side(reader, _parts(reader, wanted.query, None, "query"), taken, "query", "the query")
    return [
        parse_pair(
            (
                query,
                _side(
                    reader,
                    _parts(reader, document, wanted.rank_fields, "documents"),
                    taken,
                    "documents",
                    f"document {number}",
                ),
            ),
            source=f"document {number}",
            modalities=taken,
        )
        for number, document in enumerate(wanted.documents)
    ]


def _side(reader: Reader, parts: Sequence[Part], taken: Sequence[str], param: str, name: str) -> Item:
    missing = sorted({part.modality for part in parts} - set(taken))
    if missing:
        raise ApiError(
            400, f"{name} is {' and '.join(missing)}; this reranker reads {' and '.join(taken)}", param=param
        )
    return reader.item(parts, 0)


def _parts(
    reader: Reader,
    value: str | Fields | TextPart | ImagePart | DocumentFields,
    fields: Sequence[str] | None,
    param: str,
) -> list[Part]:
    if isinstance(value, str):
        return [reader.text(value, param)]
    if isinstance(value, TextPart):
        return [reader.text(value.text, param)]
    if isinstance(value, ImagePart):
        place = value.image_url
        return [reader.image(place.url if isinstance(place, ImageUrl) else place, param)]
    if fields and isinstance(value, DocumentFields):
        known = value.model_dump()
        text = "\n".join(str(known[name]) for name in fields if known.get(name) is not None)
        return [reader.text(text, param)]
    found = [] if value.text is None else [reader.text(value.text, param)]
    if value.image is not None:
        found.append(reader.image(value.image, param))
    if not found:
        raise ApiError(
            400, "a document needs text or image, or rank_fields that name its fields", param=param
        )
    return found


def _relevance(reranker: Reranker, scores_N: np.ndarray) -> np.ndarray:
    """Scores from 0 to 1 in the same order: the model's own where they are, else their sigmoid."""
    if isinstance(reranker.activation, _SHARES):
        return scores_N
    wide_N = scores_N.astype(np.float64)
    share: np.ndarray = 1 / (1 + np.exp(-np.clip(wide_N, -700, 700)))
    return share


def _shown(document: str | TextPart | ImagePart | DocumentFields) -> dict[str, Any]:
    """A document as it came; a text as an object, as Cohere gives it back."""
    return {"text": document} if isinstance(document, str) else document.model_dump(exclude_none=True)
