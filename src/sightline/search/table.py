"""The Lance table of pages: the one place that speaks LanceDB.

Shape letters: D vector components, N rows added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError, SightlineError
from sightline.search.facts import place_of, unwritable
from sightline.search.filters import Filter, condition, facets_of, read_metadata, stored_metadata
from sightline.search.folders import Folder
from sightline.search.pages import Fields, PageRecord, StoredPage, content_key, stamp_of
from sightline.search.words import TOKENIZER, clean, fold, query_terms

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NAME = "pages"
# Lance's names; with unit vectors dot is the cosine, and the cheaper of the two.
METRICS = {"cosine": "dot", "dot": "dot", "euclidean": "l2"}
FULL_TEXT = {**TOKENIZER, "with_position": True}
_FACTS = [
    "page_id",
    "document",
    "page",
    "image",
    "width",
    "height",
    "text",
    "language",
    "kind",
    "metadata",
]
# From so many pages on, what filters compare with gets indexes; below that a scan is as quick.
_INDEXED_PAGES = 20_000


@dataclass(frozen=True, slots=True)
class Match:
    """One row found by a single ranking: Lance's row id, place of the page in the index, page id, score."""

    row: int
    position: int
    page_id: str
    score: float


class PageTable:
    """Pages with vectors and words in the Lance table of one folder.

    Args:
        folder: of the index.
        version: the version whose ``pages.lance`` it is.
        similarity: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
        table: the open LanceDB table.
    """

    def __init__(self, folder: Folder, version: str, similarity: str, table: Any) -> None:
        self.place = _place(folder, version)
        self._metric = METRICS[similarity]
        self._table = table

    @classmethod
    def create(cls, folder: Folder, version: str, similarity: str, dim: int) -> PageTable:
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
                ("language", pa.string()),
                ("kind", pa.string()),
                ("metadata", pa.string()),
                ("facets", pa.list_(pa.string())),
                ("stamp", pa.string()),
                ("vector", pa.list_(pa.float32(), dim)),
            ]
        )
        place = _place(folder, version)
        with _writing(place):
            # Lance's own "overwrite" keeps what it cannot read and warns where there is nothing.
            folder.remove(f"{place_of(version)}/{NAME}.lance")
            options = None if folder.options is None else dict(folder.options)
            table = lancedb.connect(place, storage_options=options).create_table(NAME, schema=schema)
        return cls(folder, version, similarity, table)

    @classmethod
    def open(cls, folder: Folder, version: str, similarity: str) -> PageTable:
        """The table that is there.

        Raises:
            SearchIndexError: there is none, or Lance cannot read it.
        """
        import lancedb

        place = _place(folder, version)
        if f"{NAME}.lance" not in folder.names(place_of(version)):
            raise SearchIndexError(
                f"{place} has no {NAME}.lance; build the index again with `sightline index`"
            )
        with _reading(place):
            options = None if folder.options is None else dict(folder.options)
            table = lancedb.connect(place, storage_options=options).open_table(NAME)
            return cls(folder, version, similarity, table)

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def count_without_vector(self) -> int:
        return int(self._table.count_rows("vector IS NULL"))

    def documents(self) -> dict[str, int]:
        """Document names in the order of their first page, with their numbers of pages."""
        column = self._column("document")
        return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}

    def distinct(self, column: str) -> tuple[str, ...]:
        """The values of ``"language"``, ``"kind"`` or ``"facets"`` that pages have, sorted."""
        import pyarrow as pa
        import pyarrow.compute as pc

        values = self._column(column)
        if pa.types.is_list(values.type):
            values = pc.list_flatten(values)
        return tuple(sorted(value for value in pc.unique(values).to_pylist() if value))

    def _column(self, name: str) -> pa.Array:
        """A column of all pages, in their order."""
        with _reading(self.place):
            table = self._table.search().select(["position", name]).limit(len(self)).to_arrow()
        return table.sort_by("position")[name].combine_chunks()

    def all_pages(self) -> Iterator[tuple[StoredPage, str]]:
        """Every page with the stamp of its image, in their order."""
        with _reading(self.place):
            query = self._table.search().select(["position", "stamp", *_FACTS]).limit(len(self))
            table = query.to_arrow().sort_by("position").drop_columns(["position"])
        for batch in table.to_batches():
            for entry in batch.to_pylist():
                stamp = entry.pop("stamp")
                yield _stored_page(entry), stamp

    def page_ids(self) -> list[str]:
        """The ids of all pages, in their order."""
        found: list[str] = self._column("page_id").to_pylist()
        return found

    def keys(self, fields: Fields) -> Iterator[tuple[bytes, int]]:
        """What the vector of each page was made from (`pages.content_key`), and its row; of pages that have one."""
        with _reading(self.place):
            query = (
                self._table.search().where("vector IS NOT NULL").select(["text", "stamp"]).with_row_id(True)
            )
            for batch in query.limit(len(self)).to_batches():
                rows = (batch[name].to_pylist() for name in ("text", "stamp", "_rowid"))
                for text, stamp, row in zip(*rows):
                    yield content_key(text, stamp, fields), row

    def vectors(self, rows: Sequence[int]) -> dict[str, pa.Array]:
        """The columns of vectors of these rows, in their order, as `add` takes them."""
        import pyarrow as pa

        with _reading(self.place):
            table = self._table.take_row_ids(list(rows)).select(["vector"]).with_row_id().to_arrow()
        place = {row: number for number, row in enumerate(table["_rowid"].to_pylist())}
        order = pa.array([place[row] for row in rows])
        return {"vector": table["vector"].combine_chunks().take(order)}

    def arrays(self, vectors: Sequence[np.ndarray | None]) -> dict[str, pa.Array]:
        """The columns of vectors for new pages: a vector (D,) for each, None for a page that has none."""
        import pyarrow as pa

        return {"vector": pa.array(vectors, type=self._table.schema.field("vector").type)}

    def add(
        self,
        records: Sequence[PageRecord],
        images: Sequence[str],
        vectors: Mapping[str, pa.Array],
        *,
        first: int,
    ) -> None:
        """Append pages in one commit: after a kill either all of them are there or none.

        Args:
            records: N pages.
            images: N image paths to store.
            vectors: the columns of vectors, see `arrays`.
            first: position of the first of them in the index.
        """
        import pyarrow as pa

        schema = self._table.schema
        columns: dict[str, Any] = {
            "position": range(first, first + len(records)),
            "page_id": [record.page_id for record in records],
            "document": [record.document for record in records],
            "page": [record.page for record in records],
            "image": images,
            "width": [record.width for record in records],
            "height": [record.height for record in records],
            "text": [clean(record.text) for record in records],
            "words": [fold(record.text) for record in records],
            "language": [record.language for record in records],
            "kind": [record.kind for record in records],
            "metadata": [stored_metadata(record.metadata) for record in records],
            "facets": [facets_of(record.metadata) for record in records],
            "stamp": [stamp_of(record) for record in records],
        }
        arrays = [
            vectors[field.name] if field.name in vectors else pa.array(columns[field.name], type=field.type)
            for field in schema
        ]
        with _writing(self.place):
            self._table.add(pa.Table.from_arrays(arrays, schema=schema))

    def finish(self) -> None:
        """Merge the pieces of the batches into large files, then build the full-text index."""
        from lancedb.index import FTS

        with _writing(self.place):
            # Nobody else reads an unfinished version, so what a killed run left behind can go at once.
            self._table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)
            self._table.create_index("words", config=FTS(**FULL_TEXT), replace=True)
            if len(self) >= _INDEXED_PAGES:
                for column, config in _filter_indexes().items():
                    self._table.create_index(column, config=config, replace=True)

    def nearest(self, vector_D: np.ndarray, limit: int, where: Filter | None = None) -> list[Match]:
        """The ``limit`` pages of highest similarity, by comparing all vectors; best first."""
        query = self._table.search(vector_D, vector_column_name="vector").distance_type(self._metric)
        found = self._ranked(query, "_distance", limit, where)
        if self._metric == "dot":
            return _ordered(found, lambda distance: 1.0 - distance)
        return _ordered(found, lambda distance: -(max(distance, 0.0) ** 0.5))

    def matching(self, text: str, limit: int, where: Filter | None = None) -> list[Match]:
        """The ``limit`` pages of highest BM25 over the words of ``text``, best first; pages share >= 1 word.

        ``text`` is words and nothing else: quotes, operators, brackets and wildcards mean nothing.
        """
        from lancedb.query import MatchQuery

        words = query_terms(text)
        if not words.strip():
            return []
        query = self._table.search(MatchQuery(words, "words"))  # type: ignore[call-arg]
        return _ordered(self._ranked(query, "_score", limit, where), float)

    def pages(self, rows: Sequence[int]) -> list[StoredPage]:
        """The pages of these row ids, in their order."""
        if not rows:
            return []
        with _reading(self.place):
            table = self._table.take_row_ids(list(rows)).select(_FACTS).with_row_id().to_arrow()
        by_row = {entry.pop("_rowid"): entry for entry in table.to_pylist()}
        return [_stored_page(by_row[row]) for row in rows]

    def page(self, page_id: str) -> StoredPage | None:
        """The page of this id, None where there is none."""
        found = self._equal("page_id", page_id, 1)
        return found[0] if found else None

    def pages_of(self, document: str) -> list[StoredPage]:
        """The pages of a document in their order, none where there is no such document."""
        return sorted(self._equal("document", document, len(self)), key=lambda page: page.page)

    def _equal(self, column: str, value: str, limit: int) -> list[StoredPage]:
        from lancedb.expr import col, lit

        with _reading(self.place):
            query = self._table.search().where(col(column).eq(lit(clean(value)))).select(_FACTS).limit(limit)
            return [_stored_page(entry) for entry in query.to_arrow().to_pylist()]

    def _ranked(self, query: Any, column: str, limit: int, where: Filter | None) -> pa.Table:
        if (wanted := condition(where)) is not None:
            query = query.where(wanted, prefilter=True)
        selected = query.select(["position", "page_id", column]).with_row_id(True).limit(limit)
        with _reading(self.place):
            return selected.to_arrow().rename_columns({column: "score"})


