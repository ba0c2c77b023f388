"""Vectors of a model's earlier layers, each as if the model ended there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.modules.backbone import LAYERS, Backbone


def layer_count(first: nn.Module) -> int:
    """How many outputs there are before the last layer's: of the layers before it, and what goes into the first.

    Args:
        first: an encoder's first part.

    Raises:
        ConfigError: it has no hidden states to pool.
    """
    if not isinstance(first, Backbone) or first.table.writes != "token_embeddings":
        raise ConfigError("this model does not pool hidden states itself, so its layers have no vectors")
    if first.keeps_layers:
        raise ConfigError(
            "this model's vectors are a mean over its layers, so no layer has a vector of its own"
        )
    return int(first.model.config.get_text_config().num_hidden_layers)


def with_layers(features: dict[str, Any], rest: Iterable[nn.Module]) -> Tensor:
    """The vectors (n, (1 + S) D) of the last layer and of S others, side by side.

    Args:
        features: what the backbone wrote, the hidden states of the S layers among it.
        rest: the parts behind it; each layer goes through all of them.

    Raises:
        ConfigError: the model gives several vectors per item.
    """
    vectors = []
    parts = list(rest)
    for tokens in (features["token_embeddings"], *features[LAYERS]):
        own = features | {"token_embeddings": tokens}
        for part in parts:
            own = part(own)
        if "sentence_embedding" not in own:
            raise ConfigError("layers are trained of models that give one vector per item")
        vectors.append(own["sentence_embedding"])
    return torch.cat(vectors, dim=-1)
