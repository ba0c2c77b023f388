"""The engine's models in the shape of an `Encoder` and a `Reranker`, for code that asks for them on threads of its own:
several searches at a time share the model's passes, and none of them knows.

Shape letters: N inputs, L labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sightline.errors import ConfigError
from sightline.models.items import items_of
from sightline.serving.engine import Engine
from sightline.types import Embeddings

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker


class EngineEncoder:
    """Embeds through the engine; for threads that may wait, not for the event loop's.

    Raises:
        ConfigError: the engine has no encoder.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.encoder is None:
            raise ConfigError("this engine has no encoder")
        self._engine = engine
        self.encoder: Encoder = engine.encoder

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.encoder.modalities

    @property
    def multi_vector(self) -> bool:
        return self.encoder.multi_vector

    def supports(self, modality: str | Iterable[str]) -> bool:
        return self.encoder.supports(modality)

    def encode_query(
        self, inputs: Any, *, truncate_dim: int | None = None, show_progress: object = None
    ) -> Embeddings:
        """As of `Encoder.encode_query`; there is no progress to show.

        Raises:
            Busy, TimedOut, Draining: the engine gives no answer now.
        """
        return self._embeddings(inputs, "query", truncate_dim)

    def encode_document(
        self, inputs: Any, *, truncate_dim: int | None = None, show_progress: object = None
    ) -> Embeddings:
        """As of `Encoder.encode_document`; likewise."""
        return self._embeddings(inputs, "document", truncate_dim)

    def _embeddings(self, inputs: Any, role: str, dim: int | None) -> Embeddings:
        items = list(items_of(inputs, self.modalities).stream)
        rows = [torch.from_numpy(row) for row in self._engine.embedded_now(items, role, dim).rows]
        if not rows:
            return Embeddings(torch.zeros(0, dim or self.encoder.truncate_dim or self.encoder.embedding_dim))
        return Embeddings.ragged(rows) if self.multi_vector else Embeddings(torch.stack(rows))


class EngineReranker:
    """Scores pairs through the engine; likewise.

    Raises:
        ConfigError: the engine has no reranker.
    """

    def __init__(self, engine: Engine) -> None:
        if engine.reranker is None:
            raise ConfigError("this engine has no reranker")
        self._engine = engine
        self.reranker: Reranker = engine.reranker

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.reranker.modalities

    @property
    def num_labels(self) -> int:
        return self.reranker.num_labels

    @property
    def name_or_path(self) -> str:
        return self.reranker.name_or_path

    def predict(self, pairs: Any, *, show_progress: object = None) -> np.ndarray:
        """As of `Reranker.predict`: scores (N,), or (N, L) of a model with several labels.

        Raises:
            Busy, TimedOut, Draining: the engine gives no answer now.
        """
        return self._engine.scores(self._engine.scored_now(list(pairs)))
