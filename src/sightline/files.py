"""Files that are replaced in one step, so that a killed process leaves the old one or the new one, whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: str | os.PathLike[str], text: str, *, errors: str = "strict") -> Path:
    """Replace a UTF-8 file; what stood there stays when this fails or is cut off, by a power cut too.

    Args:
        path: the file; its folder is made if needed.
        text: the new content.
        errors: as for `open`, for text that UTF-8 cannot hold.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("w", encoding="utf-8", errors=errors) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """Replace a JSON file, as `write_text` does.

    A file name that is not UTF-8 arrives as lone surrogates and is written in JSON's spelling, ``\\udcff``.

    Raises:
        ValueError: NaN or infinity, which JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    return write_text(path, text, errors="backslashreplace")
