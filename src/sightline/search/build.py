"""One build: copy the vectors that are there, embed the other pages, commit as it goes, go on where it was killed.

Shape letters: D vector components.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline import __version__
from sightline.errors import SearchIndexError
from sightline.search import facts as store
from sightline.search.approximate import Approximate, Plan
from sightline.search.embedding import Engine
from sightline.search.facts import VERSIONS, IndexFacts
from sightline.search.folders import Folder
from sightline.search.layout import Layout
from sightline.search.pages import PageRecord, digest, value_of
from sightline.search.progress import Progress
from sightline.search.recipe import Recipe
from sightline.search.reuse import Kept
from sightline.search.table import FULL_TEXT, PageTable
from sightline.search.vector_facts import VectorFacts
from sightline.search.versions import read_pointer

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

logger = logging.getLogger(__name__)

# A commit is a file; few enough files for a million pages, small enough pieces to hold in memory.
COMMIT_PAGES = 4096


@dataclass(frozen=True, slots=True)
class Changes:
    """What a build did.

    Attributes:
        embedded: pages that went through the model.
        kept: pages whose vectors were there.
        removed: pages of the version open until then that are in the new one no more.
    """

    embedded: int
    kept: int
    removed: int

    def __str__(self) -> str:
        return f"{self.embedded:,} pages embedded, {self.removed:,} removed, {self.kept:,} kept"


@dataclass(frozen=True)
class Build:
    """One version to be built: the pages, the model, and how.

    Attributes:
        folder: the index.
        records: checked pages, in the order they are stored.
        recipe: the model, and how it is used.
        engine: what embeds.
        model: where the model came from.
        media_root: image paths are stored relative to it.
        plan: how the vectors are to be searched.
        questions: gives the vectors of real questions, by which the recall of a search is measured.
    """

    folder: Folder
    records: list[PageRecord]
    recipe: Recipe
    engine: Engine
    model: str
    media_root: Path | None
    plan: Plan = field(default_factory=Plan)
    questions: Callable[[], Sequence[np.ndarray]] = tuple

    @cached_property
    def version(self) -> str:
        """Equal for equal pages, model and settings: how a build finds what it left behind."""
        pages = digest(self.records, self.images)
        plan = [store.FORMAT, self.recipe.to_json(), asdict(self.plan), FULL_TEXT, pages]
        return hashlib.sha256(json.dumps(plan).encode()).hexdigest()[:16]

    @cached_property
    def images(self) -> list[str]:
        """Image paths as they are stored, one per page."""
        return [self._stored_image(record) for record in self.records]

    def run(self, batch_size: int, commit_seconds: float, report: Progress) -> Changes:
        """Copy or embed, and commit, what is not there yet, index the text, and write the facts."""
        table = self._table()
        kept = Kept(self.folder, self.recipe, self._others(), table.layout)
        new = [
            value_of(record, self.recipe.fields) is not None and not kept.has(record)
            for record in self.records
        ]
        removed = self._removed()
        done = len(table)
        if done:
            logger.info("%s: going on after %d of %d pages", self.folder.uri, done, len(self.records))
        report(done, len(self.records))
        windows = list(_windows(new, done, batch_size))
        batches = (self._values(positions) for _, positions in windows if positions)
        embedded = self.engine.embed(batches, self.recipe.token_pooling)
        pending: dict[int, np.ndarray] = {}
        committed_at = time.monotonic()
        for stop, positions in windows:
            if positions:
                pending |= self._checked(positions, next(embedded))
            last = stop == len(self.records)
            if last or stop - done >= COMMIT_PAGES or time.monotonic() - committed_at >= commit_seconds:
                batch = self.records[done:stop]
                columns = self._columns(table, kept, range(done, stop), new, pending)
                table.add(batch, self.images[done:stop], columns, first=done)
                done, pending, committed_at = stop, {}, time.monotonic()
            report(stop, len(self.records))
        questions = self.questions() if self.plan.wanted(self.recipe.layout, len(self.records)) else ()
        approximate = table.finish(self.recipe.layout, self.plan, questions)
        store.write_facts(self.folder, self._facts(table, approximate))
        return Changes(sum(new), len(new) - sum(new), removed)

    def unchanged(self) -> Changes:
        """What there is to say of a version that is built already; notes where its images and model lie now."""
        facts = store.read_facts(self.folder, self.version)
        now = replace(facts, model=self.model, media_root=str(self.media_root or ""))
        if now != facts:
            store.write_facts(self.folder, now)
        return Changes(0, len(self.records), self._removed())

    def _others(self) -> list[str]:
        """Versions to copy from: the open one first."""
        pointer = read_pointer(self.folder)
        named = () if pointer is None else pointer.kept
        found = [name for name in (*named, *self.folder.names(VERSIONS)) if name != self.version]
        return list(dict.fromkeys(found))

    def _removed(self) -> int:
        """Pages that the open version has and this one has not."""
        pointer = read_pointer(self.folder)
        if pointer is None or pointer.version == self.version:
            return 0
        try:
            opened = PageTable.open(self.folder, pointer.version)
        except SearchIndexError:
            return 0  # it is damaged; this build mends that
        return len(set(opened.page_ids()) - {record.page_id for record in self.records})

    def _table(self) -> PageTable:
        """The table of the unfinished build, if there is one that can be read, else a new one."""
        if store.read_recipe(self.folder, self.version) == self.recipe.to_json():
            try:
                table = PageTable.open_unfinished(self.folder, self.version)
                if len(table) <= len(self.records):
                    return table
            except SearchIndexError:
                pass  # killed while it was made
        store.remove_version(self.folder, self.version)
        table = PageTable.create(self.folder, self.version, self._layout())
        store.write_recipe(self.folder, self.version, self.recipe.to_json())
        return table

    def _layout(self) -> Layout:
        """How vectors are kept; codes by the ranges of a version they can be copied from, if there is one."""
        layout = self.recipe.layout
        for version in self._others() if layout.unsettled else ():
            if store.read_recipe(self.folder, version) == self.recipe.to_json():
                try:
                    return PageTable.open(self.folder, version).layout
                except SearchIndexError:
                    continue  # it is damaged, or on its way
        return layout

    def _values(self, positions: list[int]) -> list[dict[str, Any]]:
        values = [value_of(self.records[position], self.recipe.fields) for position in positions]
        return [value for value in values if value is not None]

    def _checked(self, positions: list[int], vectors: list[np.ndarray]) -> dict[int, np.ndarray]:
        """The vectors of these pages, made sure of."""
        import numpy as np

        assert len(positions) == len(vectors)
        for position, vector in zip(positions, vectors):
            if not np.isfinite(vector).all():
                raise SearchIndexError(
                    f"the model's vector of page {self.records[position].page_id!r} is not finite; "
                    f"try another dtype (float16 overflows with some models)"
                )
            if vector.shape[-1] < self.recipe.dim:
                raise SearchIndexError(
                    f"the model gives {vector.shape[-1]} components, the index holds {self.recipe.dim}; "
                    f"load the model without truncate_dim"
                )
        return dict(zip(positions, vectors))

    def _columns(
        self, table: PageTable, kept: Kept, places: range, new: list[bool], vectors: Mapping[int, np.ndarray]
    ) -> dict[str, pa.Array]:
        """The columns of vectors for these pages, copied and new ones in their places."""
        import pyarrow as pa

        copied = [
            place for place in places if not new[place] and value_of(self.records[place], self.recipe.fields)
        ]
        is_copied = set(copied)
        others = [place for place in places if place not in is_copied]
        made = table.arrays([vectors.get(place) for place in others])
        if not copied:
            return made
        found = kept.columns([self.records[place] for place in copied])
        at = {place: row for row, place in enumerate([*copied, *others])}
        order = [at[place] for place in places]
        return {name: pa.concat_arrays([found[name], made[name]]).take(pa.array(order)) for name in made}

    def _stored_image(self, record: PageRecord) -> str:
        if record.image is None:
            return ""
        image = record.image.absolute()
        if self.media_root is not None and image.is_relative_to(self.media_root):
            return image.relative_to(self.media_root).as_posix()
        return str(image)

    def _facts(self, table: PageTable, approximate: Sequence[Approximate]) -> IndexFacts:
        return IndexFacts(
            version=self.version,
            fingerprint=self.recipe.fingerprint,
            model=self.model,
            dim=self.recipe.dim,
            model_dim=self.recipe.model_dim,
            fields=self.recipe.fields,
            similarity=self.recipe.similarity,
            pages=len(self.records),
            vectors=VectorFacts(
                self.recipe.precision,
                self.recipe.dims,
                self.recipe.rescore,
                self.recipe.token_pooling,
                table.bytes_per_page(),
                self.plan,
                tuple(approximate),
            ).to_json(),
            pages_without_vector=table.count_without_vector(),
            documents=len({record.document for record in self.records}),
            media_root=str(self.media_root or ""),
            full_text=FULL_TEXT,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            sightline=__version__,
        )


def _windows(new: list[bool], start: int, batch_size: int) -> Iterator[tuple[int, list[int]]]:
    """Pieces of the pages from ``start`` on: where each ends, and which of its pages are to be embedded.

    Each has a whole batch for the model, however many pages between are copied, but never more than a commit.
    """
    positions: list[int] = []
    begun = start
    for place in range(start, len(new)):
        if new[place]:
            positions.append(place)
        if len(positions) == batch_size or place + 1 - begun == COMMIT_PAGES or place + 1 == len(new):
            yield place + 1, positions
            positions, begun = [], place + 1
