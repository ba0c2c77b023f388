"""Vectors that earlier builds have made, found again by what they were made from.

A new version is always written whole: vectors of unchanged pages are copied from the versions that are there, also
from unfinished ones, and only the others are embedded. So a version never depends on another one, what is deleted is
gone, and it is the same as if it had been built from nothing. Copying reads and writes some kilobytes a page.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sightline.errors import SearchIndexError
from sightline.search import facts as store
from sightline.search.folders import Folder
from sightline.search.layout import Layout
from sightline.search.pages import PageRecord, content_key, stamp_of
from sightline.search.recipe import Recipe
from sightline.search.table import PageTable

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


class Kept:
    """The vectors of versions that were made by the same recipe.

    Args:
        folder: the index.
        recipe: what they were made by.
        versions: where to look; the first that has a page gives its vector.
        layout: how vectors have to be kept there; codes of other ranges are not copied.
    """

    def __init__(self, folder: Folder, recipe: Recipe, versions: Iterable[str], layout: Layout) -> None:
        self._recipe = recipe
        self._tables: list[PageTable] = []
        self._rows: dict[bytes, tuple[int, int]] = {}
        for version in versions:
            if store.read_recipe(folder, version) != recipe.to_json():
                continue
            try:
                table = PageTable.open_unfinished(folder, version)
                if table.layout.metadata() != layout.metadata():
                    continue
                found = list(table.keys(recipe.fields))
            except SearchIndexError as error:
                logger.warning("%s: version %s is not copied from: %s", folder.uri, version, error)
                continue
            for key, row in found:
                self._rows.setdefault(key, (len(self._tables), row))
            self._tables.append(table)

    def has(self, record: PageRecord) -> bool:
        """Whether the vector of this page is there."""
        return bool(self._rows) and self._key(record) in self._rows

    def columns(self, records: Sequence[PageRecord]) -> dict[str, pa.Array]:
        """The columns of vectors for pages that are all there, in their order."""
        import pyarrow as pa

        places = [self._rows[self._key(record)] for record in records]
        parts: list[dict[str, pa.Array]] = []
        order = [0] * len(places)
        filled = 0
        for number, table in enumerate(self._tables):
            mine = [position for position, (of, _) in enumerate(places) if of == number]
            if mine:
                parts.append(table.vectors([places[position][1] for position in mine]))
                for offset, position in enumerate(mine):
                    order[position] = filled + offset
                filled += len(mine)
        return {name: pa.concat_arrays([part[name] for part in parts]).take(order) for name in parts[0]}

    def _key(self, record: PageRecord) -> bytes:
        return content_key(record.text, stamp_of(record), self._recipe.fields)
