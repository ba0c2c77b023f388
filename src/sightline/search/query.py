"""A question as the search reads it: its words, and its vector.

Shape letters: D vector components, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError
from sightline.inputs.parse import parse
from sightline.types import Embeddings, Item

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder


@dataclass(frozen=True)
class Query:
    """A question that was understood.

    Attributes:
        value: as a model takes it: chat messages as they came, anything else a dict of modalities.
        item: its parts.
        words: its text, what a search by words looks for; "" without.
    """

    value: Any
    item: Item
    words: str

    @property
    def empty(self) -> bool:
        """Whether there is nothing to search for: text alone, and none in it."""
        return not self.words and self.item.modalities <= {"text"}


def read_query(value: Any, encoder: Encoder | None, *, mode: str) -> Query:
    """Understand a question.

    Args:
        value: a ``str``, which is words and never the name of a file; an image (path, bytes, PIL image, array); a
            dict of text and image; chat messages; an `Item`.
        encoder: the model that will embed it; None where nothing is embedded.
        mode: as of `Searcher.search`; a search by words reads the words alone, whatever the model takes.

    Raises:
        SearchIndexError: no words for a search by words.
        InputError: what no model reads, or not this one; says what it reads.
    """
    if isinstance(value, str):
        value = {"text": value}
    taken = None if mode == "text" or encoder is None else encoder.modalities
    item = parse(value, source="the query", modalities=taken)
    words = " ".join(str(part.value) for part in item.parts if part.modality == "text").strip()
    if mode == "text" and not words and item.modalities - {"text"}:
        raise SearchIndexError("a search by words needs words; this query has none (use mode='vector')")
    return Query(value, item, words)


def embed_query(encoder: Encoder, query: Query) -> np.ndarray:
    """The query's vector (D,), or of a late-interaction model its token vectors (T, D); float32.

    A model that takes the modalities of the query together embeds them together. One that takes each alone (text and
    image towers of one space) embeds them one by one: vectors are brought to unit length and averaged; token vectors
    stand behind one another, so that MaxSim adds up what each half finds.

    Raises:
        InputError: the model does not take a part of the query.
    """
    import numpy as np

    kinds = query.item.modalities
    if len(kinds) == 1 or query.item.is_message or encoder.supports(kinds):
        return _embedded(encoder, query.value)
    halves = []
    for kind in sorted(kinds, reverse=True):
        values = [part.value for part in query.item.parts if part.modality == kind]
        value = "\n".join(values) if kind == "text" else values if len(values) > 1 else values[0]
        halves.append(_embedded(encoder, {kind: value}))
    if halves[0].ndim == 2:
        return np.concatenate(halves)
    lengths = [float(np.linalg.norm(half)) or 1.0 for half in halves]
    mean: np.ndarray = np.mean([half / length for half, length in zip(halves, lengths)], axis=0)
    return mean.astype(np.float32)


def _embedded(encoder: Encoder, value: Any) -> np.ndarray:
    found = encoder.encode_query([value], show_progress=False)
    if found.mask is None:
        vector: np.ndarray = found.numpy()[0]
        return vector
    tokens: np.ndarray = found.tokens()[0].detach().cpu().float().numpy()
    return tokens


def as_embeddings(vector: np.ndarray) -> Embeddings:
    """A vector of `embed_query` as a set of one."""
    import numpy as np
    import torch

    values = torch.from_numpy(np.ascontiguousarray(vector))[None]
    mask = torch.ones(values.shape[:2], dtype=torch.bool) if values.ndim == 3 else None
    return Embeddings(values, mask)
