"""Checkpoint folders that are whole or not there: written aside, synced, verified, renamed.

In the output folder of a run::

    checkpoint-40/            whole: every file is named, sized and hashed in its manifest.json
    .unfinished/              what is being written, replaced or deleted; never read as a checkpoint

A process may be killed at any moment, and the machine may lose power, without a half of a checkpoint ever
standing under a checkpoint's name.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sightline.errors import TrainingError
from sightline.files import write_json

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"
_NAME = re.compile(r"checkpoint-(\d+)")
_REPLACED, _DELETED = "replaced-", "deleted-"


class Checkpoints:
    """The checkpoints in one folder.

    Args:
        folder: the run's output folder; it need not exist yet.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.unfinished = self.folder / UNFINISHED

    def path(self, step: int) -> Path:
        """Where the checkpoint of an optimizer step stands."""
        return self.folder / f"checkpoint-{step}"

    def all(self) -> list[Path]:
        """Every folder that bears a checkpoint's name, whole or not, by step."""
        return _numbered(self.folder)

    # Writing

    def begin(self, step: int) -> Path:
        """Where to write the files of a checkpoint; what an earlier attempt left there is gone."""
        self.settle()
        if self.unfinished.exists():
            shutil.rmtree(self.unfinished)
        self.unfinished.mkdir(parents=True)
        return self.unfinished / self.path(step).name

    def publish(self, step: int) -> Path:
        """Makes what was written since `begin` the checkpoint of the step.

        Raises:
            TrainingError: what lies on the disk is not what was written.
            OSError: the disk is full or fails.
        """
        written, final = self.unfinished / self.path(step).name, self.path(step)
        seal(written, step)
        wrong = problem(written, past_cache=True)
        if wrong is not None:
            raise TrainingError(f"{final.name} did not arrive on the disk as it was written: {wrong}")
        if final.exists():
            os.rename(final, self.unfinished / f"{_REPLACED}{final.name}")
        os.rename(written, final)
        sync_folder(self.folder)
        shutil.rmtree(self.unfinished, ignore_errors=True)
        return final

    def abandon(self) -> None:
        """Frees what a failed attempt took."""
        with suppress(OSError):  # the disk that failed may fail again
            self.settle()
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def rotate(self, limit: int | None, keep: Collection[Path]) -> None:
        """Deletes the oldest checkpoints beyond ``limit``, but none of ``keep``.

        One that is being deleted loses its name first, so that no rest of it is taken for a checkpoint.
        """
        if not limit or limit < 0:
            return
        kept = {path.resolve() for path in keep}
        everything = self.all()
        surplus = len(everything) - max(limit, len(kept))
        for path in everything:
            if surplus > 0 and path.resolve() not in kept:
                self.delete(path)
                surplus -= 1

    def delete(self, path: Path) -> None:
        """Deletes one checkpoint."""
        self.unfinished.mkdir(exist_ok=True)
        doomed = self.unfinished / f"{_DELETED}{path.name}"
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(path, doomed)
        sync_folder(self.folder)
        shutil.rmtree(self.unfinished, ignore_errors=True)

    # Reading

    def settle(self) -> list[str]:
        """Finishes or undoes what a killed process was about to rename.

        Returns:
            One sentence per checkpoint that was not written to its end.
        """
        halves = []
        moved = False
        for written in _numbered(self.unfinished):
            wrong = problem(written)
            if wrong is not None:
                halves.append(f"{written}: {wrong}")
            elif not (self.folder / written.name).exists():
                os.rename(written, self.folder / written.name)
                moved = True
        for replaced in self.unfinished.glob(f"{_REPLACED}checkpoint-*"):
            final = self.folder / replaced.name.removeprefix(_REPLACED)
            if not final.exists():
                os.rename(replaced, final)
                moved = True
        if moved:
            sync_folder(self.folder)
        return halves

    def newest(self) -> Path | None:
        """The whole checkpoint with the most steps, None where there is none.

        Those that are not whole are named in a warning, with the reason, and left out.
        """
        for half in self.settle():
            logger.warning("Left out a checkpoint that was being saved when the run ended: %s", half)
        for path in reversed(self.all()):
            wrong = why_not_resumable(path)
            if wrong is None:
                return path
            logger.warning("Left out a checkpoint that is not whole: %s: %s", path, wrong)
        return None


def seal(folder: Path, step: int) -> None:
    """Syncs every file of a checkpoint to the disk and then writes its manifest."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(_files(folder)):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            files[path.relative_to(folder).as_posix()] = {
                "size": os.fstat(file.fileno()).st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    write_json(folder / MANIFEST, {"format": 1, "step": step, "files": files})
    for inner in [path for path in folder.rglob("*") if path.is_dir()] + [folder, folder.parent]:
        sync_folder(inner)


def problem(folder: Path, *, past_cache: bool = False) -> str | None:
    """Why a checkpoint is not whole, None where it is.

    Args:
        folder: the checkpoint.
        past_cache: ask the system to read from the disk, not from what it still holds of the files.
    """
    if not folder.is_dir():
        return "there is no such folder"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(one["size"]), str(one["sha256"])) for name, one in manifest["files"].items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}, which is written last"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its {MANIFEST} cannot be read ({error})"
    # Sizes first: most damage shows there, without reading everything.
    for name, (size, _) in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if (found := (folder / name).stat().st_size) != size:
            return f"{name} has {found:,} bytes instead of {size:,}"
    for name, (_, digest) in files.items():
        try:
            with (folder / name).open("rb") as file:
                if past_cache and sys.platform == "linux":
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return f"the content of {name} has changed since it was written"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return None


def why_not_resumable(folder: Path) -> str | None:
    """Why a run cannot go on from a folder, None where it can."""
    wrong = problem(folder)
    if wrong is None and not any(
        (folder / name).exists() for name in ("optimizer.pt", "optimizer.bin", "optimizer_0")
    ):
        wrong = "it holds the model alone (save_only_model), no state of a run"
    return wrong


def sync_folder(folder: Path) -> None:
    """Makes renames inside a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)


def _numbered(folder: Path) -> list[Path]:
    """Sub-folders named ``checkpoint-<step>``, by step."""
    if not folder.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := _NAME.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(found)]
