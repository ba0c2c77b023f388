"""Token vectors as a weighted mean over the layers of the backbone, with weights that are trained.

Shape letters: L layers, N items, T positions, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sightline.errors import CheckpointError
from sightline.modules.backbone import EVERY_LAYER, Backbone
from sightline.modules.base import Module
from sightline.modules.router import Router


class WeightedLayerPooling(Module):
    """Writes ``token_embeddings`` (N, T, D): hidden states of a backbone's layers, averaged with trained weights.

    The formula is that of ST's module of the same name: the sum of weight times layer over the sum of the weights,
    which are not made positive.

    Args:
        dim: D.
        num_hidden_layers: layers of the backbone; with what goes into the first there is one hidden state more.
        layer_start: the first of these that counts; 0 is what goes into the first layer.

    Raises:
        CheckpointError: no layer is left.
    """

    kind: ClassVar[str] = "layer_pooling"

    def __init__(self, dim: int, num_hidden_layers: int = 12, layer_start: int = 4) -> None:
        super().__init__()
        if not 0 <= layer_start <= num_hidden_layers:
            raise CheckpointError(
                f"layer_start must lie between 0 and {num_hidden_layers}, not {layer_start}"
            )
        self.dim = dim
        self.num_hidden_layers = num_hidden_layers
        self.layer_start = layer_start
        self.layer_weights = nn.Parameter(torch.ones(num_hidden_layers + 1 - layer_start))

    @property
    def output_dim(self) -> int:
        return self.dim

    def facts(self) -> dict[str, Any]:
        return {
            "word_embedding_dimension": self.dim,
            "layer_start": self.layer_start,
            "num_hidden_layers": self.num_hidden_layers,
        }

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        if EVERY_LAYER not in features:
            raise CheckpointError(
                "weighted layers need the hidden states of every layer, and what runs here gives the last one's alone"
            )
        layers_LNTD: Sequence[Tensor] = features[EVERY_LAYER]
        if len(layers_LNTD) != self.num_hidden_layers + 1:
            raise CheckpointError(
                f"weighted layers were made for a backbone of {self.num_hidden_layers} layers, and this one has "
                f"{len(layers_LNTD) - 1}; num_hidden_layers in their config.json is another model's"
            )
        # One by one: stacked, the layers would be held twice.
        total_NTD = sum(
            weight * layer_NTD
            for weight, layer_NTD in zip(self.layer_weights, layers_LNTD[self.layer_start :], strict=True)
        )
        features["token_embeddings"] = total_NTD / self.layer_weights.sum()
        return features


def connect_layers(parts: Sequence[nn.Module]) -> None:
    """Has backbones in front of weighted layers give what these need.

    Raises:
        CheckpointError: what stands in front gives no hidden states.
    """
    for chain in _chains(parts):
        if any(isinstance(part, WeightedLayerPooling) for part in chain):
            first = chain[0]
            if not isinstance(first, Backbone) or first.table.writes != "token_embeddings":
                raise CheckpointError(
                    "weighted layers stand behind a backbone that gives hidden states, in the same route; here they do "
                    "not"
                )
            first.keep_layers()


def without_idle_layers(parts: list[Module]) -> tuple[list[Module], bool]:
    """Leaves weighted layers out that do nothing, because the backbone's configuration asks for no hidden states.

    Sentence Transformers passes such a module over. A saved ``config.json`` has ``output_hidden_states`` where it
    does its work.

    Returns:
        The parts, and whether some were left out.
    """
    first = parts[0] if parts else None  # a broken checkpoint's route, which is told of later
    asked = isinstance(first, Backbone) and bool(first.model.config.output_hidden_states)
    kept = [part for part in parts if asked or not isinstance(part, WeightedLayerPooling)]
    return kept, len(kept) < len(parts)


def _chains(parts: Sequence[nn.Module]) -> list[Sequence[nn.Module]]:
    routes = [inner for part in parts if isinstance(part, Router) for inner in part.routes().values()]
    return [parts, *routes]
