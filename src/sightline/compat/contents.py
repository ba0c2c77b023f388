"""Which rows share a value, for batches without duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import InputError
from sightline.inputs.hashing import part_key
from sightline.inputs.parse import plain
from sightline.training.rows import Rows

_PLAIN = (str, int, float, bool, bytes, type(None), np.integer, np.floating, np.bool_)


class Contents:
    """The values of each row as a set of 64-bit numbers, equal for equal contents in whichever columns.

    A row is read when it is first asked for; afterwards 8 bytes are kept per value.

    Args:
        rows: the dataset.
        usable: numbers of its rows that are counted through here.
        columns: whose values count.
    """

    def __init__(self, rows: Rows, usable: Sequence[int], columns: Sequence[str]) -> None:
        self._rows, self._usable, self._columns = rows, usable, columns
        self._hashes_NC = np.zeros((len(usable), len(columns)), dtype=np.int64)
        self._known_N = np.zeros(len(usable), dtype=bool)

    def __len__(self) -> int:
        return len(self._usable)

    def __getitem__(self, place: int) -> set[int]:
        if not self._known_N[place]:
            number, row = self._rows[self._usable[place]]
            for index, column in enumerate(self._columns):
                try:
                    self._hashes_NC[place, index] = _number(row[column])
                except InputError:  # it equals nothing; who reads the row tells of it, or leaves it out
                    self._hashes_NC[place, index] = _number(f"{number} {column} cannot be read")
            self._known_N[place] = True
        return set(self._hashes_NC[place].tolist())


def _number(value: Any) -> int:
    value = plain(value, None)
    text = str(value) if isinstance(value, _PLAIN) else _text(value)
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _text(value: Any) -> str:
    """What is equal for equal contents: media count by their bytes or pixels, wherever they come from."""
    value = plain(value, None)
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        if value.keys() == {"bytes", "path"}:
            path = str(value["path"])
            return part_key("image", value["bytes"] or (path if "://" in path else Path(path)))
        return f"{{{', '.join(f'{key!r}: {_text(one)}' for key, one in value.items())}}}"
    return part_key("image", value)
