"""A loss on the vectors of earlier layers too, so that layers can be left out after training.

Shape letters::

    N  distinct items of the batch     D  embedding dimension     S  earlier layers asked for
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, softmax

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.columns import single_vectors
from sightline.losses.needs import Needs, needs_of
from sightline.types import Batch, Embeddings

LayerWeighting = Literal["uniform", "log", "linear"]


@dataclass(frozen=True)
class AdaptiveLayers:
    """A loss applied to the last layer and to some of those before it.

    ``w_last loss(last) + w_prior / S sum_i w_i loss(i) + w_kl t sum_i KL(softmax(last / t) || softmax(i / t))``
    over S layers drawn anew for each step, each pooled as the last one is (Li et al. 2024, arXiv:2402.14776). With
    `Matryoshka` inside it is their 2D Matryoshka. sentence-transformers' AdaptiveLayerLoss and Matryoshka2dLoss,
    which draw the layers from another generator.

    The batch says which layers there are: the encoder gives each item's vectors side by side, the last layer's
    first. A batch without any, as in evaluation, has the loss of the last layer.

    Args:
        loss: any loss.
        layers_per_step: earlier layers per step, drawn by the `Trainer`; -1 for all. Layer 0 are the embeddings that
            go into the first layer.
        last_weight, prior_weight: of the loss at the last layer, and at the others.
        kl_weight: of the divergence of an earlier layer's vectors from the last one's, which get no gradient by it.
        kl_temperature: its t; 0 for no divergence.
        layer_weighting: w_i: "uniform" (1), "log" (``1 / (1 + ln(1 + i))``) or "linear" (``1 / (1 + i)``).

    Raises:
        ConfigError: an argument is out of range.
    """

    loss: Loss
    layers_per_step: int = 1
    last_weight: float = 1.0
    prior_weight: float = 1.0
    kl_weight: float = 1.0
    kl_temperature: float = 0.3
    layer_weighting: LayerWeighting = "uniform"

    def __post_init__(self) -> None:
        if self.layers_per_step != -1 and self.layers_per_step < 1:
            raise ConfigError(
                f"layers_per_step must be at least 1, or -1 for all, not {self.layers_per_step}"
            )
        if self.layer_weighting not in get_args(LayerWeighting):
            known = ", ".join(get_args(LayerWeighting))
            raise ConfigError(
                f"AdaptiveLayers knows the layer_weighting {known}, not {self.layer_weighting!r}"
            )
        for name in ("last_weight", "prior_weight", "kl_weight", "kl_temperature"):
            if vars(self)[name] < 0:
                raise ConfigError(f"{name} of AdaptiveLayers must not be negative, not {vars(self)[name]}")

    @property
    def needs(self) -> tuple[Needs, ...]:
        """Those of the inner loss, and vectors of earlier layers."""
        return (Needs(type(self).__name__, layers=True, compares="vectors"), *needs_of(self.loss))

    def weight(self, layer: int) -> float:
        """w_i of a layer."""
        if self.layer_weighting == "uniform":
            return 1.0
        return 1 / (1 + (math.log(1 + layer) if self.layer_weighting == "log" else layer))

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """The inner loss's parts, ``<part>_prior`` of the earlier layers, and ``layers_kl``.

        Args:
            embeddings: (N, D) of the last layer, with those of the batch's S layers beside them.
            batch: says which layers these are.
        """
        last_ND = single_vectors(embeddings)
        prior: tuple[Tensor, ...] = ()
        if embeddings.beside is not None and batch.layers:
            prior = embeddings.beside.split(embeddings.dim, dim=1)[: len(batch.layers)]
        parts = {
            name: self.last_weight * part for name, part in self.loss(Embeddings(last_ND), batch).items()
        }
        for layer, values_ND in zip(batch.layers, prior, strict=True):
            factor = self.weight(layer) / len(batch.layers) * self.prior_weight
            for name, part in self.loss(Embeddings(values_ND), batch).items():
                _add(parts, f"{name}_prior", factor * part)
            if self.kl_temperature and self.kl_weight:
                apart = kl_div(
                    log_softmax(values_ND / self.kl_temperature, 1),
                    softmax(last_ND.detach() / self.kl_temperature, 1),
                    reduction="sum",
                )
                _add(parts, "layers_kl", apart / max(len(last_ND), 1) * self.kl_temperature * self.kl_weight)
        return parts


def _add(parts: dict[str, Tensor], name: str, value: Tensor) -> None:
    parts[name] = parts[name] + value if name in parts else value
