"""Page images as clients get them: the file itself, or a smaller copy."""

from __future__ import annotations

import io
import logging
import threading
from collections import OrderedDict
from pathlib import Path

from sightline.errors import MediaError
from sightline.inputs.images import open_image
from sightline.search.index import SearchIndex
from sightline.search.table import StoredPage
from sightline.serving.errors import ApiError

_log = logging.getLogger("sightline.serving")
WIDTHS = (120, 240, 320, 480, 640, 960, 1280)
# What browsers show, by the first bytes of the file; anything else is handed out as PNG.
_SHOWN = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_MAX_FILE_BYTES = 64 * 2**20
_QUALITY = 82
_CACHE_BYTES = 64 * 2**20

Picture = tuple[bytes, str]


def place_of(index: SearchIndex, page: StoredPage) -> Path:
    """Where the image of a page lies.

    A relative path, links followed, must end inside the media root: a data set from elsewhere cannot make the
    service hand out what lies beside it. An absolute one was written by whoever built the index without a media
    root, and is taken as it is.

    Raises:
        ApiError: 404, the page has no image, or it is not where it may be.
    """
    path = index.image_of(page)
    if path is None:
        raise ApiError(404, f"page {page.page_id!r} has no image", param="page_id")
    if not Path(page.image).is_absolute() and not path.resolve().is_relative_to(index.media_root.resolve()):
        _log.warning("the image of page %r lies outside the media root and is not served", page.page_id)
        raise ApiError(404, f"the image of page {page.page_id!r} is not there", param="page_id")
    return path


def whole(index: SearchIndex, page: StoredPage) -> Picture:
    """The image file and its media type.

    Raises:
        ApiError: 404, there is none, or what is there is no image.
    """
    path = place_of(index, page)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ApiError(
                404, f"the image of page {page.page_id!r} is too large to be shown", param="page_id"
            )
        content = path.read_bytes()
    except OSError as error:
        raise _gone(page, error) from error
    kind = _kind(content)
    return (content, kind) if kind else _encoded(content, page, None)


def _kind(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SHOWN.items() if content.startswith(start)), None)


def _encoded(image: bytes | Path, page: StoredPage, width: int | None) -> Picture:
    """The image as PNG, or at a width as JPEG, which is made in half the time WebP takes."""
    from PIL.Image import Resampling

    try:
        if width is None:
            picture = open_image(image, source="the page image")
        else:
            shape = (page.height / page.width) if page.width and page.height else 1.5
            picture = open_image(
                image, source="the page image", target_pixels=round(4 * width * width * shape)
            )
    except MediaError as error:
        raise _gone(page, error) from error
    held = io.BytesIO()
    if width is None:
        picture.save(held, "PNG")
        return held.getvalue(), "image/png"
    if picture.width > width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Resampling.LANCZOS)
    picture.save(held, "JPEG", quality=_QUALITY, optimize=True)
    return held.getvalue(), "image/jpeg"


def _gone(page: StoredPage, error: Exception) -> ApiError:
    _log.warning("the image of page %r cannot be read: %s", page.page_id, error)
    return ApiError(
        404, f"the image of page {page.page_id!r} is not there or cannot be read", param="page_id"
    )


class Thumbnails:
    """Small copies of page images; those asked for last are kept in memory. Thread-safe."""

    def __init__(self, *, max_bytes: int = _CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, str, int], Picture] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, index: SearchIndex, page: StoredPage, width: int) -> Picture:
        """The page's image at the smallest of `WIDTHS` that is at least ``width``, or at its own if that is less.

        Raises:
            ApiError: 404, as of `whole`.
        """
        width = next((known for known in WIDTHS if known >= width), WIDTHS[-1])
        key = (index.facts.version, page.page_id, width)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = _encoded(place_of(index, page), page, width)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made[0])
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                _, (dropped, _) = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
        return made
