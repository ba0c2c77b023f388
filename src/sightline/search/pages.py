"""The pages an index is built from, and what of them is embedded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sightline.documents.records import Page
from sightline.errors import DataError, SearchIndexError
from sightline.search.words import clean

Fields = Literal["both", "text", "image"]


@dataclass(frozen=True, slots=True)
class PageRecord:
    """One page to index.

    Attributes:
        page_id: unique, by custom ``"<document>#p<page>"``.
        document: the document's name, what a search can be limited to.
        page: zero-based page number.
        text: the text layer, ``""`` where there is none.
        image: the page image, None where there is none.
        width, height: of the image, in pixels; 0 where unknown.
        content_hash: of the image file, ``""`` where unknown; then its size and time stand in.
    """

    page_id: str
    document: str
    page: int
    text: str = ""
    image: Path | None = None
    width: int = 0
    height: int = 0
    content_hash: str = ""


def read_pages(pages: Iterable[PageRecord | Page]) -> list[PageRecord]:
    """The pages as records, checked: ids are unique, image files exist.

    Raises:
        DataError: no pages, an id twice, or images that are missing; names the pages.
    """
    records = [page if isinstance(page, PageRecord) else _record(page) for page in pages]
    if not records:
        raise DataError("there are no pages to index")
    seen: set[str] = set()
    for record in records:
        if record.page_id in seen:
            raise DataError(f"page {record.page_id!r} is there twice; page ids must be unique")
        seen.add(record.page_id)
        if clean(record.page_id + record.document) != record.page_id + record.document:
            raise DataError(
                f"page {record.page_id!r}: its name or its document's is not valid text; rename the file"
            )
    missing = [record for record in records if record.image is not None and not record.image.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"{missing[0].image}: the image of page {missing[0].page_id!r} is missing{more}")
    return records


def _record(page: Page) -> PageRecord:
    image = Path(page.image) if page.image else None
    return PageRecord(
        page.page_id, page.document, page.page, page.text, image, page.width, page.height, page.content_hash
    )


def choose_fields(encoder: Any, fields: str | None) -> Fields:
    """``fields`` if the model reads them; for None all that it reads of text and image.

    Raises:
        SearchIndexError: an unknown name, or a model that does not read that.
    """
    if fields is None:
        wanted: tuple[Fields, ...] = ("both", "image", "text")
        found = next((name for name in wanted if _reads(encoder, name)), None)
        if found is None:
            raise SearchIndexError(
                f"the model reads {_listed(encoder.modalities)}; pages have text and images"
            )
        return found
    if fields not in ("both", "text", "image"):
        raise SearchIndexError(f"fields must be 'both', 'text' or 'image', not {fields!r}")
    if not _reads(encoder, fields):
        readable = [name for name in ("both", "image", "text") if _reads(encoder, name)]
        hint = f"; use fields={' or '.join(map(repr, readable))}" if readable else ""
        raise SearchIndexError(
            f"fields={fields!r} does not suit this model, which reads {_listed(encoder.modalities)}{hint}"
        )
    return fields  # type: ignore[return-value]


def _reads(encoder: Any, fields: str) -> bool:
    return bool(encoder.supports(("image", "text")) if fields == "both" else encoder.supports(fields))


def _listed(modalities: Sequence[str]) -> str:
    return " and ".join(modalities) or "nothing"


def value_of(record: PageRecord, fields: Fields) -> dict[str, Any] | None:
    """What the model gets for a page, what there is of text and image; None where there is nothing.

    Always a dict of modalities, because a page whose whole text is a URL or a file name would else be
    taken for that file.
    """
    value: dict[str, Any] = {}
    if fields != "image" and record.text.strip():
        value["text"] = record.text
    if fields != "text" and record.image is not None:
        value["image"] = record.image
    return value or None


def digest(records: Sequence[PageRecord], images: Sequence[str], fields: Fields) -> str:
    """A name for the pages in their order, which changes when a page is added, moved or altered.

    Args:
        records: N pages.
        images: N image paths as they are stored; a folder moved as a whole keeps its name.
        fields: what is embedded.
    """
    found = hashlib.sha256(fields.encode())
    for record, stored in zip(records, images):
        image: Any = None
        if record.image is not None:
            status = record.image.stat()
            stamp = record.content_hash or [status.st_size, status.st_mtime_ns]
            image = [stored, stamp, record.width, record.height]
        found.update(json.dumps([record.page_id, record.document, record.page, record.text, image]).encode())
    return found.hexdigest()


def usable_dim(encoder: Any, dim: int | None) -> tuple[int, int]:
    """(components kept, components the model gives).

    Raises:
        SearchIndexError: ``dim`` is not between 1 and what the model gives.
    """
    given = int(min(encoder.embedding_dim, encoder.truncate_dim or math.inf))
    if dim is None:
        return given, given
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= given:
        raise SearchIndexError(
            f"dim must be a whole number from 1 to {given}, the model's dimension, not {dim!r}"
        )
    return dim, given
