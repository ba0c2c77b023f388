"""One file to its pages: page images at the pixel budget and the text layer.

Runs in a worker process, because PDFium, image decoders and LibreOffice can crash, hang or eat memory on
hostile files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from sightline.documents.kinds import kind_of
from sightline.documents.office import converted
from sightline.documents.pdf import read_pdf
from sightline.documents.pictures import read_pictures
from sightline.documents.rawpages import RawPage, Recogniser
from sightline.documents.records import IngestSettings
from sightline.documents.written import read_written
from sightline.errors import MediaError


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


def read_pages(
    path: Path,
    root: Path,
    settings: IngestSettings,
    first: int = 0,
    recogniser: Recogniser | None = None,
    converting: Callable[[str], None] = lambda program: None,
) -> Iterator[int | RawPage]:
    """The page count of a file, then its pages from page ``first`` on.

    Page images are written under ``root`` as they come.

    Args:
        path: of the file.
        root: the dataset folder.
        settings: sizes and limits.
        first: zero-based.
        recogniser: looks for text on pages without; None for no OCR.
        converting: called with the name and version of the program that turns the file into a PDF first,
            before it starts, because that takes a while.

    Raises:
        MediaError: when the file as a whole cannot be used.
        StorageError: when ``root`` cannot be written.
    """
    kind = kind_of(path)
    if kind == "pdf":
        yield from read_pdf(path, root, settings, first, recogniser, "pdf")
    elif kind == "office":
        with converted(path, root, settings, converting) as pdf:
            yield from read_pdf(pdf, root, settings, first, recogniser, "office")
    elif kind == "image":
        yield from read_pictures(path, root, settings, first, recogniser)
    else:
        yield from read_written(path, kind, root, settings, first)
