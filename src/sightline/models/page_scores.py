"""How well pages answer one question, for those who ask why: scores of variants of a page, with or without a graph.

Shape letters: n pages, D vector components, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from sightline.inputs.pairs import parse_pair
from sightline.inputs.parse import parse
from sightline.inputs.processor import ItemProcessor
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.models.similarity import similarity_pairwise
from sightline.modules.backbone import Backbone
from sightline.modules.router import FUSED
from sightline.types import Embeddings, MicroBatch


class PageScores(Protocol):
    """A model and a question."""

    @property
    def model(self) -> nn.Module:
        """What is asked."""
        ...

    def scores(self, pages: Sequence[Any]) -> np.ndarray:
        """Scores (n,) float32 of pages, dicts of text and image."""
        ...

    def micro_batch(self, page: Any) -> MicroBatch:
        """One page, prepared."""
        ...

    def score(self, batch: MicroBatch) -> Tensor:
        """The score (n,) of prepared pages, with a graph where gradients are on."""
        ...

    def images(self, batch: MicroBatch) -> tuple[str, ItemProcessor]:
        """Prefix of the features of a page's image, and what prepared them."""
        ...


@dataclass(frozen=True)
class EncoderScores:
    """Similarity of a question's vector with pages.

    Attributes:
        model: embeds the pages.
        query: (1, D), or (1, T, D) of a late-interaction model.
        similarity: a measure of `models.similarity`.
        dim: components compared; None for all.
    """

    model: Encoder
    query: Embeddings
    similarity: str
    dim: int | None = None

    def scores(self, pages: Sequence[Any]) -> np.ndarray:
        embedded = self.model.encode_document(list(pages), show_progress=False, truncate_dim=self.width)
        asked = self._asked(len(pages)).to(embedded.values.device)
        found: np.ndarray = similarity_pairwise(self.similarity, asked, embedded).float().cpu().numpy()
        return found

    def micro_batch(self, page: Any) -> MicroBatch:
        item = parse(page, source="the page", modalities=self.model.modalities)
        prompt = self.model.prompt_for("document")
        features = self.model.preprocessor(item, role="document", prompt=prompt)
        return self.model.collate([features], [0])

    def embed(self, batch: MicroBatch) -> Embeddings:
        """Vectors of prepared pages as they are compared, tokens at their places in the sequence."""
        return self.model(batch).truncate(self.width)

    def score(self, batch: MicroBatch) -> Tensor:
        embedded = self.embed(batch)
        asked = self._asked(len(embedded)).to(embedded.values.device)
        return similarity_pairwise(self.similarity, asked, embedded)

    def images(self, batch: MicroBatch) -> tuple[str, ItemProcessor]:
        prefix, _ = _image_route(batch.features)
        return prefix, self.backbone(batch).processor

    def backbone(self, batch: MicroBatch) -> Backbone:
        """What reads the page's image."""
        backbones = self.model.backbones()
        return backbones.get(_image_route(batch.features)[1]) or backbones[""]

    @property
    def width(self) -> int:
        """Components compared."""
        return self.dim or self.model.truncate_dim or self.model.embedding_dim

    def _asked(self, count: int) -> Embeddings:
        return self.query.truncate(self.width)[[0] * count]


@dataclass(frozen=True)
class RerankerScores:
    """A reranker's score of a question with pages, before its activation, which flattens differences.

    Attributes:
        model: gives one score per pair.
        query: text, image or a dict of both.
    """

    model: Reranker
    query: Any

    def scores(self, pages: Sequence[Any]) -> np.ndarray:
        asked = parse(self.query, source="the query", modalities=self.model.modalities)
        return self.model.predict(
            [(asked, page) for page in pages], show_progress=False, activation=nn.Identity()
        )

    def micro_batch(self, page: Any) -> MicroBatch:
        pair = parse_pair((self.query, page), source="the page", modalities=self.model.modalities)
        features = self.model.preprocessor(pair, prompt=self.model.prompt_for())
        return self.model.collate([features], [0])

    def score(self, batch: MicroBatch) -> Tensor:
        scores: Tensor = self.model(batch)[:, 0]
        return scores

    def images(self, batch: MicroBatch) -> tuple[str, ItemProcessor]:
        return "", self.model.backbone.processor


def _image_route(features: Mapping[str, Any]) -> tuple[str, str]:
    """Prefix of an image's features and its route: those of fused items are named by modality."""
    route = str(features.get("route", ""))
    if not features.get("fused"):
        return "", route
    for part in route.split(FUSED):
        modality, call = part.split("=")
        if modality == "image":
            return "image/", call.split(":")[0]
    return "", route
