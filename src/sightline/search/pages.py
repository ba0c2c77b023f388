"""The pages an index is built from, and what of them is embedded."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sightline.documents.dataset import Dataset
from sightline.documents.kinds import kind_of_page
from sightline.documents.records import Page
from sightline.errors import DataError, SearchIndexError
from sightline.search.filters import check_metadata, stored_metadata
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
        language: ISO 639-1, ``""`` where unknown.
        kind: of the file: "pdf", "image", "office", "html", "markdown", "text"; ``""`` where unknown.
        metadata: what else is known, as JSON has it: searches can be limited by it.
    """

    page_id: str
    document: str
    page: int
    text: str = ""
    image: Path | None = None
    width: int = 0
    height: int = 0
    content_hash: str = ""
    language: str = ""
    kind: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as the index holds it.

    Attributes:
        page_id, document, page, text, width, height, language, kind, metadata: as of `PageRecord`.
        image: relative to the media root, or absolute, or ``""``.
    """

    page_id: str
    document: str
    page: int
    image: str
    width: int
    height: int
    text: str
    language: str = ""
    kind: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_pages(pages: Dataset | Iterable[PageRecord | Page]) -> list[PageRecord]:
    """The pages as records, checked: ids are unique, image files exist. Those of a dataset have its metadata.

    Raises:
        DataError: no pages, an id twice, or images that are missing; names the pages.
    """
    if isinstance(pages, Dataset):
        records = [
            _record(page, document.metadata) for document in pages.documents for page in document.pages
        ]
    else:
        records = [page if isinstance(page, PageRecord) else _record(page, {}) for page in pages]
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
        check_metadata(record.metadata, f"page {record.page_id!r}")
    missing = [record for record in records if record.image is not None and not record.image.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"{missing[0].image}: the image of page {missing[0].page_id!r} is missing{more}")
    return records


def _record(page: Page, metadata: Mapping[str, Any]) -> PageRecord:
    return PageRecord(
        page_id=page.page_id,
        document=page.document,
        page=page.page,
        text=page.text,
        image=Path(page.image) if page.image else None,
        width=page.width,
        height=page.height,
        content_hash=page.content_hash,
        language=page.language,
        kind=kind_of_page(page.document, page.text_source),
        metadata=metadata,
    )


def record_of(page: StoredPage, image: Path | None, stamp: str) -> PageRecord:
    """A page of an index as an index is built from it.

    Args:
        page: as it is stored.
        image: where its image lies; it need not be there.
        stamp: of its image, see `stamp_of`.
    """
    return PageRecord(
        page_id=page.page_id,
        document=page.document,
        page=page.page,
        text=page.text,
        image=image,
        width=page.width,
        height=page.height,
        content_hash=stamp,
        language=page.language,
        kind=page.kind,
        metadata=page.metadata,
    )


def merged(
    pages: Sequence[PageRecord], added: Sequence[PageRecord], removed: Sequence[str]
) -> list[PageRecord]:
    """Pages without the documents removed, and with those added: at their old places, new ones at the end.

    Raises:
        DataError: no page is left, or a page id is in two documents.
    """
    by_document: dict[str, list[PageRecord]] = {}
    for page in pages:
        by_document.setdefault(page.document, []).append(page)
    for name in removed:
        by_document.pop(name, None)
    by_document.update({page.document: [] for page in added})
    for page in added:
        by_document[page.document].append(page)
    found = [page for document in by_document.values() for page in document]
    if not found:
        raise DataError("no page would be left; delete the index's folder instead")
    taken: dict[str, str] = {}
    for page in found:
        if taken.setdefault(page.page_id, page.document) != page.document:
            raise DataError(f"page {page.page_id!r} is there already, in {taken[page.page_id]!r}")
    return found


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


def stamp_of(record: PageRecord) -> str:
    """What changes when the page's image does, ``""`` where it has none."""
    if record.image is None:
        return ""
    if record.content_hash:
        return record.content_hash
    status = record.image.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"


def content_key(text: str, stamp: str, fields: Fields) -> bytes:
    """Equal for pages of which the model sees the same.

    Args:
        text: of the page.
        stamp: of its image, see `stamp_of`.
        fields: what is embedded.
    """
    seen = ["" if fields == "image" else clean(text), "" if fields == "text" else stamp]
    return hashlib.sha256(json.dumps(seen).encode()).digest()[:16]


def digest(records: Sequence[PageRecord], images: Sequence[str]) -> str:
    """A name for the pages in their order, which changes when a page is added, moved or altered.

    Args:
        records: N pages.
        images: N image paths as they are stored; a folder moved as a whole keeps its name.
    """
    found = hashlib.sha256()
    for record, stored in zip(records, images):
        image = [stored, stamp_of(record), record.width, record.height] if stored else None
        known = [record.language, record.kind, stored_metadata(record.metadata)]
        facts = [record.page_id, record.document, record.page, clean(record.text), image, *known]
        found.update(json.dumps(facts).encode())
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
