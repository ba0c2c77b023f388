"""The journal of an unfinished ingest: what is finished, appended as it comes, so that a killed run loses nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.documents.records import Document, RecognisedText

JOURNAL = "ingest.journal"
VERSION = 2
SYNC_SECONDS = 1.0


class Journal:
    """JSON lines: a header, then finished documents and pages whose text was recognised.

    The header says which settings made the records; with other settings they are not used again.
    A half-written last line, which a kill can leave, is cut off.

    Attributes:
        documents: finished documents by id.
        recognised: recognised pages of documents that are not finished, by document id and page.
    """

    def __init__(self, root: Path, made_by: Mapping[str, Any]) -> None:
        path = root / JOURNAL
        header = json.dumps({"journal": VERSION, "made_by": dict(made_by)}, sort_keys=True)
        self.documents: dict[str, Document] = {}
        self.recognised: dict[str, dict[int, RecognisedText]] = {}
        good = self._read(path, header) if path.is_file() else 0
        self._file = path.open("r+b" if good else "wb")
        self._file.truncate(good)
        self._file.seek(good)
        self._synced = time.monotonic()
        if not good:
            self._file.write(header.encode() + b"\n")
            self.sync()

    def _read(self, path: Path, header: str) -> int:
        """Take over what the file holds; the number of bytes that are whole lines of this journal."""
        good = 0
        with path.open("rb") as file:
            if file.readline() != header.encode() + b"\n":
                return 0
            good = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    self._take(json.loads(line))
                except (ValueError, TypeError, KeyError):
                    break
                good += len(line)
        return good

    def _take(self, entry: Mapping[str, Any]) -> None:
        if "recognised" in entry:
            found = RecognisedText(**entry["recognised"])
            self.recognised.setdefault(found.document, {})[found.page] = found
        else:
            record = Document.from_dict(entry)
            self.documents[record.document] = record

    def add(self, record: Document | RecognisedText) -> None:
        """Append a record; it survives a kill at once and a power cut a second later."""
        entry = {"recognised": record.to_dict()} if isinstance(record, RecognisedText) else record.to_dict()
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        self._file.close()
