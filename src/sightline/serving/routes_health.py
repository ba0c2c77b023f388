"""Whether the service lives, whether it can answer, and how it is doing."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel

from sightline.serving.errors import ApiError
from sightline.serving.metrics import Metrics
from sightline.serving.service import Service


class Health(BaseModel):
    """The service is there."""

    status: str


def router(service: Service, metrics: Metrics) -> APIRouter:
    """``/healthz``, ``/readyz`` and ``/metrics``."""
    routes = APIRouter(tags=["operation"])

    @routes.get("/healthz", summary="Is the process alive?")
    async def healthz() -> Health:
        """Answers as long as the process can; a liveness probe."""
        return Health(status="ok")

    @routes.get("/readyz", summary="Can it answer?")
    async def readyz() -> Health:
        """503 while the model loads and while the service shuts down; a readiness probe."""
        if service.draining:
            raise ApiError(503, "the service is shutting down", code="draining", retry_after=5)
        return Health(status=f"serving {service.current.version}")

    @routes.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics_page() -> Response:
        """In Prometheus' text format. Needs a key where the API does."""
        return Response(metrics.page(), media_type=metrics.media_type)

    return routes
