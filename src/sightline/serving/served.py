"""One version of an index with what searches it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, cast

from sightline.search.index import SearchIndex
from sightline.search.searcher import Searcher
from sightline.serving.engine import Engine
from sightline.serving.proxies import EngineReranker

if TYPE_CHECKING:
    from sightline.models.reranker import Reranker


@dataclass(frozen=True, eq=False)
class Served:
    """One version of an index with the models that search it; what a request starts with, it ends with.

    Attributes:
        index: the open version.
        engine: the models, behind their queue.
        searcher: searches on threads that may wait; its reranker goes through the engine.
        explainer: searches with the models themselves; only on the model's thread, `Engine.run`.
    """

    index: SearchIndex
    engine: Engine
    searcher: Searcher
    explainer: Searcher

    @classmethod
    def of(cls, index: SearchIndex, engine: Engine) -> Served:
        """Serve ``index`` with the models of ``engine``.

        Raises:
            SearchIndexError: the engine's model is not the one that built the index, or its reranker cannot order
                pages.
        """
        explainer = Searcher(index, engine.encoder, reranker=engine.reranker)
        # A search must not run the reranker on a thread of its own, beside the model's.
        through = None if engine.reranker is None else cast("Reranker", EngineReranker(engine))
        searcher = Searcher(index, engine.encoder, reranker=through, concurrent=True)
        return cls(index, engine, searcher, explainer)

    def beside(self, index: SearchIndex) -> Served:
        """Another index of the same model, served by the same models."""
        return Served.of(index, self.engine)

    @property
    def version(self) -> str:
        return self.index.facts.version

    @property
    def model(self) -> str:
        """The model's name for clients: its name on the Hub, or the last part of its folder."""
        return public_name(self.index.facts.model)

    @property
    def reranker(self) -> str | None:
        """The reranker's name for clients; None without one."""
        return None if self.engine.reranker is None else public_name(self.engine.reranker.name_or_path)


def public_name(model: str) -> str:
    """A model's name without the place of its folder; ``organization/name`` of the Hub stays whole.

    Training writes ``RUN/final`` and ``RUN/checkpoints/checkpoint-N``: those are named with their run.
    """
    is_folder = model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(model).is_dir()
    if not is_folder:
        return model
    *before, last = PurePath(model).parts
    run = [part for part in before if part not in ("checkpoints", "/", ".", "..", "~")][-1:]
    return "/".join([*run, last]) if last == "final" or last.startswith("checkpoint-") else last
