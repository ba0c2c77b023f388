"""Who embeds the pages of a build: the model in this process, or whatever else keeps the order.

Shape letters: D vector components, T tokens of a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sightline.errors import SearchIndexError
from sightline.search.approximate import SAMPLE, spread

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder
    from sightline.types import Embeddings


class Engine(Protocol):
    """Embeds pages, batch by batch."""

    def embed(
        self, batches: Iterator[Sequence[dict[str, Any]]], token_pooling: float
    ) -> Iterator[list[np.ndarray]]:
        """The vectors (D,), or token vectors (T, D), of each batch, in the order of the batches.

        Args:
            batches: what the model gets for each page, see `pages.value_of`; taken from as they are needed.
            token_pooling: tokens merged into one, 1 for none.
        """


class LocalEngine:
    """The model in this process."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed(
        self, batches: Iterator[Sequence[dict[str, Any]]], token_pooling: float
    ) -> Iterator[list[np.ndarray]]:
        for batch in batches:
            yield vectors_of(self.encoder, batch, token_pooling)


class NoEngine:
    """For changes that need no model."""

    def embed(
        self, batches: Iterator[Sequence[dict[str, Any]]], token_pooling: float
    ) -> Iterator[list[np.ndarray]]:
        for _ in batches:
            raise SearchIndexError("there are pages to embed; give the model that built the index")
        yield from ()


def vectors_of(
    encoder: Encoder, values: Sequence[dict[str, Any]], token_pooling: float = 1.0
) -> list[np.ndarray]:
    """A vector (D,), or token vectors (T, D), for each page; float32."""
    from sightline.modules.token_pooling import TokenPooling

    pooled = {"token_pooling": TokenPooling(token_pooling)} if token_pooling > 1 else {}
    found = encoder.encode_document(list(values), show_progress=False, **pooled)
    return _each(found)


def sampled_questions(encoder: Encoder, questions: Sequence[str]) -> list[np.ndarray]:
    """The vectors of questions, spread evenly over all of them, as many as recall is measured with."""
    kept = [questions[place] for place in spread(len(questions), SAMPLE)]
    if not kept:
        return []
    found = encoder.encode_query([{"text": question} for question in kept], show_progress=False)
    return _each(found)


def _each(found: Embeddings) -> list[np.ndarray]:
    if found.mask is None:
        return list(found.numpy())
    return [tokens_TD.detach().cpu().float().numpy() for tokens_TD in found.tokens()]
