"""Building and opening a search index: pages with vectors and full text, on disk, in whole versions only.

A build encodes pages batch by batch and commits them as it goes; a finished version is published by
replacing one small file. Killed at any moment, the version open before still opens, and the same call
again goes on where the last commit was. Building what is already there costs nothing, and building what
was there before the last build switches back to it.

Shape letters: D vector components.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.documents.dataset import Dataset
from sightline.documents.records import Page
from sightline.errors import SearchIndexError
from sightline.models.fingerprint import fingerprint
from sightline.models.similarity import TOKEN_SIMILARITIES
from sightline.search import facts as store
from sightline.search.build import Build, Changes
from sightline.search.embedding import Engine, LocalEngine, NoEngine, sampled_questions
from sightline.search.facts import IndexFacts
from sightline.search.filters import Filter, facet_names
from sightline.search.folders import LocalFolder, folder_at
from sightline.search.matches import METRICS, Match
from sightline.search.options import VectorOptions
from sightline.search.pages import (
    Fields,
    PageRecord,
    StoredPage,
    choose_fields,
    merged,
    read_pages,
    record_of,
    usable_dim,
)
from sightline.search.progress import Progress, reporting
from sightline.search.recipe import Recipe
from sightline.search.table import PageTable
from sightline.search.vector_facts import VectorFacts
from sightline.search.versions import building, find_version, needed_pointer, publish

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder
    from sightline.types import Embeddings


@dataclass(frozen=True)
class SearchIndex:
    """An open index. Reading is thread-safe; a build that publishes another version does not disturb it.

    Attributes:
        path: the index folder, or its address on object storage.
        facts: what is known of the open version.
        table: its pages.
        media_root: folder that relative image paths start from.
        changes: what the build that has just ended did; None for an index that was only opened.
    """

    path: Path | str
    facts: IndexFacts
    table: PageTable
    media_root: Path
    changes: Changes | None = None

    def __len__(self) -> int:
        return self.facts.pages

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """Names of the documents, in the order they were indexed."""
        return tuple(self.document_pages)

    @cached_property
    def document_pages(self) -> Mapping[str, int]:
        """Document name -> number of its pages, in the order they were indexed."""
        return self.table.documents()

    @cached_property
    def first_pages(self) -> Mapping[str, str]:
        """Document name -> id of its first page, in the order they were indexed."""
        return self.table.first_pages()

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages that pages are known to be in, sorted."""
        return self.table.distinct("language")

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of files that pages are from, sorted."""
        return self.table.distinct("kind")

    @cached_property
    def metadata_names(self) -> tuple[str, ...]:
        """The names that pages have metadata under, sorted."""
        return tuple(facet_names(self.table.distinct("facets")))

    def check_filter(self, where: Filter | None) -> None:
        """Make sure that what a filter names is there, so that a slip of the pen is not "nothing found".

        Raises:
            SearchIndexError: an unknown document, language, kind or name of metadata; with the nearest known.
        """
        if not where:
            return
        wanted = (
            ("document", where.documents, self.documents),
            ("page in language", where.languages, ("", *self.languages)),
            ("page of kind", where.kinds, ("", *self.kinds)),
            ("metadata", tuple(where.metadata), self.metadata_names),
        )
        for what, names, known in wanted:
            unknown = next((name for name in names if name not in known), None)
            if unknown is None:
                continue
            near = get_close_matches(unknown, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            some = ", ".join(known[:5]) if what != "document" and not near else ""
            raise SearchIndexError(
                f"no {what} {unknown!r} among the {sum(map(bool, known)):,} of this index{hint}{some and f': {some}'}"
            )

    def check_model(self, encoder: Encoder) -> None:
        """Make sure that ``encoder`` is the model the vectors came from.

        Raises:
            SearchIndexError: it is another one.
        """
        found = fingerprint(encoder)
        if found != self.facts.fingerprint:
            built = f"{self.facts.model} " if self.facts.model else ""
            raise SearchIndexError(
                f"{self.path} was built with another model ({built}{self.facts.fingerprint[:8]}, this one is "
                f"{found[:8]}): search with that model, or build the index again with this one"
            )

    @property
    def dims(self) -> tuple[int, ...]:
        """The prefixes of the vectors that can be searched, widest first."""
        return self.table.layout.dims

    @property
    def vector_facts(self) -> VectorFacts:
        """How vectors are kept and searched."""
        return VectorFacts.from_json(self.facts.vectors)

    def nearest(
        self,
        vector: np.ndarray,
        limit: int,
        where: Filter | None = None,
        *,
        dim: int | None = None,
        exact: bool = False,
    ) -> list[Match]:
        """The ``limit`` pages most similar to a query, best first.

        Args:
            vector: of the query, (D,) or longer; (T, D) for an index of token vectors.
            limit: how many.
            where: search in the pages of which all of this holds.
            dim: compare this prefix, one of `dims`; by default the widest.
            exact: compare all vectors, whatever index there is.

        Raises:
            SearchIndexError: a vector of another kind or width, or no such prefix.
        """
        return self.table.nearest(vector, limit, where, dim=dim, exact=exact)

    def vectors(self, page_ids: Sequence[str]) -> Embeddings:
        """The vectors of pages in float32, as near to the model's as they are kept: (N, D), or (N, T, D) with a mask.

        Raises:
            SearchIndexError: a page that has no vector, or an index of signs alone.
        """
        return self.table.embeddings(page_ids)

    def matching(self, text: str, limit: int, where: Filter | None = None) -> list[Match]:
        """The ``limit`` pages that match the words of ``text`` best (BM25)."""
        return self.table.matching(text, limit, where)

    def pages(self, matches: Sequence[Match]) -> list[StoredPage]:
        """The pages of ``matches``, in their order."""
        return self.table.pages([match.row for match in matches])

    def page(self, page_id: str) -> StoredPage | None:
        """The page of this id, None where there is none."""
        return self.table.page(page_id)

    def pages_of(self, document: str) -> list[StoredPage]:
        """The pages of a document in their order, none where there is no such document."""
        return self.table.pages_of(document)

    def records(self) -> list[PageRecord]:
        """All pages, in their order, as an index is built from them."""
        return [record_of(page, self.image_of(page), stamp) for page, stamp in self.table.all_pages()]

    def image_of(self, page: StoredPage) -> Path | None:
        """Path of the page image; None where the page has none."""
        return self.media_root / page.image if page.image else None


def open_index(
    path: str | Path,
    encoder: Encoder | None = None,
    *,
    version: str | None = None,
    media_root: str | Path | None = None,
) -> SearchIndex:
    """Open a version of an index.

    Args:
        path: the index folder, or its address on object storage (``s3://bucket/prefix``).
        encoder: the model to search with; it must be the one that built the index.
        version: another version than the open one: its name, the beginning of it, or "previous".
        media_root: where the page images lie now, if they were moved since.

    Raises:
        SearchIndexError: no index, a damaged one, no such version, or one of another model.
    """
    folder = folder_at(path)
    pointer = needed_pointer(folder)
    chosen = pointer.version if version is None else find_version(folder, version)
    facts = store.read_facts(folder, chosen)
    if facts.similarity not in (*METRICS, *TOKEN_SIMILARITIES):
        raise SearchIndexError(f"{path}: similarity {facts.similarity!r} is unknown; build the index again")
    table = PageTable.open(folder, chosen, VectorFacts.from_json(facts.vectors).approximate)
    if len(table) != facts.pages:
        raise SearchIndexError(
            f"{path} holds {len(table)} pages where its facts say {facts.pages}; delete it and build it again"
        )
    place = folder.path if isinstance(folder, LocalFolder) else folder.uri
    index = SearchIndex(place, facts, table, Path(media_root or facts.media_root))
    if encoder is not None:
        index.check_model(encoder)
    return index


def build_index(
    path: str | Path,
    pages: Dataset | Iterable[PageRecord | Page],
    encoder: Encoder,
    *,
    fields: Fields | None = None,
    dim: int | None = None,
    batch_size: int = 64,
    similarity: str | None = None,
    model: str = "",
    progress: bool | Progress | None = None,
    commit_seconds: float = 15.0,
    media_root: str | Path | None = None,
    switch: bool = True,
    engine: Engine | None = None,
    vectors: VectorOptions | None = None,
    questions: Sequence[str] | None = None,
) -> SearchIndex:
    """Embed pages and build their index under ``path``; goes on with a build that was killed.

    Only pages that no version of the index has embedded yet, by the same model and settings, go through the model.
    The vectors of the others are copied, and pages that are gone are in the new version no more.

    Vectors, and each of their prefixes, get unit length for cosine and stay as they are for other similarities. Small
    collections are searched exactly; large ones by an approximate index, whose recall against exact search is measured
    and kept in the facts.

    Args:
        path: the index folder, or its address on object storage (``s3://bucket/prefix``); what is there is
            replaced only when the new version is complete.
        pages: a dataset, or pages.
        encoder: the model; `Encoder.encode_document` embeds the pages.
        fields: what of a page is embedded; by default all the model reads of text and image. A page that
            has only one of both is embedded by that one, a page that has nothing gets no vector.
        dim: keep the first ``dim`` components; by default all.
        batch_size: pages handed to the model at a time (the model packs them under its own token budget).
        similarity: "cosine", "dot" or "euclidean", of token vectors "maxsim" or "meanmaxsim"; by default the model's.
        model: where the model came from, kept in the facts; by default what it was loaded from.
        progress: a bar if None and on a terminal, never if False; or a function of (pages done, pages).
        commit_seconds: a kill costs at most the work of about so long.
        media_root: image paths are stored relative to this folder; by default the dataset's.
        switch: False builds the version beside the open one, which stays open; see `use_version`.
        engine: what embeds, if not ``encoder`` in this process; it must give what ``encoder`` would.
        vectors: precision, prefixes and how they are searched.
        questions: what recall is measured with; by default the dataset's questions, without any pages of the index.

    Returns:
        The version built, open; its ``changes`` say what there was to do.

    Raises:
        DataError: no pages, an id twice, an image that is missing.
        SearchIndexError: arguments that do not suit the model, a folder that is no index, a full disk.
    """
    if isinstance(pages, Dataset):
        media_root = media_root or pages.root
        questions = list(pages.queries().values()) if questions is None else questions
    records = read_pages(pages)
    options = vectors or VectorOptions()
    recipe = Recipe.of(
        encoder,
        choose_fields(encoder, fields),
        usable_dim(encoder, dim),
        _similarity(encoder, similarity),
        options,
    )
    build = Build(
        folder=folder_at(path),
        records=records,
        recipe=recipe,
        engine=engine or LocalEngine(encoder),
        model=model or encoder.name_or_path,
        media_root=Path(media_root).absolute() if media_root else None,
        plan=options.plan(),
        questions=partial(sampled_questions, encoder, questions or ()),
    )
    return _built(build, batch_size, commit_seconds, progress, switch)


def update_index(
    path: str | Path,
    encoder: Encoder | None = None,
    *,
    add: Dataset | Iterable[PageRecord | Page] = (),
    delete: Iterable[str] = (),
    batch_size: int = 64,
    progress: bool | Progress | None = None,
    commit_seconds: float = 15.0,
    switch: bool = True,
    engine: Engine | None = None,
) -> SearchIndex:
    """Change some documents of the open version, in a new one: all others stay as they are.

    Args:
        path: the index.
        encoder: the model that built it; not needed where nothing is added.
        add: pages of documents to add. A document that is there is replaced whole, at its place.
        delete: names of documents to remove.
        batch_size, progress, commit_seconds, switch, engine: as of `build_index`.

    Returns:
        The new version, open; its ``changes`` say what there was to do.

    Raises:
        DataError: an id twice, an image that is missing, a document that is not there, or nothing left.
        SearchIndexError: no index, one of another model, or a full disk.
    """
    current = open_index(path, encoder)
    folder = folder_at(path)
    given = add.pages if isinstance(add, Dataset) else list(add)
    added = read_pages(add if isinstance(add, Dataset) else given) if given else []
    removed = tuple(dict.fromkeys(delete))
    current.check_filter(Filter(documents=removed))
    if added and encoder is None:
        raise SearchIndexError("pages are to be embedded; give the model that built the index")
    recipe = Recipe.from_json(store.read_recipe(folder, current.facts.version) or {})
    build = Build(
        folder=folder,
        records=merged(current.records(), added, removed),
        recipe=recipe,
        engine=engine or (NoEngine() if encoder is None else LocalEngine(encoder)),
        model=current.facts.model,
        plan=current.vector_facts.plan,
        media_root=Path(current.facts.media_root) if current.facts.media_root else None,
    )
    return _built(build, batch_size, commit_seconds, progress, switch)


def _built(
    build: Build, batch_size: int, commit_seconds: float, progress: bool | Progress | None, switch: bool
) -> SearchIndex:
    if batch_size < 1:
        raise SearchIndexError(f"batch_size must be at least 1, not {batch_size}")
    folder = build.folder
    with building(folder):
        if store.is_finished(folder, build.version):
            changes = build.unchanged()
        else:
            with reporting(progress, len(build.records)) as report:
                changes = build.run(batch_size, commit_seconds, report)
        publish(folder, build.version, switch=switch)
    index = open_index(folder.uri, version=build.version, media_root=build.media_root)
    return replace(index, changes=changes)


def _similarity(encoder: Any, similarity: str | None) -> str:
    name = similarity or encoder.similarity_fn_name
    known = tuple(TOKEN_SIMILARITIES if encoder.similarity_fn_name in TOKEN_SIMILARITIES else METRICS)
    if name not in known:
        hint = "" if similarity else ", which is the model's; pass similarity= to build with another"
        raise SearchIndexError(f"similarity must be one of {', '.join(known)}, not {name!r}{hint}")
    return str(name)
