"""The dataset folder on disk: its Parquet files, the journal of an unfinished run, and the lock.

dataset.json            written last: a folder without it is not a dataset yet
pages.parquet           one row per page
documents.parquet       one row per file of the ingested folder, read or refused
questions.parquet       one row per question
images/ab/abcd....jpg   page images by the SHA-256 of the file
ingest.journal          only while a run is unfinished, see `sightline.documents.journal`
.work/                  only while a run is unfinished: what LibreOffice works on

Columns may be added to the tables without a new version; readers leave alone what they do not know.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.documents.journal import JOURNAL
from sightline.documents.records import PERSON, Document, Page, Question
from sightline.errors import DataError
from sightline.files import held, write_json

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "sightline-dataset"
VERSION = 1
HEAD = "dataset.json"
QUESTIONS = "questions.parquet"
# Questions come first: until the documents are replaced, too, they are compared with the old ones again.
TABLES = (QUESTIONS, "pages.parquet", "documents.parquet")
WORK = ".work"
_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)
_QUESTION_COLUMNS = ("id", "query", "document", "pages", "split", "kind", "origin", "language", "negatives")


def read_head(root: Path) -> dict[str, Any]:
    """The contents of dataset.json.

    Raises:
        DataError: when the folder is missing, not a dataset, unfinished or of a newer version.
    """
    path = root / HEAD
    if not path.is_file():
        if (root / JOURNAL).is_file():
            raise DataError(f"{root}: ingest did not finish; run the same `sightline ingest` again to go on")
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder; `sightline ingest FOLDER -o {root}` makes it")
        raise DataError(f"{root} is not a dataset (it has no {HEAD}); `sightline ingest` makes one")
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); run `sightline ingest` again") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise DataError(f"{path} does not describe a Sightline dataset")
    if head.get("version") != VERSION:
        raise DataError(f"{path} has version {head.get('version')}; this Sightline reads version {VERSION}")
    return head


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the folder for one writer; the lock ends with the process, even after kill -9.

    Raises:
        DataError: when another process has it.
    """
    taken = DataError(f"{root}: another `sightline` is writing here; wait for it or choose another folder")
    with held(root, taken):
        yield


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """A full or read-only disk is a matter for the person: it becomes a DataError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_TROUBLE:
            raise
        raise DataError(
            f"{root}: cannot be written ({error.strerror}); what was read so far is kept"
        ) from error


def write_dataset(
    root: Path, documents: Sequence[Document], questions: Sequence[Question], head: Mapping[str, Any]
) -> None:
    """Replace the dataset in ``root``: tables first, dataset.json last, so that no mixture can be loaded."""
    tables = (_questions_table(questions), _pages_table(documents), _documents_table(documents))
    for name, table in zip(TABLES, tables):
        _write_table(root / f".{name}.tmp", table)
    (root / HEAD).unlink(missing_ok=True)
    for name in TABLES:
        (root / f".{name}.tmp").replace(root / name)
    write_json(root / HEAD, {"format": FORMAT, "version": VERSION, **head})
    (root / JOURNAL).unlink(missing_ok=True)


def write_questions(root: Path, questions: Sequence[Question]) -> None:
    """Replace the questions of a finished dataset in one step; its head's count follows."""
    aside = root / f".{QUESTIONS}.tmp"
    _write_table(aside, _questions_table(questions))
    aside.replace(root / QUESTIONS)
    head = read_head(root)
    counts = {**head.get("counts", {}), "questions": len(questions)}
    if counts != head.get("counts"):
        write_json(root / HEAD, {**head, "counts": counts})


def prune(root: Path, documents: Iterable[Document]) -> None:
    """Delete page images that no page uses any more, and what killed runs left half-written."""
    used = {page.image for document in documents for page in document.pages}
    for path in (root / "images").glob("??/*"):
        if path.relative_to(root).as_posix() not in used and path.suffix in (".jpg", ".tmp"):
            path.unlink()
    for path in root.glob(f".{HEAD}.*.part"):
        path.unlink()
    shutil.rmtree(root / WORK, ignore_errors=True)


