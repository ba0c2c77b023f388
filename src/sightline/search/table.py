"""The Lance table of pages: the one place that speaks LanceDB.

Shape letters: D vector components, N rows added.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError, SightlineError
from sightline.search.pages import PageRecord
from sightline.search.words import TOKENIZER, clean, fold, query_terms

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NAME = "pages"
# Lance's names; with unit vectors dot is the cosine, and the cheaper of the two.
METRICS = {"cosine": "dot", "dot": "dot", "euclidean": "l2"}
FULL_TEXT = {**TOKENIZER, "with_position": True}
_FACTS = ["position", "page_id", "document", "page", "image", "width", "height", "text"]


@dataclass(frozen=True, slots=True)
class Match:
    """One row found by a single ranking: Lance's row id, place of the page in the index, page id, score."""

    row: int
    position: int
    page_id: str
    score: float


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page as the index holds it; ``image`` is relative to the media root, or absolute, or ``""``."""

    page_id: str
    document: str
    page: int
    image: str
    width: int
    height: int
    text: str


class PageTable:
    """Pages with vectors and words in the Lance table of one folder.

    Args:
        folder: where ``pages.lance`` lies.
        similarity: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        table: the open LanceDB table.
    """

    def __init__(self, folder: Path, similarity: str, table: Any) -> None:
        self.folder = folder
        self._metric = METRICS[similarity]
        self._table = table

    @classmethod
    def create(cls, folder: Path, similarity: str, dim: int) -> PageTable:
        """An empty table in place of what may be there."""
        import lancedb
        import pyarrow as pa

        schema = pa.schema(
            [
                ("position", pa.int64()),
                ("page_id", pa.string()),
                ("document", pa.string()),
                ("page", pa.int32()),
                ("image", pa.string()),
                ("width", pa.int32()),
                ("height", pa.int32()),
                ("text", pa.string()),
                ("words", pa.string()),
                ("vector", pa.list_(pa.float32(), dim)),
            ]
        )
        with _writing(folder):
            # Lance's own "overwrite" keeps what it cannot read and warns where there is nothing.
            shutil.rmtree(folder / f"{NAME}.lance", ignore_errors=True)
            table = lancedb.connect(str(folder)).create_table(NAME, schema=schema)
        return cls(folder, similarity, table)

    @classmethod
    def open(cls, folder: Path, similarity: str) -> PageTable:
        """The table that is there.

        Raises:
            SearchIndexError: there is none, or Lance cannot read it.
        """
        import lancedb

        if not (folder / f"{NAME}.lance").is_dir():
            raise SearchIndexError(
                f"{folder} has no {NAME}.lance; build the index again with `sightline index`"
            )
        with _reading(folder):
            return cls(folder, similarity, lancedb.connect(str(folder)).open_table(NAME))

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def count_without_vector(self) -> int:
        return int(self._table.count_rows("vector IS NULL"))

    def documents(self) -> tuple[str, ...]:
        """Document names in the order of their first page."""
        import pyarrow.compute as pc

        with _reading(self.folder):
            table = self._table.search().select(["position", "document"]).limit(len(self)).to_arrow()
        return tuple(pc.unique(table.sort_by("position")["document"]).to_pylist())

    def add(
        self,
        records: Sequence[PageRecord],
        images: Sequence[str],
        vectors: Sequence[np.ndarray | None],
        *,
        first: int,
    ) -> None:
        """Append pages in one commit: after a kill either all of them are there or none.

        Args:
            records: N pages.
            images: N image paths to store.
            vectors: N vectors (D,), None for a page that has none.
            first: position of the first of them in the index.
        """
        import pyarrow as pa

        schema = self._table.schema
        columns = {
            "position": range(first, first + len(records)),
            "page_id": [record.page_id for record in records],
            "document": [record.document for record in records],
            "page": [record.page for record in records],
            "image": images,
            "width": [record.width for record in records],
            "height": [record.height for record in records],
            "text": [clean(record.text) for record in records],
            "words": [fold(record.text) for record in records],
            "vector": vectors,
        }
        arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
        with _writing(self.folder):
            self._table.add(pa.Table.from_arrays(arrays, schema=schema))

    def finish(self) -> None:
        """Merge the pieces of the batches into large files, then build the full-text index."""
        from lancedb.index import FTS

        with _writing(self.folder):
            # Nobody else reads an unfinished version, so what a killed run left behind can go at once.
            self._table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)
            self._table.create_index("words", config=FTS(**FULL_TEXT), replace=True)

    def nearest(
        self, vector_D: np.ndarray, limit: int, documents: Sequence[str] | None = None
    ) -> list[Match]:
        """The ``limit`` pages of highest similarity, by comparing all vectors; best first."""
        query = self._table.search(vector_D, vector_column_name="vector").distance_type(self._metric)
        found = self._ranked(query, "_distance", limit, documents)
        if self._metric == "dot":
            return _ordered(found, lambda distance: 1.0 - distance)
        return _ordered(found, lambda distance: -(max(distance, 0.0) ** 0.5))

    def matching(self, text: str, limit: int, documents: Sequence[str] | None = None) -> list[Match]:
        """The ``limit`` pages of highest BM25 over the words of ``text``, best first; pages share >= 1 word.

        ``text`` is words and nothing else: quotes, operators, brackets and wildcards mean nothing.
        """
        from lancedb.query import MatchQuery

        words = query_terms(text)
        if not words.strip():
            return []
        query = self._table.search(MatchQuery(words, "words"))  # type: ignore[call-arg]
        return _ordered(self._ranked(query, "_score", limit, documents), float)

    def pages(self, rows: Sequence[int]) -> list[StoredPage]:
        """The pages of these row ids, in their order."""
        if not rows:
            return []
        with _reading(self.folder):
            table = self._table.take_row_ids(list(rows)).select(_FACTS).with_row_id().to_arrow()
        by_row = {entry.pop("_rowid"): entry for entry in table.to_pylist()}
        return [
            StoredPage(**{name: by_row[row][name] for name in _FACTS if name != "position"}) for row in rows
        ]

    def _ranked(self, query: Any, column: str, limit: int, documents: Sequence[str] | None) -> pa.Table:
        from lancedb.expr import col

        if documents is not None:
            query = query.where(col("document").isin(list(map(clean, documents))), prefilter=True)
        selected = query.select(["position", "page_id", column]).with_row_id(True).limit(limit)
        with _reading(self.folder):
            return selected.to_arrow().rename_columns({column: "score"})


def _ordered(found: pa.Table, score: Any) -> list[Match]:
    """Matches, best first; equal scores in the order of the pages, whatever order Lance found them in."""
    matches = [
        Match(entry["_rowid"], entry["position"], entry["page_id"], score(entry["score"]))
        for entry in found.to_pylist()
    ]
    return sorted(matches, key=lambda match: (-match.score, match.position))


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Lance's errors on reading (files lost or overwritten) as one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise SearchIndexError(
            f"{folder}/{NAME}.lance cannot be read ({_first_line(error)}); delete the index's folder and "
            f"build it again with `sightline index`"
        ) from error


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Lance's errors on writing (disk full, no permission) as one sentence."""
    try:
        yield
    except SightlineError:
        raise
    except (OSError, RuntimeError) as error:
        raise SearchIndexError(
            f"{folder}: the index cannot be written ({_first_line(error)}); "
            f"the version before, if any, is untouched; run the same command again to go on"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
