"""One build: encode pages batch by batch, commit as it goes, go on where a killed build was.

Shape letters: D vector components.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sightline import __version__
from sightline.errors import SearchIndexError
from sightline.models.fingerprint import fingerprint
from sightline.search import facts as store
from sightline.search.facts import IndexFacts
from sightline.search.pages import Fields, PageRecord, digest, value_of
from sightline.search.progress import Progress
from sightline.search.table import FULL_TEXT, PageTable
from sightline.search.vectors import stored_form

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder

logger = logging.getLogger(__name__)

# A commit is a file; few enough files for a million pages, small enough pieces to hold in memory.
COMMIT_PAGES = 4096


@dataclass(frozen=True)
class Build:
    """One version to be built: the pages, the model, and how.

    Attributes:
        root: the index folder.
        records: checked pages, in the order they are stored.
        encoder: the model.
        fields: what of a page is embedded.
        dims: components kept, and components the model gives.
        similarity: "cosine", "dot" or "euclidean".
        model: where the model came from.
        media_root: image paths are stored relative to it.
    """

    root: Path
    records: list[PageRecord]
    encoder: Encoder
    fields: Fields
    dims: tuple[int, int]
    similarity: str
    model: str
    media_root: Path | None

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.encoder)

    @cached_property
    def version(self) -> str:
        """Equal for equal pages, model and settings: how a build finds what it left behind."""
        plan = [
            store.FORMAT,
            self.fingerprint,
            self.encoder.prompt_for("document"),
            self.fields,
            self.dims,
            self.similarity,
            FULL_TEXT,
            digest(self.records, self.images, self.fields),
        ]
        return hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:16]

    @cached_property
    def images(self) -> list[str]:
        """Image paths as they are stored, one per page."""
        return [self._stored_image(record) for record in self.records]

    def run(self, batch_size: int, commit_seconds: float, report: Progress) -> None:
        """Encode and commit what is not there yet, index the text, and write the facts."""
        folder = store.version_folder(self.root, self.version)
        table = self._table(folder)
        done = len(table)
        if done:
            logger.info("%s: going on after %d of %d pages", self.root, done, len(self.records))
        report(done, len(self.records))
        pending: list[np.ndarray | None] = []
        committed_at = time.monotonic()
        for start in range(done, len(self.records), batch_size):
            pending += self._encode(self.records[start : start + batch_size])
            last = done + len(pending) == len(self.records)
            if last or len(pending) >= COMMIT_PAGES or time.monotonic() - committed_at >= commit_seconds:
                batch = self.records[done : done + len(pending)]
                table.add(batch, self.images[done : done + len(pending)], pending, first=done)
                done += len(pending)
                pending, committed_at = [], time.monotonic()
            report(done + len(pending), len(self.records))
        table.finish()
        store.write_facts(self.root, self._facts(table.count_without_vector()))

    def refresh_facts(self) -> None:
        """Note where images and model lie now, in the facts of a version that is built already."""
        facts = store.read_facts(self.root, self.version)
        now = replace(facts, model=self.model, media_root=str(self.media_root or ""))
        if now != facts:
            store.write_facts(self.root, now)

    def _table(self, folder: Path) -> PageTable:
        """The table of the unfinished build, if there is one that can be read, else a new one."""
        folder.mkdir(exist_ok=True)
        try:
            table = PageTable.open(folder, self.similarity)
        except SearchIndexError:
            return PageTable.create(folder, self.similarity, self.dims[0])
        return (
            table
            if len(table) <= len(self.records)
            else PageTable.create(folder, self.similarity, self.dims[0])
        )

    def _encode(self, records: Sequence[PageRecord]) -> list[np.ndarray | None]:
        """A vector (D,) per page, None for pages that have nothing to embed."""
        import numpy as np

        values = [value_of(record, self.fields) for record in records]
        present = [position for position, value in enumerate(values) if value is not None]
        vectors: list[np.ndarray | None] = [None] * len(values)
        if not present:
            return vectors
        embeddings = self.encoder.encode_document(
            [values[position] for position in present], show_progress=False
        )
        vectors_ND = embeddings.numpy()
        if vectors_ND.ndim != 2:
            raise SearchIndexError(
                "this model gives several vectors per page; the index holds one vector per page"
            )
        stored_ND = stored_form(vectors_ND, self.dims[0], self.similarity)
        for position, vector_D in zip(present, stored_ND):
            if not np.isfinite(vector_D).all():
                raise SearchIndexError(
                    f"the model's vector of page {records[position].page_id!r} is not finite; "
                    f"try another dtype (float16 overflows with some models)"
                )
            vectors[position] = vector_D
        return vectors

    def _stored_image(self, record: PageRecord) -> str:
        if record.image is None:
            return ""
        image = record.image.absolute()
        if self.media_root is not None and image.is_relative_to(self.media_root):
            return image.relative_to(self.media_root).as_posix()
        return str(image)

    def _facts(self, without_vector: int) -> IndexFacts:
        return IndexFacts(
            version=self.version,
            fingerprint=self.fingerprint,
            model=self.model,
            dim=self.dims[0],
            model_dim=self.dims[1],
            fields=self.fields,
            similarity=self.similarity,
            pages=len(self.records),
            pages_without_vector=without_vector,
            documents=len({record.document for record in self.records}),
            media_root=str(self.media_root or ""),
            full_text=FULL_TEXT,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            sightline=__version__,
        )
