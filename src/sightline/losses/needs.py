"""What losses need of the data and of the model, so that its absence shows before the first step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from sightline.errors import ConfigError
from sightline.losses.base import Loss

# What a loss compares: one vector per item, a vector per token, either of them, or a reranker's scores of pairs.
Compares = Literal["vectors", "tokens", "either", "pairs"]


@dataclass(frozen=True)
class LabelRange:
    """Which numbers a loss takes as labels.

    Attributes:
        least, most: both included.
        whole: whole numbers alone.
        otherwise: what to do about others.
    """

    least: float = -math.inf
    most: float = math.inf
    whole: bool = False
    otherwise: str = ""

    def takes(self, value: float) -> bool:
        """Whether a label is one of them."""
        return self.least <= value <= self.most and (not self.whole or float(value).is_integer())

    def __str__(self) -> str:
        kind = "whole numbers" if self.whole else "labels"
        if not (math.isfinite(self.least) and math.isfinite(self.most)):
            return f"{kind} from {self.least:g} up" if math.isfinite(self.least) else kind
        return f"{kind} from {self.least:g} to {self.most:g}"


@dataclass(frozen=True)
class Needs:
    """What one loss needs.

    Attributes:
        loss: its name.
        columns: how many columns of items it compares, at least.
        target: how many dimensions its target column may have, rows included: 1 for a number per row, 2 for a list,
            3 for a list of vectors; empty if it has none.
        guide: a guide model's vectors.
        layers: the vectors of earlier layers.
        projection: dimension of a teacher's space that vectors are projected to; 0 for none.
        compares: what of a model it compares.
        dims: components the model's vectors have at least.
        labels: which labels it takes; None for any numbers.
        counts: how many numbers a row's target has beyond one per document: 0 for one each, -1 for one per negative.
            Empty where it has nothing to do with the documents.
        classes: labels are numbers of the model's classes, or a probability for each, and rows are single pairs.
        teacher: the target holds vectors, of as many components as those they are compared with.
        documents: how many documents a row must have for there to be anything to compare.
        alone: how many columns a row has at least that can be trained on in a batch of its own; None where none can.
        advice: what to do where the model gives something else than the loss compares.
    """

    loss: str
    columns: int = 1
    target: tuple[int, ...] = ()
    guide: bool = False
    layers: bool = False
    projection: int = 0
    compares: Compares = "either"
    dims: int = 0
    labels: LabelRange | None = None
    counts: tuple[int, ...] = ()
    classes: bool = False
    teacher: bool = False
    documents: int = 1
    alone: int | None = 1
    advice: str = ""


@runtime_checkable
class NeedyLoss(Protocol):
    """A loss that says what it needs, and what the losses inside it need."""

    @property
    def needs(self) -> tuple[Needs, ...]: ...


def projection_of(loss: Loss) -> int:
    """The dimension of the teacher's space that a loss compares in; 0 without a projection.

    Raises:
        ConfigError: the losses in it want several.
    """
    dims = {need.projection for need in needs_of(loss) if need.projection}
    if len(dims) > 1:
        raise ConfigError(
            f"projections to {' and '.join(map(str, sorted(dims)))} dimensions in one loss; use one"
        )
    return next(iter(dims), 0)


def needs_of(*losses: Loss) -> tuple[Needs, ...]:
    """The needs of some losses; of one that does not say there are none.

    Raises:
        ConfigError: one of them is a class.
    """
    for loss in losses:
        if isinstance(loss, type):
            raise ConfigError(f"the loss is the class {loss.__name__}; make one of it: {loss.__name__}(...)")
    return tuple(need for loss in losses if isinstance(loss, NeedyLoss) for need in loss.needs)
