"""The pages of a PDF, rendered and read by PDFium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.documents.rawpages import OCR_PIXELS, RawPage, Recogniser, fit, make_page
from sightline.documents.records import MAX_POINTS, IngestSettings
from sightline.errors import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image


def read_pdf(
    path: Path, root: Path, settings: IngestSettings, first: int, recogniser: Recogniser | None, source: str
) -> Iterator[int | RawPage]:
    """The page count, then the pages from page ``first`` on.

    Args:
        path: of the PDF.
        root: the dataset folder, which the page images go to.
        settings: sizes and limits.
        first: zero-based.
        recogniser: for pages without a text layer.
        source: the `Page.text_source` of its text layer.

    Raises:
        MediaError: when the file as a whole, or the size of one of its pages, cannot be used.
        StorageError: when ``root`` cannot be written.
    """
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
        count = len(document)
        if document.get_formtype():
            document.init_forms()
    except pypdfium2.PdfiumError as error:
        raise MediaError(_cause(str(error))) from error
    if count == 0:
        raise MediaError("the PDF has no pages")
    if count > settings.max_pages:
        raise MediaError(f"the PDF has {count:,} pages; at most {settings.max_pages:,} are read")
    yield count
    try:
        for number in range(first, count):
            try:
                yield _read_page(document, number, root, settings, recogniser, source)
            except pypdfium2.PdfiumError as error:
                yield RawPage(number, error=f"cannot be read ({error})")
    finally:
        document.close()


def _read_page(
    document: Any,
    number: int,
    root: Path,
    settings: IngestSettings,
    recogniser: Recogniser | None,
    source: str,
) -> RawPage:
    page = document[number]
    try:
        width, height = page.get_size()
        if max(width, height) > MAX_POINTS:
            raise MediaError(
                f"page {number} (counted from 0) measures {width:.4g} by {height:.4g} points;"
                f" at most {MAX_POINTS:,} are read"
            )
        try:
            image = render(page, settings.pixels)
        except MediaError as error:
            raise MediaError(f"page {number} (counted from 0): {error.cause_text}") from error
        text_page = page.get_textpage()
        text = text_page.get_text_bounded()
        text_page.close()
        return make_page(
            number,
            image,
            root,
            text=text,
            source=source,
            recogniser=recogniser,
            sharp=lambda: render(page, OCR_PIXELS),
        )
    finally:
        page.close()


def render(page: Any, pixels: int) -> Image:
    """A PDFium page as an RGB image of at most ``pixels``.

    Raises:
        MediaError: for a page without area.
    """
    width, height = page.get_size()
    columns, rows = fit(width, height, pixels)
    # PDFium rounds up; a hair less keeps it at the size computed.
    scale = min(columns / width, rows / height) * (1 - 1e-9)
    bitmap = page.render(scale=scale, rev_byteorder=True)
    image: Image = bitmap.to_pil().convert("RGB")
    bitmap.close()
    return image


def _cause(message: str) -> str:
    lowered = message.lower()
    if "password" in lowered:
        return "the PDF is encrypted and needs a password; save it without one"
    if "security" in lowered:
        return "the PDF is encrypted in a way that cannot be opened; save it without protection"
    return f"the PDF is broken or not a PDF ({message})"
