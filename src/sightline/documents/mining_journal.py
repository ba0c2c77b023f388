"""What a run of mining has finished, appended chunk by chunk, so that a killed run loses a chunk at most.

The first line says what the chunks were made of; with anything else they are not used again. A half-written last
line, which a kill can leave, is cut off. Floats are written so that they read back to the same bits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.documents.mining_rules import Mined

_FIELDS = ("positives", "positive_scores", "negatives", "scores", "ranks")


class MiningJournal:
    """A journal at ``path``, open for writing.

    Args:
        path: the file.
        made_by: what decides the chunks; JSON.

    Attributes:
        chunks: those of an earlier run.
    """

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        self.path = path
        self.chunks: list[list[Mined]] = []
        header = json.dumps(dict(made_by), sort_keys=True).encode() + b"\n"
        good = self._read(header) if path.is_file() else 0
        self._file = path.open("r+b" if good else "wb")
        self._file.truncate(good)
        self._file.seek(good)
        if not good:
            self._write(header)

    def _read(self, header: bytes) -> int:
        """Fills ``chunks``; the number of bytes that are whole lines of this journal."""
        with self.path.open("rb") as file:
            if file.readline() != header:
                return 0
            good = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    self.chunks.append([_mined(record) for record in json.loads(line)])
                except (ValueError, TypeError, KeyError):
                    break
                good += len(line)
        return good

    def add(self, chunk: Sequence[Mined]) -> None:
        """Appends a chunk; when this returns, it survives a power cut."""
        self._write(json.dumps([_record(one) for one in chunk]).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def _record(mined: Mined) -> dict[str, Any]:
    return {**{name: list(getattr(mined, name)) for name in _FIELDS}, "dropped": mined.dropped}


def _mined(record: Mapping[str, Any]) -> Mined:
    lists = {name: tuple(record[name]) for name in _FIELDS}
    return Mined(**lists, dropped=dict(record["dropped"]))  # type: ignore[arg-type]
