"""What a loss is: a function from the vectors of a batch's distinct items to named scalar parts.

Shape letters::

    N  distinct items of the batch     D  embedding dimension
    L  left items of the scores        R  right items of the scores
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from sightline.types import Batch, Embeddings


@runtime_checkable
class Loss(Protocol):
    """Anything callable as ``loss(embeddings, batch) -> {name: scalar tensor}``.

    Rows of ``embeddings`` are the batch's N distinct items in order; ``batch.columns_BC`` indexes into
    them. The sum of the parts is what is minimised; the log shows each part. A loss draws no random
    numbers, keeps no state and does not care how, where or how often the items were embedded.
    """

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class ScorePlan:
    """Which items a score loss compares, and what it does with the scores.

    Attributes:
        left: (L,) item index per row of the scores.
        right: (R,) item index per column of the scores.
        parts: from the unscaled similarities ``scores_LR`` to named parts. May be called several times,
            once per Matryoshka prefix.
    """

    left: Tensor
    right: Tensor
    parts: Callable[[Tensor], dict[str, Tensor]]


@runtime_checkable
class ScoreLoss(Protocol):
    """A loss whose value is a function of the similarities between two lists of items.

    Such a loss says what it compares (`plan`) apart from how vectors are compared (`similarity`), so that
    `Matryoshka` computes the similarities of all prefixes in one pass over the dimensions.
    """

    @property
    def similarity(self) -> str: ...

    def plan(self, batch: Batch) -> ScorePlan: ...

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]: ...
