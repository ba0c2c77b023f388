"""A page on its way from a file to the dataset: its image at the pixel budget, stored under its hash.

Runs in worker processes. Sizes are computed before anything is drawn, so a page billions of points high
costs nothing.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sightline.documents.likeness import perceptual_hash
from sightline.documents.records import MAX_ASPECT, MAX_SIDE, image_location
from sightline.errors import MediaError, SightlineError

if TYPE_CHECKING:
    from PIL.Image import Image

# At quality 90 with full colour resolution print shows no fringes. On 105 pages of real reports a page
# took 170 kB and 3 ms to decode; PNG took 240 kB and 7 ms, lossless WebP 255 kB and 11 ms.
JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90, "subsampling": 0, "optimize": True}


# What text is recognised on, 170 dots to the inch of an A4 page: at the million pixels that a model sees,
# letters of 9 points are 12 pixels high and are misread.
OCR_PIXELS = 2_800_000


class StorageError(SightlineError):
    """The dataset folder cannot be written, which no other file would change."""


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page as read: its number, its image, its raw text; or why it was left out.

    Attributes:
        page: zero-based number.
        content_hash, width, height, image_hash: of the stored image.
        text, source: the file's own text layer, and what kind of file it is from (`Page.text_source`).
        ocr: the text found on the image; ``""`` where none was found, None where none was looked for.
        note: what a person should know of the page, which is kept.
        error: why the page is left out; nothing else is set then.
    """

    page: int
    content_hash: str = ""
    width: int = 0
    height: int = 0
    image_hash: str = ""
    text: str = ""
    source: str = ""
    ocr: str | None = None
    note: str = ""
    error: str = ""


class Recogniser(Protocol):
    """Looks for text on page images."""

    def wants(self, text: str) -> bool:
        """Whether a page with this text layer is to be looked at."""
        ...

    def read(self, page: int, render: Callable[[], Image]) -> tuple[str | None, str]:
        """The text on a page image, None where it could not be looked for, and a note for the person.

        Args:
            page: zero-based number.
            render: makes the image, of about `OCR_PIXELS`.
        """
        ...


def fit(width: float, height: float, pixels: int) -> tuple[int, int]:
    """The largest size in whole pixels within ``pixels`` that keeps the aspect ratio.

    Raises:
        MediaError: for a side of zero, an endless one, or a strip no model could read.
    """
    if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
        raise MediaError(f"a page of {width:g} by {height:g} has no area")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise MediaError(f"a page of {width:g} by {height:g} is a strip longer than {MAX_ASPECT} : 1")
    scale = min(math.sqrt(pixels / (width * height)), MAX_SIDE / max(width, height))
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def make_page(
    number: int,
    image: Image,
    root: Path,
    *,
    text: str = "",
    source: str = "",
    note: str = "",
    recogniser: Recogniser | None = None,
    sharp: Callable[[], Image] | None = None,
) -> RawPage:
    """Store a page image under ``root`` and look for text on it where that is wanted.

    Args:
        number: zero-based page number.
        image: at its final size, RGB.
        text, source, note: as in `RawPage`.
        sharp: renders the page for recognition; without it no text is looked for.

    Raises:
        StorageError: when ``root`` cannot be written.
    """
    content_hash = save_image(image, root)
    ocr: str | None = None
    if recogniser is not None and sharp is not None and recogniser.wants(text):
        ocr, trouble = recogniser.read(number, sharp)
        note = "; ".join(filter(None, (note, trouble)))
    width, height = image.size
    return RawPage(number, content_hash, width, height, perceptual_hash(image), text, source, ocr, note)


def save_image(image: Image, root: Path) -> str:
    """Write a page image once, under the SHA-256 of its file; gives the hash.

    Raises:
        StorageError: when the folder cannot be written.
    """
    buffer = io.BytesIO()
    image.save(buffer, **JPEG)
    data = buffer.getvalue()
    content_hash = hashlib.sha256(data).hexdigest()
    target = root / image_location(content_hash)
    try:
        if target.exists() and target.stat().st_size == len(data):
            return content_hash
        target.parent.mkdir(parents=True, exist_ok=True)
        # Two workers may write the same page at once: each has its own file, and the rename is atomic.
        temporary = target.with_name(f".{os.getpid()}-{content_hash}.tmp")
        temporary.write_bytes(data)
        temporary.replace(target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from error
    return content_hash
