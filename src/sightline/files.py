"""Files and folders that appear in one step, so that a killed process leaves the old one or the new one, whole."""

from __future__ import annotations

import glob
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.errors import DataError

# Seconds after which a file counts as left behind that a process of another machine has begun: writing takes seconds.
_ABANDONED = 3600


def write_text(path: str | os.PathLike[str], text: str, *, errors: str = "strict") -> Path:
    """Replace a UTF-8 file; what stood there stays when this fails or is cut off, by a power cut too.

    Args:
        path: the file; its folder is made if needed.
        text: the new content.
        errors: as for `open`, for text that UTF-8 cannot hold.

    Returns:
        The path.
    """
    return write_bytes(path, text.encode("utf-8", errors))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """`write_text` for any content."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{_writer()}.part")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    _sync(path.parent)
    return path


def remove_unfinished(path: str | os.PathLike[str], *, shared: bool = False) -> None:
    """Delete what `write_text` left beside ``path`` when it was killed.

    Args:
        path: the file that was to be written.
        shared: other processes may be writing it, too, on other machines as well: what living ones are at stays. Of
            another machine that is what is younger than an hour, as nobody here knows which of its processes live.
    """
    path = Path(path)
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not (shared and _is_written(aside)):
            aside.unlink(missing_ok=True)


def _writer() -> str:
    """This process among those of all machines that see a folder: ``MACHINE-PROCESS``."""
    # A name of a machine may be long and have dots in it.
    return f"{zlib.crc32(os.uname().nodename.encode()):08x}-{os.getpid()}"


def _is_written(aside: Path) -> bool:
    machine, _, process = aside.suffixes[-2][1:].partition("-")
    if machine == _writer().partition("-")[0]:
        return _is_alive(int(process))
    try:
        return time.time() - aside.stat().st_mtime < _ABANDONED
    except FileNotFoundError:  # its writer is done with it
        return True


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Replace a JSON file, as `write_text` does.

    A file name that is not UTF-8 arrives as lone surrogates and is written in JSON's spelling, ``\\udcff``.

    Raises:
        ValueError: NaN or infinity, which JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    return write_text(path, text, errors="backslashreplace")


@contextmanager
def held(path: str | os.PathLike[str], taken: Exception | None) -> Iterator[None]:
    """Hold a file or folder for one writer; the lock ends with the process, even after kill -9.

    Raises:
        Exception: ``taken``, when another process has it; without one, its turn is waited for.
    """
    import fcntl

    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if taken else 0))
        except BlockingIOError as error:
            assert taken is not None
            raise taken from error
        yield
    finally:
        os.close(handle)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to be filled, which gets its name when it is whole; when filling it fails, nothing is left.

    Args:
        path: the folder; it must not exist, or be empty.

    Raises:
        DataError: something is there already, or it cannot be made.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise DataError(f"{path} is there already; name a new folder")
    aside = path.with_name(f".{path.name}.{_writer()}.part")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made ({error.strerror})") from error
    try:
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            path.rmdir()
        os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _sync(path.parent)


def text_lines(path: Path, what: str) -> Iterator[tuple[str, str]]:
    """``("file.tsv:12", line)`` of each line that is not blank.

    Args:
        path: UTF-8 text, read a line at a time.
        what: the kind of file, for messages.

    Raises:
        DataError: no such file, not readable, or not UTF-8; names the line.
    """
    try:
        with path.open("rb") as file:
            # As bytes, so that a line that is not UTF-8 can be named. Not splitlines(): JSON strings may hold U+2028.
            for number, raw in enumerate(file, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise DataError(f"{path}:{number}: not UTF-8 text; save the file as UTF-8") from error
                if line.strip():
                    yield f"{path.name}:{number}", line
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such {what}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
