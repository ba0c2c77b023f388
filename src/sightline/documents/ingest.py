"""A folder of documents becomes a dataset: what ``sightline ingest FOLDER -o DATASET`` runs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sightline.documents import ocr, store
from sightline.documents.adding import made_questions
from sightline.documents.discover import discover
from sightline.documents.duplicates import mark_duplicates
from sightline.documents.fonts import fingerprint
from sightline.documents.journal import JOURNAL, Journal
from sightline.documents.metadata import read_metadata
from sightline.documents.office import office_version
from sightline.documents.pool import read_documents
from sightline.documents.progress import with_bar
from sightline.documents.questions import Names, place_questions, read_questions
from sightline.documents.records import (
    PAGES_VERSION,
    Document,
    IngestSettings,
    Question,
    RecognisedText,
    plain_name,
)
from sightline.documents.splits import assign_splits, read_splits
from sightline.documents.tasks import Task, looked_for_text
from sightline.errors import DataError


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        output: the dataset folder.
        documents: files that became pages.
        pages: pages in the dataset.
        reused: of the documents, those taken over from an earlier run.
        skipped: the files that were refused, each with its cause in ``error``.
        partial: documents of which single pages were left out or need a word, each with it in ``error``.
        removed: documents of the earlier run that are not in the folder any more.
        questions: questions in the dataset.
        dropped: a line for each question whose document was skipped or removed, and for each whose made
            questions are gone because it changed.
        languages: pages by language, ``""`` where it is unknown.
        text_sources: pages by `Page.text_source`.
        duplicates: pages that are nearly the same as an earlier one.
        seconds: wall-clock time.
    """

    output: Path
    documents: int
    pages: int
    reused: int
    skipped: tuple[Document, ...]
    partial: tuple[Document, ...]
    removed: tuple[str, ...]
    questions: int
    dropped: tuple[str, ...]
    languages: Mapping[str, int]
    text_sources: Mapping[str, int]
    duplicates: int
    seconds: float

    @property
    def refusals(self) -> tuple[str, ...]:
        """One line per skipped file: its name and the cause."""
        return tuple(f"{item.document}: {item.error}" for item in self.skipped)

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything a person should know of: refused files, pages left out, what is gone."""
        return (
            *self.refusals,
            *(f"{item.document}: {item.error}" for item in self.partial),
            *(f"{name}: not in the folder any more, its pages are removed" for name in self.removed),
            *self.dropped,
        )

    def summary(self) -> str:
        """One sentence for the terminal."""
        reused = f" ({self.reused} unchanged since the last run)" if self.reused else ""
        questions = f" and {self.questions:,} questions" if self.questions else ""
        return (
            f"{self.output}: {self.pages:,} pages from {self.documents:,} documents{reused}{questions}, "
            f"{len(self.skipped)} skipped, in {self.seconds:.1f} s"
        )

    def facts(self) -> tuple[str, ...]:
        """What the pages are like, in a few lines for the terminal."""
        lines = []
        known = {name: count for name, count in self.languages.items() if name}
        if known:
            ordered = sorted(known.items(), key=lambda item: (-item[1], item[0]))
            shown = [f"{name} {count:,}" for name, count in ordered[:5]]
            more = sum(count for _, count in ordered[5:])
            lines.append(f"languages: {', '.join([*shown, *([f'others {more:,}'] if more else [])])} pages")
        if self.duplicates:
            lines.append(f"{self.duplicates:,} pages are nearly the same as another page")
        if count := self.text_sources.get("ocr"):
            lines.append(f"{count:,} pages have their text from OCR")
        if count := self.text_sources.get("none"):
            hint = "" if ocr.installed() else f"; to recognise it: {ocr.INSTALL}, then the same command again"
            lines.append(f"{count:,} pages have no text{hint}")
        return tuple(lines)


def ingest(
    folder: str | Path,
    output: str | Path,
    *,
    questions: str | Path | Sequence[str | Path] | None = None,
    splits: str | Path | None = None,
    metadata: str | Path | None = None,
    settings: IngestSettings | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    on_document: Callable[[Document], None] | None = None,
) -> IngestReport:
    """Read every document under ``folder`` into a dataset at ``output``.

    Files are opened in worker processes with limits on time and memory. A file that is broken,
    encrypted, empty, too large or of another type is skipped and listed in the report. A run that was
    killed goes on where it stopped when started again; a finished dataset is brought up to date. The
    result does not depend on the number of workers or on interruptions.

    Args:
        folder: searched with its subfolders; hidden files are left out.
        output: the dataset folder; new, empty, or the result of an earlier ingest.
        questions: one or more JSON-lines files, see `sightline.documents.questions`.
        splits: a JSON file ``{"train": [documents], "test": [documents]}``; documents that neither it
            nor a question file names are split by their name.
        metadata: a JSON-lines file ``{"document": name, ...any fields}``, kept with the documents; searches
            can be limited by it.
        settings: page size, OCR, limits and split; the defaults of `IngestSettings` otherwise.
        workers: processes; by default one per CPU core.
        progress: show a bar; by default when standard error is a terminal.
        on_document: called with the record of each file as it is finished, in any order.

    Raises:
        ConfigError: when a setting asks for what is not installed.
        DataError: when the folder is missing or without files, the output cannot be used, or a question
            or metadata file is wrong.
    """
    started = time.monotonic()
    settings = settings or IngestSettings()
    engine = ocr.engine_for(settings)
    root = Path(output)
    question_files = _paths(questions)
    files, unusable = discover(
        Path(folder), root, ignore=[*question_files, *_paths(splits), *_paths(metadata)]
    )
    names = [*files, *unusable]
    earlier, forgotten = store.document_names(root)
    gone = (earlier | forgotten) - set(names)
    asked = read_questions(question_files, names, gone)
    given = {item.document: item.split for item in asked if item.split is not None}
    if splits is not None:
        given = {**_named_splits(Path(splits), names, gone), **given}
    described = read_metadata(Path(metadata), names, gone) if metadata is not None else {}
    _prepare(root)
    made_by = {
        "pixels": settings.pixels,
        "pages": PAGES_VERSION,
        "readers": _readers(),
        "all_frames": settings.all_frames,
        "font": fingerprint(settings.font),
    }
    reused = 0

    def count(record: Document, is_reused: bool) -> None:
        nonlocal reused
        reused += is_reused
        if on_document is not None:
            on_document(record)

    with store.locked(root), store.writing(root):
        shutil.rmtree(root / store.WORK, ignore_errors=True)
        read = _read_all(files, root, settings, engine, made_by, workers or _cores(), progress, count)
        ordered = sorted([*read, *unusable.values()], key=lambda item: item.document)
        ordered = mark_duplicates(ordered, root)
        about = [item.document for item in asked]
        share, seed = settings.test_fraction, settings.seed
        sides = assign_splits(ordered, about, given, test_fraction=share, seed=seed)
        placed, dropped = place_questions(asked, ordered, sides)
        made, lost = made_questions(root, ordered, sides, {item.id for item in placed})
        placed, dropped = (*placed, *made), (*dropped, *lost)
        ordered = [
            replace(item, split=sides.get(item.document), metadata=described.get(item.document, {}))
            for item in ordered
        ]
        head = _head(folder, settings, made_by, ordered, placed)
        # Question files that name them stay good in the next run, too.
        if still_named := sorted(gone & {*about, *given, *described}):
            head["gone"] = still_named
        store.write_dataset(root, ordered, placed, head)
        store.prune(root, ordered)
    good = [item for item in ordered if item.status == "ok"]
    pages = [page for item in good for page in item.pages]
    return IngestReport(
        output=root,
        documents=len(good),
        pages=len(pages),
        reused=reused,
        skipped=tuple(item for item in ordered if item.status != "ok"),
        partial=tuple(item for item in good if item.error),
        removed=tuple(sorted(earlier - set(names))),
        questions=len(placed),
        dropped=dropped,
        languages=Counter(page.language for page in pages),
        text_sources=Counter(page.text_source for page in pages),
        duplicates=sum(bool(page.duplicate_of) for page in pages),
        seconds=time.monotonic() - started,
    )


def _read_all(
    files: Mapping[str, Path],
    root: Path,
    settings: IngestSettings,
    engine: str,
    made_by: Mapping[str, Any],
    workers: int,
    progress: bool | None,
    tell: Callable[[Document, bool], None],
) -> list[Document]:
    """The record of every file; those of earlier runs are used again, new ones are kept in the journal."""
    known = _finished_records(root, made_by)
    with closing(Journal(root, made_by)) as journal:
        known.update(journal.documents)
        known = {name: item for name, item in known.items() if _is_current(item, settings, engine)}
        tasks = [
            Task(name, path, known.get(name), journal.recognised.get(name, {}), engine)
            for name, path in _largest_first(files)
        ]
        records = []
        # Without an engine, workers need not make room for one.
        effective = settings if engine else replace(settings, ocr="none")
        with closing(read_documents(tasks, root, effective, workers)) as finished:
            for record in with_bar(finished, len(tasks), progress):
                if isinstance(record, RecognisedText):
                    journal.add(record)
                    continue
                records.append(record)
                if journal.documents.get(record.document) is not record:
                    journal.add(record)
                tell(record, record is known.get(record.document))
        journal.sync()
    return records


def _is_current(record: Document, settings: IngestSettings, engine: str) -> bool:
    """Whether a record of an earlier run is what this run would make, as far as other programs matter.

    What a program made that is not installed any more is kept.
    """
    if record.converter and office_version() not in ("", record.converter):
        return False
    if settings.ocr == "none":
        return not record.ocr
    return not engine or record.ocr == (engine if looked_for_text(record.pages, engine) else "")


def _paths(value: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if value is None:
        return []
    return [Path(value)] if isinstance(value, (str, Path)) else [Path(item) for item in value]


def _largest_first(files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    # So that the last minutes of a long run are not one big file on one core.
    def size(path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0

    return sorted(files.items(), key=lambda item: (-size(item[1]), item[0]))


def _named_splits(path: Path, documents: Sequence[str], gone: Collection[str]) -> dict[str, str]:
    names, given = Names(documents, gone), {}
    for name, split in read_splits(path).items():
        try:
            given[names.find(name)] = split
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return given


def _prepare(root: Path) -> None:
    """Make the output folder, or check that it is ours.

    Raises:
        DataError: when it holds something else, or cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        entries = {path.name for path in root.iterdir()}
    except OSError as error:
        raise DataError(f"{root}: the dataset cannot be written there ({error.strerror})") from error
    if entries and not entries & {store.HEAD, JOURNAL}:
        raise DataError(f"{root} has other files in it; choose a new folder for the dataset")


def _finished_records(root: Path, made_by: Mapping[str, Any]) -> dict[str, Document]:
    """The documents of a finished dataset in ``root`` made with the same settings."""
    try:
        head = store.read_head(root)
        if head.get("made_by") != made_by:
            return {}
        return {
            item.document: replace(
                item, split=None, pages=tuple(replace(page, duplicate_of="") for page in item.pages)
            )
            for item in store.read_documents_table(root)
        }
    except DataError:
        return {}  # no finished dataset, or a damaged one: it is made anew


def _readers() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("pypdfium2", "Pillow", "py3langid"))


def _head(
    folder: str | Path,
    settings: IngestSettings,
    made_by: Mapping[str, Any],
    documents: Sequence[Document],
    questions: Sequence[Question],
) -> dict[str, Any]:
    good = [item for item in documents if item.status == "ok"]
    return {
        "created_by": f"sightline {version('sightline')}",
        "folder": plain_name(Path(folder).resolve()),
        "made_by": dict(made_by),
        "settings": settings.to_dict(),
        "counts": {
            "documents": len(good),
            "skipped": len(documents) - len(good),
            "pages": sum(len(item.pages) for item in good),
            "questions": len(questions),
        },
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
