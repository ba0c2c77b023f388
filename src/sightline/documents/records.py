"""What ingestion knows of a document, a page and a question, and the settings that made them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from sightline.errors import ConfigError

Status = Literal["ok", "skipped"]
OcrMode = Literal["none", "missing", "all"]
OCR_MODES: tuple[OcrMode, ...] = ("none", "missing", "all")
SPLITS = ("train", "validation", "test")
PERSON = "person"  # the origin of questions that nobody calls made
FEEDBACK = "feedback"  # that of questions people asked a search, answered by their marks and clicks

# Processors of vision-language models (Qwen's smart_resize among them) refuse longer strips than this.
MAX_ASPECT = 200
# JPEG's own limit is 65,535 pixels per side.
MAX_SIDE = 65_500
# 50 metres at 72 points to the inch; the PDF format itself stops at 14,400 units.
MAX_POINTS = 144_000
# Raised when the same file and settings would give another page; older pages are then made again.
PAGES_VERSION = 2


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """How files become pages.

    Attributes:
        pixels: the most pixels a page image has. PDF pages are rendered to this size, images are only
            ever made smaller; the aspect ratio is kept.
        page_seconds: a page that takes longer is given up, and the file with its second such page.
        memory_mb: address space one worker may use, in MiB; recognising text takes more on top, see
            `sightline.documents.ocr.MEMORY_MB`.
        max_pages: a document with more pages is refused.
        max_file_mb: a larger file is refused unread, in MiB.
        test_fraction: the share of documents set aside as test documents.
        seed: another seed splits the documents another way.
        ocr: whose text is recognised from the page image: ``"missing"`` for pages without a text layer (none
            where the extra ``ocr`` is not installed), ``"all"`` for every page of a PDF or image, ``"none"``.
        ocr_seconds: recognising one page may take this long (it takes some seconds on a free core); the page is
            then kept without its text.
        office_seconds: LibreOffice may take this long to convert one file.
        all_frames: every frame of an animation is a page, not the first alone.
        font: path of a TrueType or OpenType font for text, Markdown and HTML; ``""`` takes DejaVu.
    """

    pixels: int = 1_000_000
    page_seconds: float = 15.0
    memory_mb: int = 1536
    max_pages: int = 20_000
    max_file_mb: int = 2048
    test_fraction: float = 0.2
    seed: int = 0
    ocr: OcrMode = "missing"
    ocr_seconds: float = 300.0
    office_seconds: float = 180.0
    all_frames: bool = False
    font: str = ""

    def __post_init__(self) -> None:
        checks = (
            ("pixels", 1_000 <= self.pixels <= 64_000_000, "between 1,000 and 64,000,000"),
            ("page_seconds", self.page_seconds > 0, "above 0"),
            ("memory_mb", self.memory_mb >= 512, "at least 512"),
            ("max_pages", self.max_pages >= 1, "at least 1"),
            ("max_file_mb", self.max_file_mb >= 1, "at least 1"),
            ("test_fraction", 0.0 <= self.test_fraction <= 1.0, "between 0 and 1"),
            ("ocr", self.ocr in OCR_MODES, f"one of {', '.join(OCR_MODES)}"),
            ("ocr_seconds", self.ocr_seconds > 0, "above 0"),
            ("office_seconds", self.office_seconds > 0, "above 0"),
            ("font", not self.font or Path(self.font).is_file(), "a font file"),
        )
        for name, good, rule in checks:
            if not good:
                raise ConfigError(f"ingest: {name} must be {rule}, not {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its image by path, its text layer and where it came from.

    Attributes:
        page_id: ``"<document>#p<page>"``.
        document: path of the file inside the ingested folder, with ``/``.
        page: zero-based page number.
        image: path of the page image; inside the dataset folder as stored, absolute once loaded.
        width, height: of the page image, in pixels.
        text: the text layer, ``""`` where there is none.
        content_hash: SHA-256 of the image file.
        text_source: where the text is from: ``"pdf"``, ``"office"``, ``"html"``, ``"text"`` (plain text and
            Markdown), ``"ocr"``, or ``"none"``.
        language: ISO 639-1 (639-3 where that has no code), ``""`` where there is too little text to tell.
        image_hash: 64-bit perceptual hash of the image in hexadecimal, see `sightline.documents.likeness`.
        duplicate_of: the page_id of the first page that is nearly the same, ``""`` for that one and all others.
    """

    page_id: str
    document: str
    page: int
    image: str
    width: int
    height: int
    text: str
    content_hash: str
    text_source: str
    language: str = ""
    image_hash: str = ""
    duplicate_of: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Page:
        """A row of pages.parquet; columns of another version of Sightline are left out."""
        return cls(**{name: values[name] for name in _PAGE_FIELDS if name in values})


