"""Where the words of a page's text stand on the page, from the PDF that the page was made of."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from threading import Lock
from typing import Any

from sightline.documents.store import read_head
from sightline.errors import DataError
from sightline.models.boxes import Box

# Scripts written without spaces: each character counts as a word.
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u0e00-\u0eff"
                   r"\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")  # fmt: skip
# Aligning two texts takes time with the square of their words; pages of books have under 1,000.
_MOST_WORDS = 3_000
_MOST_LETTERS = 60_000
# With fewer of the words found, the PDF is not the one that the text is from.
_LEAST_FOUND = 0.5
_UNITS = 10_000  # of a page's side, for PDFium's whole numbers
_PDFIUM = Lock()  # PDFium takes one thread at a time


@dataclass(frozen=True, slots=True)
class PlacedWord:
    """A word of a page's text: characters ``start`` to ``end``, and where it stands on the page."""

    start: int
    end: int
    box: Box


def original_of(media_root: Path, document: str, originals: Path | None = None) -> Path | None:
    """The PDF that a document of an index was ingested from; None where it is not (or no longer) there.

    Args:
        media_root: the index's; a dataset folder says where its files came from.
        document: its name.
        originals: the folder that was ingested, where it has been moved.
    """
    folder = originals
    if folder is None:
        try:
            folder = Path(str(read_head(media_root)["folder"]))
        except (DataError, OSError, KeyError):
            return None
    path = folder / document
    return path if path.suffix.lower() == ".pdf" and path.is_file() else None


def placed_words(pdf: Path, page: int, text: str) -> list[PlacedWord]:
    """The words of ``text`` that stand on a page of a PDF, in the order of the text; none where it is another text.

    Words that ingestion changed (those cut at a line's end) are left out.

    Args:
        pdf: the file.
        page: zero-based.
        text: the page's, as the index has it.
    """
    import pypdfium2

    wanted = [(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]
    if not wanted or len(wanted) > _MOST_WORDS:
        return []
    with _PDFIUM:
        try:
            document = pypdfium2.PdfDocument(pdf)
        except pypdfium2.PdfiumError:
            return []
        try:
            there = list(_words(document[page])) if page < len(document) else []
        except pypdfium2.PdfiumError:
            return []
        finally:
            document.close()
    if len(there) > _MOST_WORDS:
        return []
    ours, theirs = [_plain(word) for word, _, _ in wanted], [_plain(word) for word, _ in there]
    if ours == theirs:
        blocks = [(0, 0, len(ours))]
    else:
        matched = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
        blocks = [(block.a, block.b, block.size) for block in matched]
    found = [
        PlacedWord(*wanted[first + step][1:], there[second + step][1])
        for first, second, size in blocks
        for step in range(size)
    ]
    return found if len(found) >= _LEAST_FOUND * len(wanted) else []


def _words(page: Any) -> Iterator[tuple[str, Box]]:
    """Words of a PDF page with their boxes, in the order of its text layer."""
    import pypdfium2.raw as pdfium

    layer = page.get_textpage()
    try:
        letters: list[str] = []
        boxes: list[Box] = []
        count = layer.count_chars()
        for number in range(count if count <= _MOST_LETTERS else 0):
            letter = chr(pdfium.FPDFText_GetUnicode(layer, number) or 0x20)
            own = _WORD.fullmatch(letter)
            alone = own is not None and len(_WORD.findall(f"a{letter}")) == 2
            if letters and (own is None or alone):
                yield "".join(letters), _around(boxes)
                letters, boxes = [], []
            if own is None or unicodedata.category(letter) == "Cc":
                continue
            box = _on_page(page, layer.get_charbox(number))
            if alone:
                yield letter, box
            else:
                letters.append(letter)
                boxes.append(box)
        if letters:
            yield "".join(letters), _around(boxes)
    finally:
        layer.close()


def _on_page(page: Any, corners: tuple[float, float, float, float]) -> Box:
    """A box in PDF coordinates as shares of the page as it is shown: cropped, turned, counted from the top."""
    import pypdfium2.raw as pdfium

    found = []
    for x, y in (corners[:2], corners[2:]):
        across, down = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(page, 0, 0, _UNITS, _UNITS, 0, x, y, across, down)
        found.append((across.value / _UNITS, down.value / _UNITS))
    (left, top), (right, bottom) = found
    return Box(min(left, right), min(top, bottom), max(left, right), max(top, bottom))


def _around(boxes: list[Box]) -> Box:
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


def _plain(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()
