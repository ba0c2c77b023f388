"""The attention kernel of a run: the first the recipe allows that can run here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sightline.config.recipe import Recipe
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from sightline.models.kernels import Kernel


def kernel_of(recipe: Recipe) -> Kernel | None:
    """The kernel for ``model.attn_implementation``; None where the recipe leaves the choice to transformers.

    Raises:
        ConfigError: none of those it names can run on this machine.
    """
    from sightline.models.devices import usable_device
    from sightline.models.kernels import first_usable

    wanted = recipe.model.attn_implementation
    if wanted is None:
        return None
    names, device = [wanted] if isinstance(wanted, str) else wanted, usable_device(recipe.model.device)
    try:
        return first_usable(names, device)
    except ConfigError as error:
        raise ConfigError(
            f"{recipe.source}: model.attn_implementation: {error}; "
            'name one that can, as in ["flash_attention_2", "sdpa"]'
        ) from None


def told(recipe: Recipe) -> str:
    """Of the kernel, for the line about the model; empty where a recipe has its way or has none."""
    kernel = kernel_of(recipe)
    return f", {kernel.told()}" if kernel is not None and kernel.passed_over else ""


def settled(recipe: Recipe) -> dict[str, Any]:
    """The kernel that was chosen among several, as the resolved recipe has it: its run is this one again."""
    kernel = kernel_of(recipe) if isinstance(recipe.model.attn_implementation, list) else None
    return {} if kernel is None else {"model.attn_implementation": kernel.name}
