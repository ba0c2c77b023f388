"""The Lance table of pages: how it is written and read; how vectors are found in it is in `nearest` and below.

Shape letters: D vector components, T tokens, N rows added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError
from sightline.search.approximate import Approximate, Plan
from sightline.search.facts import place_of
from sightline.search.filters import Filter, condition, facets_of, read_metadata, stored_metadata
from sightline.search.folders import Folder
from sightline.search.lance import NAME, STAGED, connected, created, place_in, reading, writing
from sightline.search.layout import Layout
from sightline.search.matches import Match, ordered
from sightline.search.nearest import Nearest
from sightline.search.pages import Fields, PageRecord, StoredPage, content_key, stamp_of
from sightline.search.settling import ranges_of, settled_batches
from sightline.search.tuning import tuned
from sightline.search.words import TOKENIZER, clean, fold, query_terms

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from sightline.types import Embeddings

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


class PageTable:
    """Pages with vectors and words in the Lance table of one folder.

    Args:
        folder: of the index.
        version: the version whose ``pages.lance`` it is.
        table: the open LanceDB table.
        approximate: how its vectors are searched where not all are compared.
    """

    def __init__(
        self, folder: Folder, version: str, table: Any, approximate: Sequence[Approximate] = ()
    ) -> None:
        self.folder, self.version = folder, version
        self.place = place_in(folder, version)
        self._table = table
        self.layout = Layout.read(table.schema.metadata)
        self._near = Nearest(table, self.layout, {how.dim: how for how in approximate})

    @classmethod
    def create(cls, folder: Folder, version: str, layout: Layout) -> PageTable:
        """An empty table in place of what may be there; of floats first, where int8 has no ranges yet."""
        import pyarrow as pa

        kept = layout.staged() if layout.unsettled else layout

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
                *((column.name, column.type()) for column in kept.columns),
            ],
            metadata=kept.metadata(),
        )
        with writing(place_in(folder, version)):
            name = STAGED if layout.unsettled else NAME
            return cls(folder, version, created(folder, version, name, schema))

    @classmethod
    def open(
        cls, folder: Folder, version: str, approximate: Sequence[Approximate] = (), *, name: str = NAME
    ) -> PageTable:
        """The table that is there.

        Raises:
            SearchIndexError: there is none, or Lance cannot read it.
        """
        place = place_in(folder, version)
        if f"{name}.lance" not in folder.names(place_of(version)):
            raise SearchIndexError(
                f"{place} has no {name}.lance; build the index again with `sightline index`"
            )
        with reading(place):
            return cls(folder, version, connected(folder, version).open_table(name), approximate)

    @classmethod
    def open_unfinished(cls, folder: Folder, version: str) -> PageTable:
        """The table of a version that may be on its way.

        Raises:
            SearchIndexError: there is none, or Lance cannot read it.
        """
        try:
            return cls.open(folder, version)
        except SearchIndexError:
            return cls.open(folder, version, name=STAGED)

    def __len__(self) -> int:
        return int(self._table.count_rows())

    def count_without_vector(self) -> int:
        return int(self._table.count_rows("vector IS NULL"))

    def documents(self) -> dict[str, int]:
        """Document names in the order of their first page, with their numbers of pages."""
        column = self._column("document")
        return {entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()}

    def first_pages(self) -> dict[str, str]:
        """Document names in the order of their first page, with the ids of these pages."""
        found: dict[str, str] = {}
        for document, page_id in zip(self._column("document").to_pylist(), self.page_ids(), strict=True):
            found.setdefault(document, page_id)
        return found

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
        with reading(self.place):
            table = self._table.search().select(["position", name]).limit(len(self)).to_arrow()
        return table.sort_by("position")[name].combine_chunks()

    def all_pages(self) -> Iterator[tuple[StoredPage, str]]:
        """Every page with the stamp of its image, in their order."""
        with reading(self.place):
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
        with reading(self.place):
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

        with reading(self.place):
            names = [column.name for column in self.layout.columns]
            table = self._table.take_row_ids(list(rows)).select(names).with_row_id().to_arrow()
        place = {row: number for number, row in enumerate(table["_rowid"].to_pylist())}
        order = pa.array([place[row] for row in rows])
        return {name: table[name].combine_chunks().take(order) for name in names}

    def arrays(self, vectors: Sequence[np.ndarray | None]) -> dict[str, pa.Array]:
        """The columns of vectors for new pages: (>= D,) or (T, >= D) for each, None for a page that has none."""
        return self.layout.arrays(vectors)

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
        with writing(self.place):
            self._table.add(pa.Table.from_arrays(arrays, schema=schema))

    def finish(
        self, layout: Layout, plan: Plan | None = None, questions: Sequence[np.ndarray] = ()
    ) -> list[Approximate]:
        """Merge the pieces of the batches into large files, then build the indexes of words and vectors.

        Args:
            layout: as the version is to be; int8 gets its ranges here.
            plan: how vectors are to be searched; by default as suits their number.
            questions: vectors of questions, by which recall is measured.

        Returns:
            How each prefix is searched, where not all vectors are compared.
        """
        from lancedb.index import FTS

        with writing(self.place):
            if layout.unsettled and self.layout == layout.staged():
                self._settle(layout)
            self.folder.remove(f"{place_of(self.version)}/{STAGED}.lance")
            # Nobody else reads an unfinished version, so what a killed run left behind can go at once.
            self._table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)
            self._table.create_index("words", config=FTS(**FULL_TEXT), replace=True)
            if len(self) >= _INDEXED_PAGES:
                for column, config in _filter_indexes().items():
                    self._table.create_index(column, config=config, replace=True)
            approximate = tuned(self._table, self.layout, plan or Plan(), questions)
        self._near = Nearest(self._table, self.layout, approximate)
        return list(approximate.values())

    def _settle(self, layout: Layout) -> None:
        """Write the table again in its own layout, in one commit, now that all vectors are there."""
        import pyarrow as pa

        settled = layout.settled(ranges_of(self._table, self.layout, layout))
        facts = [field for field in self._table.schema if field.name not in _names(self.layout)]
        fields = [*facts, *(pa.field(column.name, column.type()) for column in settled.columns)]
        schema = pa.schema(fields, metadata=settled.metadata())
        batches = settled_batches(self._table, self.layout, settled, schema)
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        self._table = created(self.folder, self.version, NAME, schema, reader)
        self.layout = settled

    def nearest(
        self,
        query: np.ndarray,
        limit: int,
        where: Filter | None = None,
        *,
        dim: int | None = None,
        exact: bool = False,
    ) -> list[Match]:
        """The ``limit`` pages of highest similarity, best first; arguments and errors as of `Nearest.search`."""
        with reading(self.place):
            return self._near.search(query, limit, condition(where), dim=dim, exact=exact)

    def bytes_per_page(self) -> float:
        """What the vectors of a page take, those of all prefixes together; the mean over the pages that have any."""
        with reading(self.place):
            return self._near.bytes_per_page()

    def embeddings(self, page_ids: Sequence[str]) -> Embeddings:
        """The widest vectors of pages in float32, in the order of their ids; as of `Nearest.vectors`."""
        with reading(self.place):
            return self._near.vectors([clean(page_id) for page_id in page_ids])

    def matching(self, text: str, limit: int, where: Filter | None = None) -> list[Match]:
        """The ``limit`` pages of highest BM25 over the words of ``text``, best first; pages share >= 1 word.

        ``text`` is words and nothing else: quotes, operators, brackets and wildcards mean nothing.
        """
        from lancedb.query import MatchQuery

        words = query_terms(text)
        if not words.strip():
            return []
        query = self._table.search(MatchQuery(words, "words"))  # type: ignore[call-arg]
        return self._ranked(query, limit, where)

    def pages(self, rows: Sequence[int]) -> list[StoredPage]:
        """The pages of these row ids, in their order."""
        if not rows:
            return []
        with reading(self.place):
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

        with reading(self.place):
            query = self._table.search().where(col(column).eq(lit(clean(value)))).select(_FACTS).limit(limit)
            return [_stored_page(entry) for entry in query.to_arrow().to_pylist()]

    def _ranked(self, query: Any, limit: int, where: Filter | None) -> list[Match]:
        if (wanted := condition(where)) is not None:
            query = query.where(wanted, prefilter=True)
        names = ["_rowid", "position", "page_id", "_score"]
        with reading(self.place):
            found = query.select(names[1:]).with_row_id(True).limit(limit).to_arrow()
        return ordered(Match(*facts) for facts in zip(*(found[name].to_pylist() for name in names)))


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


def _names(layout: Layout) -> set[str]:
    return {column.name for column in layout.columns}
