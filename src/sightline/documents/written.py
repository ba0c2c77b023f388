"""Plain text, Markdown and HTML to pages.

Their look is that of `sightline.documents.typeset` on every machine. A web page whose look matters is to be
printed to a PDF by a browser: style sheets, scripts and pictures are not known here.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from sightline.documents.fonts import Fonts
from sightline.documents.kinds import Kind
from sightline.documents.rawpages import RawPage, fit, make_page
from sightline.documents.records import IngestSettings
from sightline.documents.structure import from_html, from_markdown, from_text
from sightline.documents.typeset import PAGE, draw, set_pages
from sightline.errors import MediaError

_GUESS = "is read as Windows-1252, because it is not UTF-8"
MAX_BYTES = 16 << 20  # some 5,000 pages; larger files are logs and dumps
_MAX_CONTROL = 0.01
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)
_READERS = {"text": from_text, "markdown": from_markdown, "html": from_html}


def read_written(
    path: Path, kind: Kind, root: Path, settings: IngestSettings, first: int
) -> Iterator[int | RawPage]:
    """The page count, then the pages from page ``first`` on.

    Raises:
        MediaError: when the file is no text, or has none.
        StorageError: when ``root`` cannot be written.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise MediaError(f"the file has {size >> 20:,} MiB of text; at most {MAX_BYTES >> 20} are read")
    text, guessed = decode(path.read_bytes(), html=kind == "html")
    fonts = Fonts(settings.font)
    pages = set_pages(_READERS[kind](text.replace("\r\n", "\n").replace("\r", "\n")), fonts)
    if not pages:
        raise MediaError("there is no text in it")
    if len(pages) > settings.max_pages:
        raise MediaError(f"the text fills {len(pages):,} pages; at most {settings.max_pages:,} are read")
    yield len(pages)
    for number in range(first, len(pages)):
        note = guessed if number == 0 else ""
        if lacking := fonts.lacking(pages[number].text):
            boxes = (
                f"{lacking:,} characters are drawn as boxes: the font lacks them (another one with --font)"
            )
            note = "; ".join(filter(None, (note, boxes)))
        image = draw(pages[number], fit(*PAGE, settings.pixels), fonts)
        source = "html" if kind == "html" else "text"
        yield make_page(number, image, root, text=pages[number].text, source=source, note=note)


def decode(data: bytes, *, html: bool) -> tuple[str, str]:
    """The text of a file, and a note where its encoding had to be guessed.

    A byte order mark decides, then what an HTML file declares, then whether it is UTF-8; what is none of
    that is read as Windows-1252, which covers western Europe.

    Raises:
        MediaError: when this is no text.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    declared = _DECLARED.search(data[:4096]) if html and not encoding else None
    if declared:
        encoding = _known(declared.group(1).decode("ascii"))
    note = ""
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        note = f"holds bytes that are not {encoding.upper()}" if encoding else _GUESS
        text = data.decode(encoding or "cp1252", "replace")
    if len(_CONTROL.findall(text)) > _MAX_CONTROL * len(text):
        raise MediaError("the file holds binary data, not text")
    return text, note


def _known(name: str) -> str:
    """An encoding's name as Python writes it; ``""`` for one it does not know, or that is none for text."""
    try:
        codec = codecs.lookup(name)
    except LookupError:
        return ""
    # Browsers read both as Windows-1252, which differs in the quotation marks people use.
    if codec.name in ("iso8859-1", "ascii"):
        return "cp1252"
    return (
        codec.name
        if codec.name.startswith(("utf", "cp", "iso", "gb", "big", "euc", "shift", "koi", "mac"))
        else ""
    )
