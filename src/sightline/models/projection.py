"""A linear layer from an encoder's vectors to a teacher's space, there for training alone.

It is part of the encoder while it trains, so that optimizer and gradients know it, and stands in a file of its own in
checkpoints; a saved model has no trace of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sightline.errors import CheckpointError, ConfigError
from sightline.models.anatomy import embeddings_of
from sightline.models.devices import floating_dtype
from sightline.models.layers import with_layers
from sightline.modules.backbone import WANTED_LAYERS
from sightline.types import Embeddings, MicroBatch

FILE = "projection.safetensors"
_NAME = "projection"


class Projected(nn.Module):
    """What an encoder that can be given a projection has.

    Attributes:
        projection: from the model's vectors (n, D) to (n, T); None outside of training to a teacher.
    """

    projection: nn.Linear | None

    def __init__(self) -> None:
        super().__init__()
        self.projection = None

    def give_projection(self, size: int, dim: int) -> None:
        """A projection with new weights, unless there is one already.

        Args:
            size: D, components of the vectors.
            dim: T, components in the teacher's space.

        Raises:
            ConfigError: there is one to another dimension.
        """
        if self.projection is None:
            device, dtype = next(self.parameters()).device, floating_dtype(self)
            self.projection = nn.Linear(size, dim, device=device, dtype=dtype)
        elif self.projection.out_features != dim:
            raise ConfigError(
                f"this model has a projection to {self.projection.out_features} dimensions already, not to {dim}; "
                "losses of one run share one"
            )

    def run(
        self, features: dict[str, Any], parts: Sequence[nn.Module], micro_batch: MicroBatch
    ) -> Embeddings:
        """What the parts make of features.

        Args:
            features: of the micro-batch, on the model's device.
            parts: the model's, in order.
            micro_batch: may ask for S earlier layers, whose vectors stand behind the last one's, (n, (1 + S) D); and
                for the projections (n, T) of the last one's, which stand behind all of these.

        Raises:
            ConfigError: the model has no projection, or no layers with vectors of their own.
        """
        if micro_batch.layers:
            features[WANTED_LAYERS] = micro_batch.layers
            found = Embeddings(with_layers(parts[0](features), parts[1:]))
        else:
            for part in parts:
                features = part(features)
            found = embeddings_of(features)
        if not micro_batch.projected:
            return found
        if self.projection is None:
            raise ConfigError(
                "a loss asks for projected vectors, but the model has no projection; use the Trainer"
            )
        # The heads behind a backbone in few bits may give another type than most of its weights have.
        own = found.values[:, : self.projection.in_features].to(self.projection.weight.dtype)
        return Embeddings(torch.cat([found.values, self.projection(own)], dim=-1))


def save_projection(model: nn.Module, folder: Path) -> None:
    """Writes the projection into a checkpoint; nothing where there is none."""
    if isinstance(model, Projected) and model.projection is not None:
        state = {
            name: value.detach().cpu().contiguous() for name, value in model.projection.state_dict().items()
        }
        save_file(state, folder / FILE)


def saved_projection(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """The projection's weights in a checkpoint, as they stand in the encoder's state.

    Raises:
        CheckpointError: the encoder has a projection and the checkpoint none.
    """
    if not isinstance(model, Projected) or model.projection is None:
        return {}
    if not (folder / FILE).exists():
        raise CheckpointError(f"{folder} has no {FILE}: its run trained no projection")
    return {f"{_NAME}.{name}": value for name, value in load_file(folder / FILE).items()}
