"""One file to its pages: page images at the pixel budget and the text layer.

Runs in a worker process, because PDFium and image decoders can crash, hang or eat memory on hostile
files. Sizes are computed before anything is drawn, so a page billions of points high costs nothing.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.documents.records import MAX_ASPECT, MAX_POINTS, MAX_SIDE, IngestSettings, image_location
from sightline.errors import MediaError, SightlineError

if TYPE_CHECKING:
    from PIL.Image import Image

# At quality 90 with full colour resolution print shows no fringes. On 105 pages of real reports a page
# took 170 kB and 3 ms to decode; PNG took 240 kB and 7 ms, lossless WebP 255 kB and 11 ms.
JPEG: dict[str, Any] = {"format": "JPEG", "quality": 90, "subsampling": 0, "optimize": True}


class StorageError(SightlineError):
    """The dataset folder cannot be written, which no other file would change."""


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page as read: its number, its image's hash and size, its raw text; or why it was left out."""

    page: int
    content_hash: str = ""
    width: int = 0
    height: int = 0
    text: str = ""
    error: str = ""


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


def hash_file(path: Path, beat: Callable[[], None]) -> str:
    """SHA-256 of a file; ``beat`` is called now and then, because a big file takes a while."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
            beat()
    return digest.hexdigest()


def check_file(path: Path, settings: IngestSettings) -> None:
    """Refuse what needs no opening.

    Raises:
        MediaError: for an empty or far too big file.
    """
    size = path.stat().st_size
    if size == 0:
        raise MediaError("the file is empty")
    if size > settings.max_file_mb << 20:
        raise MediaError(f"the file has {size >> 20:,} MiB; at most {settings.max_file_mb:,} are read")


def read_pages(path: Path, root: Path, settings: IngestSettings, first: int = 0) -> Iterator[int | RawPage]:
    """The page count of a PDF or an image file, then its pages from page ``first`` on.

    Page images are written under ``root`` as they come.

    Raises:
        MediaError: when the file as a whole cannot be used.
        StorageError: when ``root`` cannot be written.
    """
    with path.open("rb") as file:
        is_pdf = b"%PDF-" in file.read(1024)
    if is_pdf or path.suffix.lower() == ".pdf":
        yield from _read_pdf(path, root, settings, first)
    else:
        yield 1
        yield _read_image(path, root, settings)


def _read_image(path: Path, root: Path, settings: IngestSettings) -> RawPage:
    from PIL.Image import Resampling, registered_extensions

    from sightline.inputs.media import open_image

    try:
        image = open_image(path, target_pixels=settings.pixels)
    except MediaError as error:
        if path.suffix.lower() not in registered_extensions():
            raise MediaError(f"not a supported type (PDF or image): {error.cause_text}") from error
        raise MediaError(error.cause_text) from error
    size = fit(image.width, image.height, settings.pixels)
    if size[0] < image.width:
        image = image.resize(size, Resampling.LANCZOS, reducing_gap=3.0)
    return RawPage(0, save_image(image, root), image.width, image.height)


def _read_pdf(path: Path, root: Path, settings: IngestSettings, first: int) -> Iterator[int | RawPage]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
        count = len(document)
        if document.get_formtype():
            document.init_forms()
    except pypdfium2.PdfiumError as error:
        raise MediaError(_pdf_cause(str(error))) from error
    if count == 0:
        raise MediaError("the PDF has no pages")
    if count > settings.max_pages:
        raise MediaError(f"the PDF has {count:,} pages; at most {settings.max_pages:,} are read")
    yield count
    try:
        for number in range(first, count):
            try:
                yield _read_pdf_page(document, number, root, settings)
            except pypdfium2.PdfiumError as error:
                yield RawPage(number, error=f"cannot be read ({error})")
    finally:
        document.close()


def _read_pdf_page(document: Any, number: int, root: Path, settings: IngestSettings) -> RawPage:
    page = document[number]
    try:
        width, height = page.get_size()
        if max(width, height) > MAX_POINTS:
            raise MediaError(
                f"page {number} (counted from 0) measures {width:.4g} by {height:.4g} points;"
                f" at most {MAX_POINTS:,} are read"
            )
        try:
            columns, rows = fit(width, height, settings.pixels)
        except MediaError as error:
            raise MediaError(f"page {number} (counted from 0): {error.cause_text}") from error
        # PDFium rounds up; a hair less keeps it at the size computed.
        scale = min(columns / width, rows / height) * (1 - 1e-9)
        bitmap = page.render(scale=scale, rev_byteorder=True)
        image = bitmap.to_pil().convert("RGB")
        bitmap.close()
        text_page = page.get_textpage()
        text = text_page.get_text_bounded()
        text_page.close()
    finally:
        page.close()
    return RawPage(number, save_image(image, root), image.width, image.height, text)


def _pdf_cause(message: str) -> str:
    lowered = message.lower()
    if "password" in lowered:
        return "the PDF is encrypted and needs a password; save it without one"
    if "security" in lowered:
        return "the PDF is encrypted in a way that cannot be opened; save it without protection"
    return f"the PDF is broken or not a PDF ({message})"


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
