"""A file on its way through the worker processes, and the record it ends as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.documents.language import document_language, page_language
from sightline.documents.rawpages import RawPage
from sightline.documents.records import (
    Document,
    Page,
    RecognisedText,
    image_location,
    page_id,
    plain_name,
)
from sightline.documents.text import normalise


@dataclass
class Task:
    """A file to read, and what is known of it so far.

    Attributes:
        document, path: its id and where it lies.
        known: its record of an earlier run with the same settings.
        recognised: texts by page that an unfinished run found in it.
        ocr: what `Document.ocr` says where text is looked for; ``""`` where none is.
        given_up: why no text is looked for on a page, by page.
        busy_page: the page whose text is being recognised, None for none.
        converter: the program that makes a PDF of it first.
        lost: pages that were lost to a hang or a crash.
    """

    document: str
    path: Path
    known: Document | None = None
    recognised: Mapping[int, RecognisedText] = field(default_factory=dict)
    ocr: str = ""
    sha256: str = ""
    count: int = 0
    pages: dict[int, RawPage] = field(default_factory=dict)
    given_up: dict[int, str] = field(default_factory=dict)
    busy_page: int | None = None
    converter: str = ""
    lost: int = 0

    @property
    def next_page(self) -> int:
        return len(self.pages)

    def message(self) -> dict[str, Any]:
        """What a worker has to know of it."""
        known = self.known if self.known is not None and self.known.status == "ok" else None
        recognised: dict[str, dict[int, str]] = {}
        for page, found in self.recognised.items():
            if found.ocr == self.ocr:
                recognised.setdefault(found.sha256, {})[page] = found.text
        return {
            "path": str(self.path),
            "first": self.next_page,
            "sha256": self.sha256,
            "known": known.sha256 if known else None,
            "images": sorted({page.image for page in known.pages}) if known else [],
            "recognised": recognised,
            "given_up": self.given_up,
        }

    def take(self, raw: RawPage) -> RecognisedText | None:
        """A page that a worker has read; what is new to the journal of it."""
        self.pages[raw.page] = raw
        busy, self.busy_page = self.busy_page, None
        if busy is None or raw.ocr is None:
            return None
        return RecognisedText(self.document, self.sha256, raw.page, self.ocr, raw.ocr)

    def refused(self, error: str) -> Document:
        readable = error.encode("utf-8", "backslashreplace").decode()  # it may quote a name that is not UTF-8
        return Document(self.document, plain_name(self.path), self.sha256, self.count, "skipped", readable)

    def finished(self, error: str) -> Document:
        """The record of the file after its last page."""
        if error:
            return self.refused(error)
        raws = [self.pages[number] for number in sorted(self.pages)]
        notes = [f"page {raw.page} (counted from 0) {raw.error or raw.note}" for raw in raws]
        notes = [note for raw, note in zip(raws, notes) if raw.error or raw.note]
        good = [raw for raw in raws if not raw.error]
        if not good:
            return self.refused("; ".join(notes[:3]) or "no page in it can be read")
        texts = normalise([raw.ocr or raw.text for raw in good])
        pages = tuple(_page(self.document, raw, text) for raw, text in zip(good, texts))
        return Document(
            self.document,
            plain_name(self.path),
            self.sha256,
            self.count,
            error=_shorten(notes),
            pages=pages,
            language=document_language([(page.language, page.text) for page in pages]),
            converter=self.converter,
            ocr=self.ocr if looked_for_text(pages, self.ocr) else "",
        )


def looked_for_text(pages: Sequence[Page], ocr: str) -> bool:
    """Whether text is looked for on any of these pages by this mode and engine (`Document.ocr`)."""
    without = ("none", "ocr", "pdf") if ocr.startswith("all") else ("none", "ocr")
    return bool(ocr) and any(page.text_source in without for page in pages)


def _page(document: str, raw: RawPage, text: str) -> Page:
    return Page(
        page_id=page_id(document, raw.page),
        document=document,
        page=raw.page,
        image=image_location(raw.content_hash),
        width=raw.width,
        height=raw.height,
        text=text,
        content_hash=raw.content_hash,
        text_source=("ocr" if raw.ocr else raw.source) if text else "none",
        language=page_language(text),
        image_hash=raw.image_hash,
    )


def _shorten(notes: Sequence[str]) -> str:
    rest = f"; and {len(notes) - 10} more pages" if len(notes) > 10 else ""
    return "; ".join(notes[:10]) + rest