@dataclass(frozen=True, slots=True)
class Document:
    """One file of the ingested folder, read or refused.

    Attributes:
        document: path inside the ingested folder, with ``/``.
        source: absolute path of the file.
        sha256: of the file's bytes; ``""`` where they could not be read.
        page_count: pages the file says it has.
        status: ``"ok"``, or ``"skipped"`` where no page could be used.
        error: why it was skipped, or which of its pages were left out and why; else ``""``.
        pages: the pages read, in order.
        split: the side all its questions are on; None where skipped.
        language: of most of its text; ``""`` where none could be told.
        converter: the program and version that made a PDF of it first (``"LibreOffice 7.4.7.2"``); else ``""``.
        ocr: mode and program that looked for text on its pages (``"missing: rapidocr 3.10.0"``); else ``""``.
        metadata: what a person says of it (`sightline ingest --metadata`), as JSON has it.
    """

    document: str
    source: str
    sha256: str = ""
    page_count: int = 0
    status: Status = "ok"
    error: str = ""
    pages: tuple[Page, ...] = ()
    split: str | None = None
    language: str = ""
    converter: str = ""
    ocr: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Document:
        known = {name: values[name] for name in _DOCUMENT_FIELDS if name in values}
        return cls(**{**known, "pages": tuple(map(Page.from_dict, values.get("pages", ())))})

    def with_pages(self, pages: Sequence[Page]) -> Document:
        return replace(self, pages=tuple(pages))


@dataclass(frozen=True, slots=True)
class RecognisedText:
    """What OCR found on one page, kept in the journal because it is the slowest thing to do again.

    Attributes:
        document, sha256, page: the page, in a file with these bytes.
        ocr: as `Document.ocr`.
        text: raw; ``""`` where nothing was found.
    """

    document: str
    sha256: str
    page: int
    ocr: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, asked by a person or made from the pages, and the pages that answer it.

    Attributes:
        id: unique within the dataset.
        query: the question.
        document: the document it is about.
        pages: zero-based gold pages, all of them relevant.
        split: that of the document.
        extra: further columns of the question file, as they were.
        kind: what it asks for; "" where nobody said. Made questions: heading, caption, table, figure, sentence
            (offline), fact, lookup, chart, topic, multi-page (by a model).
        origin: who asked: ``"person"``, ``"offline"``, ``"model:<name>"`` or ``"feedback"``.
        language: ISO 639-1, ``""`` where unknown.
        negatives: ids of pages, of any document, that do not answer it, as somebody said; the hardest first.
    """

    id: str
    query: str
    document: str
    pages: tuple[int, ...]
    split: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    origin: str = PERSON
    language: str = ""
    negatives: tuple[str, ...] = ()

    @property
    def page_ids(self) -> tuple[str, ...]:
        return tuple(page_id(self.document, page) for page in self.pages)


_PAGE_FIELDS = tuple(item.name for item in fields(Page))
_DOCUMENT_FIELDS = tuple(item.name for item in fields(Document))


def image_location(content_hash: str) -> str:
    """Where the page image with this hash lies inside the dataset folder."""
    return f"images/{content_hash[:2]}/{content_hash}.jpg"


def plain_name(path: str | Path) -> str:
    """A file name that is not UTF-8, with its odd bytes written out, because Parquet holds UTF-8 only."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def page_id(document: str, page: int) -> str:
    """The name of a page everywhere: ``"reports/2023.pdf#p4"`` is the fifth page."""
    return f"{document}#p{page}"
