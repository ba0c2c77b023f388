"""What a file is, by its first bytes where they say so, else by the ending of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["pdf", "image", "office", "html", "markdown", "text"]

# Ending -> what people call it, and the part of LibreOffice that reads it.
OFFICE: dict[str, tuple[str, str]] = {
    ".docx": ("Word", "writer"),
    ".docm": ("Word", "writer"),
    ".doc": ("Word", "writer"),
    ".odt": ("OpenDocument text", "writer"),
    ".rtf": ("rich text", "writer"),
    ".pptx": ("PowerPoint", "impress"),
    ".pptm": ("PowerPoint", "impress"),
    ".ppt": ("PowerPoint", "impress"),
    ".odp": ("OpenDocument presentation", "impress"),
    ".xlsx": ("Excel", "calc"),
    ".xlsm": ("Excel", "calc"),
    ".xls": ("Excel", "calc"),
    ".ods": ("OpenDocument spreadsheet", "calc"),
}
_BY_ENDING: dict[str, Kind] = {
    ".pdf": "pdf",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    **dict.fromkeys(OFFICE, "office"),
}
SUPPORTED = "PDF, image, Office, HTML, Markdown, text"


def kind_of(path: Path) -> Kind:
    """What to read a file as; ``"image"`` where nothing says otherwise, because images have many endings.

    Raises:
        OSError: when it cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(1024)
    if b"%PDF-" in start:
        return "pdf"
    known = _BY_ENDING.get(path.suffix.lower())
    if known is None and start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(
        (b"<!doctype html", b"<html")
    ):
        return "html"
    return known or "image"


def kind_of_page(document: str, text_source: str) -> Kind:
    """What the file of a page was read as, by the document's name and where the page's text is from."""
    named = _BY_ENDING.get(Path(document).suffix.lower())
    if named is not None:
        return named
    # A PDF or a web page by another name; what has no text layer was opened as an image.
    return text_source if text_source in ("pdf", "html") else "image"  # type: ignore[return-value]
