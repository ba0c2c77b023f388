"""Who embeds the pages of a build: the model in this process, or whatever else keeps the order.

Shape letters: D vector components.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sightline.errors import SearchIndexError

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder


class Engine(Protocol):
    """Embeds pages, batch by batch."""

    def embed(self, batches: Iterator[Sequence[dict[str, Any]]]) -> Iterator[list[np.ndarray]]:
        """The vectors (D,) of each batch, in the order of the batches.

        Args:
            batches: what the model gets for each page, see `pages.value_of`; taken from as they are needed.
        """


class LocalEngine:
    """The model in this process."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed(self, batches: Iterator[Sequence[dict[str, Any]]]) -> Iterator[list[np.ndarray]]:
        for batch in batches:
            yield vectors_of(self.encoder, batch)


class NoEngine:
    """For changes that need no model."""

    def embed(self, batches: Iterator[Sequence[dict[str, Any]]]) -> Iterator[list[np.ndarray]]:
        for _ in batches:
            raise SearchIndexError("there are pages to embed; give the model that built the index")
        yield from ()


def vectors_of(encoder: Encoder, values: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """A vector (D,) for each page."""
    vectors_ND = encoder.encode_document(list(values), show_progress=False).numpy()
    if vectors_ND.ndim != 2:
        raise SearchIndexError(
            "this model gives several vectors per page; the index holds one vector per page"
        )
    return list(vectors_ND)
