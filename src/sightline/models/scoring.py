"""Scoring many pairs with the engine that embeds many items: a pair's scores (L,) stand where a vector would.

Shape letters: n pairs of a micro-batch, N pairs, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from sightline.models.encode import Settings, encode_items
from sightline.models.encoding_passes import Runner
from sightline.models.items import Items
from sightline.types import Embeddings, Features, MicroBatch


class Scorer(Runner, Protocol):
    """What scoring needs of a reranker."""

    @property
    def num_labels(self) -> int: ...
    def __call__(self, micro_batch: MicroBatch) -> Tensor: ...


def score_pairs(reranker: Scorer, pairs: Items, settings: Settings) -> Tensor:
    """Scores before any activation; equal pairs are scored once, pairs of like length together.

    Args:
        reranker: the model.
        pairs: items of `inputs.pairs.parse_pair`.
        settings: those that apply to pairs: prompt, token budget, number type, progress.

    Returns:
        scores (N, L), float32, on the CPU, in the order of the pairs.

    Raises:
        InputError: something that is no pair; names its position.
        ConfigError: a token budget below 1, a device without bfloat16.
    """
    return encode_items(_Embedder(reranker), pairs, settings).values


class _Embedder:
    """A reranker where the engine expects an encoder."""

    def __init__(self, reranker: Scorer) -> None:
        self.reranker = reranker
        self.training = reranker.training
        self.device = reranker.device
        self.preprocessor = reranker.preprocessor
        self.embedding_dim = reranker.num_labels

    @property
    def collate(self) -> Callable[[Sequence[Features], Sequence[int]], MicroBatch]:
        return self.reranker.collate

    @property
    def packed_groups(self) -> frozenset[str]:
        return self.reranker.packed_groups

    def __call__(self, micro_batch: MicroBatch) -> Embeddings:
        return Embeddings(self.reranker(micro_batch))

    def train(self, mode: bool = True) -> Any:
        self.training = mode
        return self.reranker.train(mode)