def _filter_indexes() -> dict[str, Any]:
    """Column -> the kind of index that suits what filters ask of it."""
    from lancedb.index import Bitmap, BTree, LabelList

    return {
        "page_id": BTree(),
        "document": BTree(),
        "language": Bitmap(),
        "kind": Bitmap(),
        "facets": LabelList(),
    }


def _stored_page(entry: Mapping[str, Any]) -> StoredPage:
    return StoredPage(**{**entry, "metadata": read_metadata(entry["metadata"])})


def _ordered(found: pa.Table, score: Any) -> list[Match]:
    """Matches, best first; equal scores in the order of the pages, whatever order Lance found them in."""
    matches = [
        Match(entry["_rowid"], entry["position"], entry["page_id"], score(entry["score"]))
        for entry in found.to_pylist()
    ]
    return sorted(matches, key=lambda match: (-match.score, match.position))


@contextmanager
def _reading(place: str) -> Iterator[None]:
    """Lance's errors on reading (files lost or overwritten) as one sentence."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise SearchIndexError(
            f"{place}/{NAME}.lance cannot be read ({_first_line(error)}); delete the index's folder and "
            f"build it again with `sightline index`"
        ) from error


@contextmanager
def _writing(place: str) -> Iterator[None]:
    """Lance's errors on writing (disk full, no permission) as one sentence."""
    try:
        yield
    except SightlineError:
        raise
    except (OSError, RuntimeError) as error:
        raise unwritable(place, _first_line(error)) from error


def _place(folder: Folder, version: str) -> str:
    return f"{folder.uri}/{place_of(version)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
