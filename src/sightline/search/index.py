"""Building and opening a search index: pages with vectors and full text, on disk, in whole versions only.

A build encodes pages batch by batch and commits them as it goes; a finished version is published by
replacing one small file. Killed at any moment, the version open before still opens, and the same call
again goes on where the last commit was. Building what is already there costs nothing, and building what
was there before the last build switches back to it.

Shape letters: D vector components.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.documents.dataset import Dataset
from sightline.documents.records import Page
from sightline.errors import SearchIndexError
from sightline.models.fingerprint import fingerprint
from sightline.search import facts as store
from sightline.search.build import Build
from sightline.search.facts import IndexFacts
from sightline.search.pages import Fields, PageRecord, choose_fields, read_pages, usable_dim
from sightline.search.progress import Progress, reporting
from sightline.search.table import METRICS, Match, PageTable, StoredPage
from sightline.search.vectors import stored_form

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder


@dataclass(frozen=True)
class SearchIndex:
    """An open index. Reading is thread-safe; a build that publishes another version does not disturb it.

    Attributes:
        path: the index folder.
        facts: what is known of the open version.
        table: its pages.
        media_root: folder that relative image paths start from.
    """

    path: Path
    facts: IndexFacts
    table: PageTable
    media_root: Path

    def __len__(self) -> int:
        return self.facts.pages

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """Names of the documents, in the order they were indexed."""
        return self.table.documents()

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

    def nearest(
        self, vector_D: np.ndarray, limit: int, documents: Sequence[str] | None = None
    ) -> list[Match]:
        """The ``limit`` pages most similar to a query vector (D,) or longer, whose prefix is taken; exact."""
        vector_D = stored_form(vector_D[None], self.facts.dim, self.facts.similarity)[0]
        return self.table.nearest(vector_D, limit, documents)

    def matching(self, text: str, limit: int, documents: Sequence[str] | None = None) -> list[Match]:
        """The ``limit`` pages that match the words of ``text`` best (BM25)."""
        return self.table.matching(text, limit, documents)

    def pages(self, matches: Sequence[Match]) -> list[StoredPage]:
        """The pages of ``matches``, in their order."""
        return self.table.pages([match.row for match in matches])

    def image_of(self, page: StoredPage) -> Path | None:
        """Path of the page image; None where the page has none."""
        return self.media_root / page.image if page.image else None


def open_index(
    path: str | Path, encoder: Encoder | None = None, *, media_root: str | Path | None = None
) -> SearchIndex:
    """Open the published version of an index.

    Args:
        path: the index folder.
        encoder: the model to search with; it must be the one that built the index.
        media_root: where the page images lie now, if they were moved since.

    Raises:
        SearchIndexError: no index, a damaged one, or one of another model.
    """
    root = Path(path)
    version = store.open_version(root)
    if version is None:
        if (root / store.VERSIONS).is_dir():
            raise SearchIndexError(
                f"{root}: the index was not built to the end; run the same `sightline index` again"
            )
        raise SearchIndexError(f"{root} is no search index; `sightline index DATASET -o {root}` builds one")
    facts = store.read_facts(root, version)
    if facts.similarity not in METRICS:
        raise SearchIndexError(f"{root}: similarity {facts.similarity!r} is unknown; build the index again")
    table = PageTable.open(store.version_folder(root, version), facts.similarity)
    if len(table) != facts.pages:
        raise SearchIndexError(
            f"{root} holds {len(table)} pages where its facts say {facts.pages}; delete it and build it again"
        )
    index = SearchIndex(root, facts, table, Path(media_root or facts.media_root))
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
) -> SearchIndex:
    """Embed pages and build their index under ``path``; goes on with a build that was killed.

    Vectors are kept in float32. For cosine they get unit length. A Matryoshka prefix (``dim``) gets the
    length that the whole vector had, so that dot products and distances keep their scale.

    Args:
        path: the index folder; what is there is replaced only when the new version is complete.
        pages: a dataset, or pages.
        encoder: the model; `Encoder.encode_document` embeds the pages.
        fields: what of a page is embedded; by default all the model reads of text and image. A page that
            has only one of both is embedded by that one, a page that has nothing gets no vector.
        dim: keep the first ``dim`` components; by default all.
        batch_size: pages handed to the model at a time (the model packs them under its own token budget).
        similarity: "cosine", "dot" or "euclidean"; by default the model's.
        model: where the model came from, kept in the facts; by default what it was loaded from.
        progress: a bar if None and on a terminal, never if False; or a function of (pages done, pages).
        commit_seconds: a kill costs at most the work of about so long.
        media_root: image paths are stored relative to this folder; by default the dataset's.

    Raises:
        DataError: no pages, an id twice, an image that is missing.
        SearchIndexError: arguments that do not suit the model, a folder that is no index, a full disk.
    """
    root = Path(path)
    if isinstance(pages, Dataset):
        media_root = media_root or pages.root
        pages = pages.pages
    if batch_size < 1:
        raise SearchIndexError(f"batch_size must be at least 1, not {batch_size}")
    build = Build(
        root=root,
        records=read_pages(pages),
        encoder=encoder,
        fields=choose_fields(encoder, fields),
        dims=usable_dim(encoder, dim),
        similarity=_similarity(encoder, similarity),
        model=model or encoder.name_or_path,
        media_root=Path(media_root).absolute() if media_root else None,
    )
    with store.building(root):
        if store.is_finished(root, build.version):
            build.refresh_facts()
        else:
            with reporting(progress, len(build.records)) as report:
                build.run(batch_size, commit_seconds, report)
        store.publish(root, build.version)
    return open_index(root, media_root=media_root)


def _similarity(encoder: Any, similarity: str | None) -> str:
    if encoder.similarity_fn_name in ("maxsim", "meanmaxsim"):
        raise SearchIndexError(
            "the model gives a vector per token, and the index holds one vector per page; use a model that pools"
        )
    name = similarity or encoder.similarity_fn_name
    if name not in METRICS:
        hint = "" if similarity else ", which is the model's; pass similarity= to build with another"
        raise SearchIndexError(f"similarity must be one of {', '.join(METRICS)}, not {name!r}{hint}")
    return str(name)
