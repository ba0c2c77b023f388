"""From an index folder to what serves it: the version's pages, its model, and the reranker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sightline.errors import SearchIndexError
from sightline.search.index import SearchIndex, open_index
from sightline.search.versions import list_versions, open_version
from sightline.serving.engine import Engine
from sightline.serving.served import Served
from sightline.serving.settings import Settings

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker


class IndexSource:
    """Loads versions of the index at ``path``, and of its models what is not in memory already.

    Args:
        path: folder of the index, or its place on object storage.
        settings: which models, and where they run.
    """

    def __init__(self, path: str | Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings

    def open_version(self) -> str | None:
        """The version that the index's pointer names.

        Raises:
            SearchIndexError: the pointer is damaged.
        """
        return open_version(self.path)

    def versions(self) -> list[str]:
        """The finished versions of the index."""
        return [facts.version for facts in list_versions(self.path)]

    def open(self, version: str) -> SearchIndex:
        """The pages of a version.

        Raises:
            SearchIndexError: there is no such version.
        """
        return open_index(self.path, version=version)

    def load(self, version: str | None, near: Served | None) -> Served:
        """A version with its models; None for the open one.

        Raises:
            SearchIndexError: no such index or version, or no model that built it.
            CheckpointError: a model cannot be read.
        """
        index = open_index(self.path, version=version)
        if near is not None and near.index.facts.fingerprint == index.facts.fingerprint:
            return near.beside(index)
        reranker = self._reranker() if near is None else near.engine.reranker
        settings = self.settings
        engine = Engine(
            self._encoder(index),
            reranker,
            token_budget=settings.token_budget,
            max_queue=settings.max_queue,
            timeout_s=settings.timeout_s,
        )
        return Served.of(index, engine)

    def _encoder(self, index: SearchIndex) -> Encoder:
        """The model that built ``index``: the one given, else the one the index names."""
        from sightline.models.encoder import Encoder

        names = list(dict.fromkeys(name for name in (self.settings.model, index.facts.model) if name))
        if not names:
            raise SearchIndexError(f"{self.path} does not say which model made it; give it with --model")
        for name in names[:-1]:
            encoder = Encoder.from_pretrained(name, device=self.settings.device)
            try:
                index.check_model(encoder)
            except SearchIndexError:  # the index has moved on to another model, which it names
                continue
            return encoder
        encoder = Encoder.from_pretrained(names[-1], device=self.settings.device)
        index.check_model(encoder)
        return encoder

    def _reranker(self) -> Reranker | None:
        from sightline.models.reranker import Reranker

        if self.settings.reranker is None:
            return None
        return Reranker.from_pretrained(self.settings.reranker, device=self.settings.device)
