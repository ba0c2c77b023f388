"""What batches carry beside their items because a loss wants it: a guide's vectors, earlier layers, projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.compose import ByDataset, loss_of
from sightline.losses.layers import AdaptiveLayers
from sightline.losses.needs import projection_of
from sightline.models.encoder import Encoder
from sightline.models.layers import layer_count
from sightline.training.card import matryoshka_dims
from sightline.training.rows import Rows
from sightline.training.seeds import mix
from sightline.training.source import RowSource
from sightline.types import Batch


@dataclass
class LayerDraws:
    """Draws layers for one batch after the other; the same on every rank and in a resumed run.

    Args:
        seed: of the draws, with the optimizer step and the batch's place in it.
    """

    seed: int
    _step: int = -1
    _place: int = 0

    def draw(self, loss: Loss | None, model: nn.Module, step: int) -> tuple[int, ...]:
        """The layers of the next batch, ascending; none for a loss that does not ask for them.

        Args:
            loss: of the batch's dataset; None for a batch without rows.
            model: the encoder.
            step: optimizer steps done.

        Raises:
            ConfigError: the model has no layers to choose from.
        """
        self._place = self._place + 1 if step == self._step else 0
        self._step = step
        if not isinstance(loss, AdaptiveLayers):
            return ()
        if not isinstance(model, Encoder):
            raise ConfigError("AdaptiveLayers trains an Encoder")
        count = layer_count(model.parts[0])
        if not 0 < loss.layers_per_step < count:
            return tuple(range(count))
        generator = torch.Generator().manual_seed(mix(mix(self.seed, step), self._place))
        return tuple(sorted(torch.randperm(count, generator=generator)[: loss.layers_per_step].tolist()))


class Extras:
    """Adds to batches what the loss of their dataset wants.

    Args:
        model: an encoder gets the projection here that the losses train along, before there is an optimizer.
        loss: of the run.
        source: has the guide.
        seed: of the layers drawn.

    Raises:
        ConfigError: the model cannot have a projection, or losses of the run project to different dimensions.
    """

    def __init__(self, model: nn.Module, loss: Loss, source: RowSource, seed: int) -> None:
        self.loss = loss
        self.source = source
        self._draws = LayerDraws(seed)
        losses: Sequence[Loss] = list(loss.losses.values()) if isinstance(loss, ByDataset) else [loss]
        dims = set.intersection(*(set(matryoshka_dims(one)) for one in losses))
        if dims and isinstance(model, Encoder):
            model.trained_dims = tuple(sorted(dims, reverse=True))
        for dim in map(projection_of, losses):
            if dim and not isinstance(model, Encoder):
                raise ConfigError("a projection to a teacher's space is trained with an Encoder")
            if dim and isinstance(model, Encoder):
                model.give_projection(model.embedding_dim, dim)

    def of_training(self, batch: Batch, model: nn.Module, step: int) -> Batch:
        """A training batch, which may have no rows, with all that is wanted.

        Args:
            batch: the next one of the run.
            model: the encoder.
            step: optimizer steps done.
        """
        if not batch.num_rows:
            self._draws.draw(None, model, step)
            return batch
        loss = loss_of(self.loss, batch.dataset)
        batch = self.source.guided(batch, self.source.training[batch.dataset])
        layers = self._draws.draw(loss, model, step)
        return replace(batch, layers=layers, projected=projection_of(loss))

    def of_evaluation(self, batch: Batch, rows: Rows) -> Batch:
        """A batch of held-out rows, whose loss is that of the last layer."""
        projected = projection_of(loss_of(self.loss, batch.dataset))
        return replace(self.source.guided(batch, rows), projected=projected)