def read_documents_table(root: Path) -> tuple[Document, ...]:
    """The documents of a finished dataset with their pages, in order."""
    pages: dict[str, list[Page]] = {}
    for row in _rows(root / "pages.parquet"):
        page = Page.from_dict(row)
        pages.setdefault(page.document, []).append(page)
    return tuple(
        Document.from_dict(
            {**row, "pages": (), "metadata": json.loads(row.get("metadata") or "{}")}
        ).with_pages(pages.get(row["document"], ()))
        for row in _rows(root / "documents.parquet")
    )


def document_names(root: Path) -> tuple[set[str], set[str]]:
    """The documents of a finished dataset, and those of earlier runs that question files still name.

    Both are empty where there is no finished dataset, or a damaged one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        head = read_head(root)
        names = pq.read_table(root / "documents.parquet", columns=["document"])["document"].to_pylist()
    except (DataError, OSError, pa.ArrowException):
        return set(), set()
    return set(names), set(head.get("gone", ()))


def read_questions_table(root: Path) -> tuple[Question, ...]:
    """The questions of a finished dataset, in order."""
    return tuple(
        Question(
            id=row["id"],
            query=row["query"],
            document=row["document"],
            pages=tuple(row["pages"]),
            split=row["split"],
            kind=row.get("kind") or "",
            origin=row.get("origin") or PERSON,
            language=row.get("language") or "",
            negatives=tuple(row.get("negatives") or ()),
            extra={name: value for name, value in row.items() if name not in _QUESTION_COLUMNS},
        )
        for row in _rows(root / QUESTIONS)
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).to_pylist()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; run `sightline ingest` again") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}); run `sightline ingest` again") from error


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", row_group_size=10_000)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _pages_table(documents: Sequence[Document]) -> pa.Table:
    import pyarrow as pa

    text, number = pa.string(), pa.int32()
    schema = pa.schema(
        {
            "page_id": text,
            "document": text,
            "page": number,
            "image": text,
            "width": number,
            "height": number,
            "text": text,
            "content_hash": text,
            "text_source": text,
            "language": text,
            "image_hash": text,
            "duplicate_of": text,
        }
    )
    return pa.Table.from_pylist([page.to_dict() for item in documents for page in item.pages], schema=schema)


def _documents_table(documents: Sequence[Document]) -> pa.Table:
    import pyarrow as pa

    names = (
        "document",
        "source",
        "sha256",
        "page_count",
        "pages",
        "status",
        "error",
        "split",
        "language",
        "converter",
        "ocr",
        "metadata",
    )
    types = {name: pa.int32() if name in ("page_count", "pages") else pa.string() for name in names}
    rows = [
        {
            **{name: getattr(item, name) for name in names},
            "pages": len(item.pages),
            "metadata": json.dumps(item.metadata) if item.metadata else "",
        }
        for item in documents
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def _questions_table(questions: Sequence[Question]) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, pa.Array] = {
        "id": pa.array([item.id for item in questions], pa.string()),
        "query": pa.array([item.query for item in questions], pa.string()),
        "document": pa.array([item.document for item in questions], pa.string()),
        "pages": pa.array([list(item.pages) for item in questions], pa.list_(pa.int32())),
        "split": pa.array([item.split for item in questions], pa.string()),
        "kind": pa.array([item.kind for item in questions], pa.string()),
        "origin": pa.array([item.origin for item in questions], pa.string()),
        "language": pa.array([item.language for item in questions], pa.string()),
        "negatives": pa.array([list(item.negatives) for item in questions], pa.list_(pa.string())),
    }
    for name in sorted({name for item in questions for name in item.extra}):
        values = [item.extra.get(name) for item in questions]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            # A column of mixed kinds has no Arrow type; it is kept as JSON text.
            columns[name] = pa.array([json.dumps(value) for value in values], pa.string())
    return pa.table(columns)
