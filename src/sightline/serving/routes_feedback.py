"""``/v1/feedback``: what people say of the results of their searches."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from sightline.errors import FeedbackError
from sightline.feedback.records import Mark
from sightline.feedback.store import FeedbackStore, UnknownSearchError
from sightline.serving.errors import ApiError
from sightline.serving.schemas import Body
from sightline.serving.service import Service

SearchId = Annotated[str, Field(min_length=1, max_length=64, description="The `id` of a search's answer.")]


class FeedbackRequest(Body):
    """What a person says of a page, or of all that a search showed."""

    search_id: SearchId
    page_id: Annotated[
        str | None,
        Field(max_length=4096, description="The page; null for `none_relevant` and for taking that back."),
    ] = None
    kind: Annotated[
        Literal["relevant", "not_relevant", "none_relevant", "click", "clear"],
        Field(
            description="`clear` takes back what was said of the page, or of the whole search without one."
        ),
    ]


class FeedbackAnswer(BaseModel):
    """What was kept."""

    id: str


class MarkBody(BaseModel):
    """A mark that holds."""

    id: str
    page_id: str | None
    kind: str
    time: datetime


class MarksAnswer(BaseModel):
    """The marks of a search."""

    search_id: str
    marks: list[MarkBody]


def router(service: Service) -> APIRouter:
    """Marks and clicks, kept in the service's feedback store."""
    routes = APIRouter(prefix="/v1", tags=["feedback"])

    @routes.post("/feedback", status_code=201, summary="Say whether a result is what was looked for")
    async def mark(said: FeedbackRequest) -> FeedbackAnswer:
        """Kept on the disk when the answer comes. A mark takes the place of the one before on the same page."""
        store = _store(service)
        # People reach pages beside those shown; what is in the index may be marked as well.
        index = service.current.index
        elsewhere = said.page_id is not None and await service.in_thread(index.page, said.page_id) is not None
        try:
            made = await service.in_thread(
                store.mark, said.search_id, said.page_id, said.kind, shown_only=not elsewhere
            )
        except UnknownSearchError as error:
            raise _unknown(error) from error
        except FeedbackError as error:
            raise _unavailable() from error
        return FeedbackAnswer(id=made)

    @routes.get("/feedback", summary="What was said of a search")
    async def marks(search_id: Annotated[str, Query(min_length=1, max_length=64)]) -> MarksAnswer:
        """The marks and clicks that hold, in the order in which they were made."""
        try:
            found = await service.in_thread(_store(service).marks, search_id)
        except UnknownSearchError as error:
            raise _unknown(error) from error
        except FeedbackError as error:
            raise _unavailable() from error
        return MarksAnswer(search_id=search_id, marks=list(map(_body, found)))

    return routes


def _store(service: Service) -> FeedbackStore:
    if service.feedback is None:
        raise ApiError(404, "this service keeps no feedback", code="feedback_off")
    return service.feedback


def _unknown(error: UnknownSearchError) -> ApiError:
    return ApiError(404, str(error), code="unknown_search", param="search_id")


def _unavailable() -> ApiError:
    """The reason is the service's own business: it is in its log."""
    return ApiError(503, "feedback cannot be kept now; try again", code="feedback_unavailable", retry_after=5)


def _body(mark: Mark) -> MarkBody:
    return MarkBody(id=mark.id, page_id=mark.page_id, kind=mark.kind, time=mark.time)
