"""A folder of documents becomes a dataset: what ``sightline ingest FOLDER -o DATASET`` runs."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sightline.documents import store
from sightline.documents.adding import made_questions
from sightline.documents.pool import Task, read_documents
from sightline.documents.questions import Names, place_questions, read_questions
from sightline.documents.records import PAGES_VERSION, Document, IngestSettings, Question, plain_name
from sightline.documents.splits import assign_splits, read_splits
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
        partial: documents of which single pages were left out, each with the causes in ``error``.
        questions: questions in the dataset.
        dropped: a line for each question whose document was skipped, and for each document whose made
            questions are gone because it changed.
        seconds: wall-clock time.
    """

    output: Path
    documents: int
    pages: int
    reused: int
    skipped: tuple[Document, ...]
    partial: tuple[Document, ...]
    questions: int
    dropped: tuple[str, ...]
    seconds: float

    @property
    def refusals(self) -> tuple[str, ...]:
        """One line per skipped file: its name and the cause."""
        return tuple(f"{item.document}: {item.error}" for item in self.skipped)

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything a person should know of: refused files, pages left out, questions dropped."""
        return (*self.refusals, *(f"{item.document}: {item.error}" for item in self.partial), *self.dropped)

    def summary(self) -> str:
        """One sentence for the terminal."""
        reused = f" ({self.reused} unchanged since the last run)" if self.reused else ""
        questions = f" and {self.questions:,} questions" if self.questions else ""
        return (
            f"{self.output}: {self.pages:,} pages from {self.documents:,} documents{reused}{questions}, "
            f"{len(self.skipped)} skipped, in {self.seconds:.1f} s"
        )


def ingest(
    folder: str | Path,
    output: str | Path,
    *,
    questions: str | Path | Sequence[str | Path] | None = None,
    splits: str | Path | None = None,
    settings: IngestSettings | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    on_document: Callable[[Document], None] | None = None,
) -> IngestReport:
    """Read every PDF and image under ``folder`` into a dataset at ``output``.

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
        settings: page size, limits and split; the defaults of `IngestSettings` otherwise.
        workers: processes; by default one per CPU core.
        progress: show a bar; by default when standard error is a terminal.
        on_document: called with the record of each file as it is finished, in any order.

    Raises:
        DataError: when the folder is missing or without files, the output cannot be used, or a question
            file is wrong.
    """
    started = time.monotonic()
    settings = settings or IngestSettings()
    root = Path(output)
    question_files = _paths(questions)
    files, unusable = _discover(Path(folder), root, ignore=[*question_files, *_paths(splits)])
    names = [*files, *unusable]
    asked = read_questions(question_files, names)
    given = {item.document: item.split for item in asked if item.split is not None}
    if splits is not None:
        given = {**_named_splits(Path(splits), names), **given}
    _prepare(root)
    made_by = {"pixels": settings.pixels, "pages": PAGES_VERSION, "readers": _readers()}
    reused = 0

    def count(record: Document, is_reused: bool) -> None:
        nonlocal reused
        reused += is_reused
        if on_document is not None:
            on_document(record)

    with store.locked(root), store.writing(root):
        read = _read_all(files, root, settings, made_by, workers or _cores(), progress, count)
        ordered = sorted([*read, *unusable.values()], key=lambda item: item.document)
        about = [item.document for item in asked]
        share, seed = settings.test_fraction, settings.seed
        sides = assign_splits(ordered, about, given, test_fraction=share, seed=seed)
        placed, dropped = place_questions(asked, ordered, sides)
        made, lost = made_questions(root, ordered, sides, {item.id for item in placed})
        placed, dropped = (*placed, *made), (*dropped, *lost)
        ordered = [replace(item, split=sides.get(item.document)) for item in ordered]
        store.write_dataset(root, ordered, placed, _head(folder, settings, made_by, ordered, placed))
        store.prune_images(root, ordered)
    good = [item for item in ordered if item.status == "ok"]
    return IngestReport(
        output=root,
        documents=len(good),
        pages=sum(len(item.pages) for item in good),
        reused=reused,
        skipped=tuple(item for item in ordered if item.status != "ok"),
        partial=tuple(item for item in good if item.error),
        questions=len(placed),
        dropped=dropped,
        seconds=time.monotonic() - started,
    )


def _read_all(
    files: Mapping[str, Path],
    root: Path,
    settings: IngestSettings,
    made_by: Mapping[str, Any],
    workers: int,
    progress: bool | None,
    tell: Callable[[Document, bool], None],
) -> list[Document]:
    """The record of every file; those of earlier runs are used again, new ones are kept in the journal."""
    known = _finished_records(root, made_by)
    with closing(store.Journal(root, made_by)) as journal:
        known.update(journal.documents)
        tasks = [Task(name, path, known.get(name)) for name, path in _largest_first(files)]
        records = []
        with closing(read_documents(tasks, root, settings, workers)) as finished:
            for record in _with_bar(finished, len(tasks), progress):
                records.append(record)
                if journal.documents.get(record.document) is not record:
                    journal.add(record)
                tell(record, record is known.get(record.document))
        journal.sync()
    return records


def _paths(value: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if value is None:
        return []
    return [Path(value)] if isinstance(value, (str, Path)) else [Path(item) for item in value]


def _discover(
    folder: Path, output: Path, ignore: Sequence[Path]
) -> tuple[dict[str, Path], dict[str, Document]]:
    """The regular files below ``folder`` by document id, and records of what cannot be opened at all."""
    if folder.is_file():
        raise DataError(f"{folder} is a file; give the folder it is in")
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder to ingest")
    base, result = folder.resolve(), output.resolve()
    if base == result:
        raise DataError(f"{folder}: the dataset cannot be written into the folder it is made from")
    left_out = {result, *(path.resolve() for path in ignore)}
    files: dict[str, Path] = {}
    unusable: dict[str, Document] = {}

    def refuse(path: Path, error: str) -> None:
        name = _document_id(path, base)
        unusable[name] = Document(name, plain_name(path), status="skipped", error=error)

    def unreadable(error: OSError) -> None:
        refuse(Path(error.filename), f"the folder cannot be read ({error.strerror})")

    for where, folders, entries in os.walk(base, onerror=unreadable):
        here = Path(where)
        for name in [name for name in folders if (here / name).is_symlink()]:
            refuse(here / name, "a link to a folder is not followed; ingest that folder itself")
        folders[:] = [name for name in folders if not name.startswith(".") and (here / name) not in left_out]
        for name in entries:
            path = here / name
            if name.startswith(".") or path.resolve() in left_out:
                continue
            try:
                mode = path.stat().st_mode
            except OSError as error:
                refuse(path, f"cannot be opened ({error.strerror})")
                continue
            if stat.S_ISREG(mode):
                files[_document_id(path, base)] = path
            else:
                refuse(path, "this is not a regular file")
    if not files and not unusable:
        raise DataError(f"{folder} has no files to ingest")
    return files, unusable


def _document_id(path: Path, base: Path) -> str:
    return plain_name(path.relative_to(base).as_posix())


def _largest_first(files: Mapping[str, Path]) -> list[tuple[str, Path]]:
    # So that the last minutes of a long run are not one big file on one core.
    def size(path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0

    return sorted(files.items(), key=lambda item: (-size(item[1]), item[0]))


def _named_splits(path: Path, documents: Sequence[str]) -> dict[str, str]:
    names, given = Names(documents), {}
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
    if entries and not entries & {store.HEAD, store.JOURNAL}:
        raise DataError(f"{root} has other files in it; choose a new folder for the dataset")


def _finished_records(root: Path, made_by: Mapping[str, Any]) -> dict[str, Document]:
    """The documents of a finished dataset in ``root`` made with the same settings."""
    try:
        head = store.read_head(root)
        if head.get("made_by") != made_by:
            return {}
        return {item.document: replace(item, split=None) for item in store.read_documents_table(root)}
    except DataError:
        return {}  # no finished dataset, or a damaged one: it is made anew


def _readers() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("pypdfium2", "Pillow"))


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


def _with_bar(records: Any, total: int, progress: bool | None) -> Any:
    """The records as they come, counted by a bar on standard error where somebody is looking."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (console.is_terminal if progress is None else progress):
        yield from records
        return
    columns = (
        TextColumn("Reading documents"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pages]:,} pages, {task.fields[skipped]} skipped"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task("", total=total, pages=0, skipped=0)
        pages = skipped = 0
        for record in records:
            pages, skipped = pages + len(record.pages), skipped + (record.status != "ok")
            bar.update(shown, advance=1, pages=pages, skipped=skipped)
            yield record
