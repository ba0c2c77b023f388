"""A dataset of PDFs whose pages have words of their own, for questions made from them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings

_SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu")


def word(number: int) -> str:
    """A made-up word; two numbers never share one."""
    digits = [number // 100 % 10, number // 10 % 10, number % 10]
    return "".join(_SYLLABLES[digit] for digit in digits) + "x"


def page_of_words(number: int, count: int = 24) -> str:
    """The text of page ``number``: words that no other page has."""
    own = [word(number * count + position) for position in range(count)]
    return "\n".join(" ".join(own[start : start + 6]) for start in range(0, count, 6))


def word_dataset(work: Path, pages: tuple[int, ...] = (4, 3, 1)) -> Path:
    """A dataset with a PDF of so many pages each, every page with words of its own.

    Returns:
        its folder.
    """
    from reportlab.pdfgen.canvas import Canvas

    (work / "in").mkdir(parents=True)
    number = 0
    for document, count in enumerate(pages):
        canvas = Canvas(str(work / "in" / f"d{document}.pdf"), pagesize=(300, 200), invariant=1)
        for _ in range(count):
            lines = canvas.beginText(10, 150)
            lines.textLines(page_of_words(number))
            canvas.drawText(lines)
            canvas.showPage()
            number += 1
        canvas.save()
    ingest(work / "in", work / "out", settings=IngestSettings(pixels=20_000), workers=1)
    return work / "out"


def image_texts(root: Path) -> dict[str, str]:
    """SHA-256 of each page image -> the page's text, for `support.chat_server.ChatServer`."""
    found = {}
    for page in Dataset.load(root).pages:
        found[hashlib.sha256(Path(page.image).read_bytes()).hexdigest()] = page.text
    return found


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a folder by its path in it."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
