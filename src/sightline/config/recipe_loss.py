"""The `[loss]` table of a recipe; see `sightline.config.recipe`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class MatryoshkaConfig:
    """`[loss.matryoshka]`: train prefixes of the embedding too, so that it can be cut short later."""

    dims: list[int]
    """Dimensions to train, for example [384, 256, 128, 64]. Required."""

    weights: list[float] | None = None
    """Weight of each dimension; inherited: all 1."""


@dataclass(frozen=True)
class LayersConfig:
    """`[loss.layers]`: train earlier layers too, so that layers can be left out later (`AdaptiveLayers`). With
    `[loss.matryoshka]` beside it, each layer is trained at each dimension: 2D Matryoshka."""

    layers_per_step: int = 1
    """Earlier layers per step, drawn anew for each; -1 for all."""

    last_weight: float = 1.0
    """Weight of the loss at the last layer."""

    prior_weight: float = 1.0
    """Weight of the loss at the earlier layers."""

    kl_weight: float = 1.0
    """Weight of what sets an earlier layer's vectors apart from the last one's."""

    kl_temperature: float = 0.3
    """Temperature of that; 0 to leave it out."""

    layer_weighting: Literal["uniform", "log", "linear"] = "uniform"
    """How much a layer counts by its number."""


@dataclass(frozen=True)
class LossConfig:
    """`[loss]`: what is minimised.

    The common options are listed here; every other argument of the loss (docs/losses.md) may stand in the table too.
    """

    name: str = "infonce"
    """"infonce": a question must score its own page above the other pages of the batch. The other losses go by their
    names in small letters: "triplet", "batch_triplet", "cosent", "margin_mse", "distill_kl", ..."""

    temperature: float | None = None
    """Scores are divided by it; smaller is sharper (0.05 is `scale=20` in Sentence Transformers)."""

    symmetric: bool | None = None
    """Also ask of each page that it scores its own question above the others."""

    similarity: str | None = None
    """How two embeddings are compared; inherited from the model."""

    guide: str | None = None
    """Folder or name on the Hub of a model, of the same items, that is not trained: documents it finds closer to the
    question than the question's own page are no negatives. `[loss.false_negatives]` has the margin."""

    matryoshka: MatryoshkaConfig | None = None
    """Leave the table out to train the full dimension only."""

    layers: LayersConfig | None = None
    """Leave the table out to train the last layer only."""

    others: dict[str, Any] = field(default_factory=dict, metadata={"rest": True})
    """Every further argument of the loss, under its own name."""

    def given(self) -> dict[str, Any]:
        """The arguments of the loss that the recipe sets, by name."""
        own = ("name", "guide", "matryoshka", "layers", "others")
        named = {name: value for name, value in vars(self).items() if name not in own and value is not None}
        return {**named, **self.others}
