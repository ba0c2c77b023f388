"""What the engine needs of a model: from items to features on any thread, from a micro-batch to rows on its own.

Shape letters: n items of a micro-batch, D components, T tokens, L labels.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from sightline.models.devices import number_type
from sightline.types import Features, Item, MicroBatch

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker


class Prepares(Protocol):
    """A preprocessor of items or of pairs."""

    @property
    def max_tokens(self) -> int | None: ...

    def many(
        self, items: Sequence[Item], *, role: str | None = None, prompt: str | None = None
    ) -> list[Features]: ...


class Lane:
    """A model as the engine sees it.

    Args:
        preprocessor: makes features of items; every thread gets a copy of it.
        collate: pads features of one group.
        packed: groups of items that run without padding.
        device: where the model is.
        forward: the model's float32 row for each item of a micro-batch, in its order.
        bf16: matrix products in bfloat16.
    """

    def __init__(
        self,
        preprocessor: Prepares,
        collate: Callable[[Sequence[Features], Sequence[int]], MicroBatch],
        packed: frozenset[str],
        device: torch.device,
        forward: Callable[[MicroBatch], list[np.ndarray]],
        *,
        bf16: bool = False,
    ) -> None:
        self.max_tokens = preprocessor.max_tokens
        self.collate = collate
        self.packed = packed
        self.device = device
        self.bf16 = bf16
        self._forward = forward
        self._own = _Own(preprocessor)

    def prepare(self, items: Sequence[Item], role: str | None, prompt: str | None) -> list[Features]:
        """Features of items; several threads may call it at a time.

        Raises:
            InputError: an item the model does not take.
        """
        return self._own.preprocessor.many(items, role=role, prompt=prompt)

    def rows(self, micro_batch: MicroBatch) -> list[np.ndarray]:
        """The model's float32 row for each item, in the micro-batch's order; on the model's thread only."""
        with torch.inference_mode(), number_type(self.device, self.bf16):
            return self._forward(micro_batch)


class _Own(threading.local):
    """A preprocessor per thread: a fast tokenizer cannot be told another length or side while it is in use."""

    def __init__(self, preprocessor: Prepares) -> None:
        self.preprocessor = copy.deepcopy(preprocessor)


def encoder_lane(encoder: Encoder, *, bf16: bool = False) -> Lane:
    """An encoder's: rows are vectors (D,), or token vectors (T, D) without padding."""

    def forward(micro_batch: MicroBatch) -> list[np.ndarray]:
        embedded = encoder(micro_batch)
        if embedded.mask is None:
            return _apart(embedded.values)
        return [tokens_TD.float().cpu().numpy() for tokens_TD in embedded.tokens()]

    with number_type(encoder.device, bf16):
        packed = encoder.packed_groups
    return Lane(encoder.preprocessor, encoder.collate, packed, encoder.device, forward, bf16=bf16)


def reranker_lane(reranker: Reranker, *, bf16: bool = False) -> Lane:
    """A reranker's: rows are scores (L,) after the model's activation, as of `Reranker.predict`."""

    def forward(micro_batch: MicroBatch) -> list[np.ndarray]:
        scores_nL = reranker(micro_batch).float()
        if reranker.num_labels == 1:
            return _apart(reranker.activation(scores_nL[:, 0])[:, None])
        return _apart(reranker.activation(scores_nL))

    with number_type(reranker.device, bf16):
        packed = reranker.packed_groups
    return Lane(reranker.preprocessor, reranker.collate, packed, reranker.device, forward, bf16=bf16)


def _apart(values_nD: torch.Tensor) -> list[np.ndarray]:
    """Rows that do not keep the others' memory."""
    return [row.copy() for row in values_nD.float().cpu().numpy()]
