"""``GET /v1/page``, its image and its thumbnail."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from sightline.search.index import SearchIndex
from sightline.search.table import StoredPage
from sightline.serving.errors import ApiError
from sightline.serving.pictures import WIDTHS, Picture, Thumbnails, whole
from sightline.serving.schemas import PageAnswer, VersionName
from sightline.serving.service import Service

PageId = Annotated[str, Query(min_length=1, max_length=4096, description="As search gives it.")]
Version = Annotated[VersionName, Query()]
Width = Annotated[
    int, Query(ge=1, le=WIDTHS[-1], description=f"Rounded up to one of {', '.join(map(str, WIDTHS))}.")
]
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}, "description": "The picture."},
    304: {"description": "As you have it."},
}


def router(service: Service) -> APIRouter:
    """Pages: what is on them and how they look."""
    routes = APIRouter(prefix="/v1", tags=["pages"])
    thumbnails = Thumbnails()

    @routes.get("/page", summary="One page")
    async def page(page_id: PageId, version: Version = None) -> PageAnswer:
        """The page's text, its image, and its neighbours in the document."""
        index = await service.index_at(version)
        found, before, after = await service.in_thread(_with_neighbours, index, page_id)
        return PageAnswer(
            page_id=found.page_id,
            document=found.document,
            page=found.page,
            width=found.width,
            height=found.height,
            text=found.text,
            **picture_paths(index.facts.version, found.page_id, shown=bool(found.image)),
            previous=before,
            next=after,
        )

    @routes.get("/page/image", summary="The image of a page", response_class=Response, responses=_PICTURE)
    async def image(request: Request, page_id: PageId, version: Version = None) -> Response:
        """The page image as it was indexed."""
        index = await service.index_at(version)
        name = _tag(index, page_id, "whole")
        if _known(request, name):
            return _answer(None, name)
        found = await service.in_thread(stored_page, index, page_id)
        return _answer(await service.in_thread(whole, index, found), name)

    @routes.get("/page/thumbnail", summary="A small copy of it", response_class=Response, responses=_PICTURE)
    async def thumbnail(
        request: Request, page_id: PageId, width: Width = 320, version: Version = None
    ) -> Response:
        """The page image made smaller, as JPEG."""
        index = await service.index_at(version)
        name = _tag(index, page_id, str(width))
        if _known(request, name):
            return _answer(None, name)
        found = await service.in_thread(stored_page, index, page_id)
        return _answer(await service.on_picture_thread(thumbnails.get, index, found, width), name)

    return routes


def picture_paths(version: str, page_id: str, *, shown: bool) -> dict[str, str | None]:
    """Paths of a page's image and thumbnail on this service; of one version, so that they can be kept for long."""
    place = urlencode({"page_id": page_id, "version": version})
    return {
        "image": f"/v1/page/image?{place}" if shown else None,
        "thumbnail": f"/v1/page/thumbnail?{place}" if shown else None,
    }


def stored_page(index: SearchIndex, page_id: str) -> StoredPage:
    """The page of an id.

    Raises:
        ApiError: 404, there is none.
    """
    found = index.page(page_id)
    if found is None:
        raise ApiError(404, f"there is no page {page_id[:200]!r}", param="page_id")
    return found


def _with_neighbours(index: SearchIndex, page_id: str) -> tuple[StoredPage, str | None, str | None]:
    found = stored_page(index, page_id)
    ids = [page.page_id for page in index.pages_of(found.document)]
    place = ids.index(found.page_id)
    return found, ids[place - 1] if place else None, ids[place + 1] if place + 1 < len(ids) else None


def _tag(index: SearchIndex, page_id: str, what: str) -> str:
    """An ETag: pages of a version never change."""
    digest = hashlib.sha256(page_id.encode("utf-8", "replace")).hexdigest()[:32]
    return f'"{index.facts.version}-{what}-{digest}"'


def _known(request: Request, name: str) -> bool:
    return name in (part.strip() for part in request.headers.get("if-none-match", "").split(","))


def _answer(picture: Picture | None, name: str) -> Response:
    headers = {"ETag": name, "Cache-Control": "private, max-age=86400, immutable"}
    if picture is None:
        return Response(status_code=304, headers=headers)
    return Response(picture[0], media_type=picture[1], headers=headers)
