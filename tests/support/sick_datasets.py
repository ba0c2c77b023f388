"""Datasets with as much wrong with them as a test wants, written without ingestion, which would refuse most of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sightline.documents import store
from sightline.documents.records import Document, Page, Question, image_location, page_id

WORDS = (
    "pump valve seal rotor bearing casing shaft motor flange gasket nozzle filter sensor relay switch cable "
    "drain inlet outlet pressure torque speed flow level limit alarm manual service winter summer"
)


def text_of(number: int, words: int = 40) -> str:
    """A text of its own for each number."""
    chance = np.random.default_rng(number)
    return " ".join(chance.choice(WORDS.split(), words).tolist())


def picture(number: int, size: tuple[int, int] = (240, 320)) -> Image.Image:
    """A page of its own for each number: bars where lines would be."""
    chance = np.random.default_rng(number)
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for line in range(12):
        left, right = np.sort(chance.integers(20, size[0] - 20, 2))
        top = 20 + line * 24
        draw.rectangle((int(left), top, int(right) + 4, top + 10), fill=int(chance.integers(0, 90)))
    return page


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def page(root: Path, document: str, number: int, content: bytes, text: str, **values: Any) -> Page:
    """A page whose image file is written."""
    digest = hashlib.sha256(content).hexdigest()
    place = root / image_location(digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    source = "pdf" if text else "none"
    facts = (page_id(document, number), document, number, image_location(digest), width, height)
    return Page(*facts, text, digest, source, **values)


class Builder:
    """Collects documents and questions; `write` makes the dataset.

    Args:
        root: the dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.documents: list[Document] = []
        self.questions: list[Question] = []

    def document(self, name: str, split: str, pages: Sequence[tuple[bytes, str]]) -> None:
        made = tuple(
            page(self.root, name, number, content, text) for number, (content, text) in enumerate(pages)
        )
        self.documents.append(Document(name, f"/in/{name}", "", len(made), "ok", "", made, split))

    def ask(self, name: str, query: str, document: str, *pages: int) -> None:
        split = next((item.split for item in self.documents if item.document == document), None)
        self.questions.append(Question(name, query, document, pages, split))

    def write(self) -> Path:
        head = {"created_by": "a test", "folder": "/in", "made_by": {}, "settings": {}, "counts": {}}
        store.write_dataset(self.root, self.documents, self.questions, head)
        return self.root


def healthy(root: Path) -> Builder:
    """Four documents of two pages, two of them held out, with a question about each page."""
    builder = Builder(root)
    for number in range(4):
        name, split = f"{'abcd'[number]}.pdf", "train" if number < 2 else "test"
        pages = [(jpeg(picture(2 * number + place)), text_of(2 * number + place)) for place in range(2)]
        builder.document(name, split, pages)
        for place in range(2):
            builder.ask(
                f"q{2 * number + place}", f"What of {text_of(100 + 2 * number + place, 6)}", name, place
            )
    return builder
