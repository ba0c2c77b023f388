"""Thumbnails inside the report's HTML, as small as they can be read, and only so many."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from html import escape
from pathlib import Path

Thumbnails = Callable[[str], Path | None]

SIZE = (220, 300)
BUDGET = 4_000_000
"""Characters of HTML that all pictures of a report take together."""


class Pictures:
    """The pages' pictures, until the budget is spent.

    Args:
        thumbnails: page id -> image file, None where there is none.
        budget: characters of HTML.

    Attributes:
        left_out: pictures that were asked for when the budget was spent.
    """

    def __init__(self, thumbnails: Thumbnails | None, budget: int = BUDGET) -> None:
        self.left_out = 0
        self._thumbnails = thumbnails
        self._left = budget
        self._made: dict[str, str | None] = {}

    def image(self, page_id: str, describe: str) -> str:
        """An ``img`` of a page, or a box that says why there is none.

        Args:
            page_id: which page.
            describe: what it shows, for screen readers.
        """
        if page_id not in self._made:
            path = self._thumbnails(page_id) if self._thumbnails and self._left > 0 else None
            if path is None and self._left <= 0:
                self.left_out += 1
                return '<div class="blank">left out</div>'
            self._made[page_id] = thumbnail_uri(path) if path else None
        uri = self._made[page_id]
        if uri is None:
            return '<div class="blank">no picture</div>'
        if len(uri) > self._left:
            self._left = 0
            self.left_out += 1
            return '<div class="blank">left out</div>'
        self._left -= len(uri)
        return f'<img src="{uri}" alt="{escape(describe)}">'

    def note(self) -> str:
        """What the reader should know about pictures that are missing; empty where none is."""
        if not self.left_out:
            return ""
        return f"{self.left_out:,} more pictures of pages are left out, so that this file stays small."


def thumbnail_uri(path: Path, size: tuple[int, int] = SIZE) -> str | None:
    """The image as a small JPEG data URI; None where the file cannot be read as an image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft("RGB", size)  # JPEGs are decoded at the nearest smaller scale
            image.thumbnail(size)
            flat = Image.new("RGB", image.size, "white")
            rgba = image.convert("RGBA")
            flat.paste(rgba, mask=rgba.getchannel("A"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    flat.save(buffer, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
