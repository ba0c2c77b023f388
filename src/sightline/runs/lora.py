"""The adapter of `[lora]` in a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.config.recipe import Recipe
from sightline.errors import ConfigError


def add_adapter(recipe: Recipe, model: Any, *, seed: int) -> None:
    """Puts the adapter of `[lora]` into a model, if there is such a table; the same one for the same seed.

    Raises:
        ConfigError: the model has no such part or route, or has an adapter already.
    """
    from sightline.models.adapters import LoRA
    from sightline.training.seeds import seeded

    config = recipe.lora
    if config is None:
        return
    try:
        adapter = LoRA(
            parts=tuple(config.parts),
            r=config.r,
            alpha=config.alpha,
            dropout=config.dropout,
            target_modules=tuple(config.target_modules) or None,
        )
        with seeded(seed):
            model.add_adapter(adapter, **({"routes": config.routes} if config.routes else {}))
    except ConfigError as error:
        raise ConfigError(f"{recipe.source}: [lora]: {error}") from None


def saving(recipe: Recipe) -> Mapping[str, Any]:
    """Keyword arguments of ``save_pretrained`` that `[lora]` decides."""
    return {"merge": True} if recipe.lora is not None and recipe.lora.merge else {}


def settle(recipe: Recipe, model: Any) -> None:
    """Makes the model in memory the one that was saved."""
    from sightline.training.weights import is_sharded

    if recipe.lora is not None and recipe.lora.merge and not is_sharded(model):
        model.merge_adapter()
