"""From an index folder to what serves it: the version's pages, its model, and the reranker."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.errors import SearchIndexError
from sightline.search.index import SearchIndex, open_index
from sightline.search.searcher import Searcher
from sightline.search.versions import open_version
from sightline.serving.service import Served
from sightline.serving.settings import Settings

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker

_log = logging.getLogger("sightline.serving")


class IndexSource:
    """Loads versions of the index in ``path``, and of its models what is not in memory already."""

    def __init__(self, path: str | Path, settings: Settings) -> None:
        self.path = Path(path)
        self.settings = settings

    def open_version(self) -> str | None:
        """The version that the index's pointer names.

        Raises:
            SearchIndexError: the pointer is damaged.
        """
        return open_version(self.path)

    def load(self, version: str | None, near: Served | None) -> Served:
        """The open version with its models.

        Raises:
            SearchIndexError: no such index or version, or no model that built it.
            CheckpointError: a model cannot be read.
        """
        index = open_index(self.path)
        if near is not None and near.index.facts.fingerprint == index.facts.fingerprint:
            encoder, reranker = near.searcher.encoder, near.searcher.reranker
        else:
            encoder = self._encoder(index)
            reranker = near.searcher.reranker if near is not None else self._reranker()
        return Served(index, Searcher(index, encoder, reranker=reranker))

    def _encoder(self, index: SearchIndex) -> Encoder:
        """The model that built ``index``: the one given, else the one the index names."""
        from sightline.models.encoder import Encoder

        names = dict.fromkeys(name for name in (self.settings.model, index.facts.model) if name)
        if not names:
            raise SearchIndexError(f"{self.path} does not say which model made it; give it with --model")
        refused: SearchIndexError | None = None
        for name in names:
            encoder = Encoder.from_pretrained(name, device=self.settings.device)
            try:
                index.check_model(encoder)
            except SearchIndexError as error:
                refused = error
                continue
            return encoder
        assert refused is not None
        raise refused

    def _reranker(self) -> Reranker | None:
        from sightline.models.reranker import Reranker

        if self.settings.reranker is None:
            return None
        return Reranker.from_pretrained(self.settings.reranker, device=self.settings.device)
