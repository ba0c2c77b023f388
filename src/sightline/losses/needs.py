"""What losses need of the data, so that its absence shows before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sightline.errors import ConfigError
from sightline.losses.base import Loss


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
    """

    loss: str
    columns: int = 1
    target: tuple[int, ...] = ()
    guide: bool = False
    layers: bool = False
    projection: int = 0


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
    """The needs of some losses; of one that does not say there are none."""
    return tuple(need for loss in losses if isinstance(loss, NeedyLoss) for need in loss.needs)
