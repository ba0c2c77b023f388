"""``POST /v1/heatmap``: where on a page the answer is."""

from __future__ import annotations

import asyncio
import base64
import logging

import numpy as np
from fastapi import APIRouter

from sightline.errors import MediaError
from sightline.serving.errors import ApiError
from sightline.serving.pictures import place_of
from sightline.serving.questions import read_question
from sightline.serving.routes_pages import stored_page
from sightline.serving.schemas import HeatmapAnswer, HeatmapRequest
from sightline.serving.service import Service

_log = logging.getLogger("sightline.serving")
# Each keeps the model from others for up to some dozen passes, so few may wait for it.
_AT_ONCE = 4


def router(service: Service) -> APIRouter:
    """Heat over page images."""
    routes = APIRouter(prefix="/v1", tags=["pages"])
    turns = asyncio.Semaphore(_AT_ONCE)

    @routes.post("/heatmap", summary="Where on the page")
    async def heatmap(wanted: HeatmapRequest) -> HeatmapAnswer:
        """How much each part of a page image speaks for the page as an answer to the question.

        It is computed now, by the model that others are waiting for, in one pass over the page to some dozens:
        `method` says how.
        """
        served = await service.served_at(wanted.version)
        question = await read_question(service, wanted.query, wanted.image)
        index = served.index
        page = await service.in_thread(stored_page, index, wanted.page_id)
        if page.image:
            await service.in_thread(place_of, index, page)
        if turns.locked():
            raise ApiError(429, "other heat maps are being made; try again", retry_after=2)
        try:
            async with turns:
                heat = await served.engine.run(
                    lambda: served.explainer.explain(question.value, page.page_id, dim=wanted.dimensions)
                )
        except MediaError as error:
            _log.exception("no heat map of page %r", page.page_id)
            raise ApiError(400, "the image of the page, or of the question, cannot be read") from error
        height, width = heat.values_HW.shape
        values = np.clip(np.rint(heat.values_HW * 255), 0, 255).astype(np.uint8)
        return HeatmapAnswer(
            method=heat.method,
            model=heat.model,
            width=width,
            height=height,
            values=base64.b64encode(values.tobytes()).decode("ascii"),
            milliseconds=heat.seconds * 1000,
        )

    return routes
