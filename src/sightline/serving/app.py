"""The application: routes, what stands in front of them, and what runs beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from sightline import __version__
from sightline.serving import (
    routes_embeddings,
    routes_feedback,
    routes_health,
    routes_heatmap,
    routes_pages,
    routes_rerank,
    routes_runs,
    routes_search,
    static,
)
from sightline.serving.errors import ErrorBody, handle_errors
from sightline.serving.gate import Gate
from sightline.serving.metrics import Metrics
from sightline.serving.observe import Observe
from sightline.serving.service import Service

_log = logging.getLogger("sightline.serving")
_ROUTES = (
    routes_search,
    routes_pages,
    routes_heatmap,
    routes_feedback,
    routes_embeddings,
    routes_rerank,
    routes_runs,
)
_DESCRIPTION = """\
Search over the pages of documents, and the embedding and reranking models behind it.

* Every error has the shape `{"error": {"message", "type", "code", "param", "request_id"}}`.
* 429 and 503 carry `Retry-After`.
* Where the service asks for a key, send it as `Authorization: Bearer KEY`, `X-Api-Key: KEY` or `Api-Key: KEY`.
* A string in a request is text and nothing else: paths and URLs in it are never opened. Images come as data URIs
  or as uploaded parts.
"""


def create_app(service: Service) -> FastAPI:
    """The application that serves ``service``; when it starts it loads what is not loaded yet."""
    metrics = Metrics(service)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_run(service))
        yield
        service.draining = True
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await service.close()

    app = FastAPI(
        title="Sightline",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages of documentation load scripts from elsewhere
        redoc_url=None,
        responses={"default": {"model": ErrorBody, "description": "An error, and what to do about it."}},
    )
    for routes in _ROUTES:
        app.include_router(routes.router(service))
    app.include_router(routes_health.router(service, metrics))
    app.mount("/", static.files())
    handle_errors(app)
    app.add_middleware(Gate, service=service)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Api-Key", "Api-Key", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(Observe, metrics=metrics, settings=service.settings)
    return app


async def _run(service: Service) -> None:
    try:
        await service.start()
    except Exception as error:  # told to whoever runs the server, who ends it
        service.failure = error
        _log.error("nothing can be served: %s", error)
        return
    await service.follow()
