"""The files of a folder that is to be ingested, by their document ids."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sightline.documents.records import Document, plain_name
from sightline.errors import DataError


def discover(
    folder: Path, output: Path, ignore: Sequence[Path]
) -> tuple[dict[str, Path], dict[str, Document]]:
    """The regular files below ``folder`` by document id, and records of what cannot be opened at all.

    Hidden files and folders are left out, links to folders are not followed.

    Raises:
        DataError: when the folder is missing, empty or cannot be read, or is the output itself.
    """
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
        if Path(error.filename) == base:
            raise DataError(f"{folder}: the folder cannot be read ({error.strerror})") from error
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
