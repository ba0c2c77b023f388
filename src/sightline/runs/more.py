"""Further tables that a recipe trains on beside its `[data]`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sightline.config.recipe import Recipe
from sightline.errors import ConfigError
from sightline.runs.losses import build_loss, loss_class
from sightline.runs.tables import open_more

if TYPE_CHECKING:
    from sightline.losses.base import Loss

# What the rows of `[data]` are called beside those of `[more.NAME]`.
FIRST = "data"


def with_rows(recipe: Recipe, rows: Any) -> Any:
    """The rows of `[data]`, with those of each `[more.NAME]` by its name if there is any.

    Raises:
        ConfigError: a table under the name of `[data]`, or without columns.
        DataError: a table that cannot be opened, or without a column the recipe names.
    """
    if not recipe.more:
        return rows
    if FIRST in recipe.more:
        raise ConfigError(
            f"{recipe.source}: more.{FIRST}: that is the name of [data] itself; use another one"
        )
    found = {FIRST: rows}
    return found | open_more(recipe)


def with_losses(recipe: Recipe, loss: Loss, similarity: str | None) -> Loss:
    """The loss of `[loss]`, or one per dataset where there are several.

    Args:
        recipe: the recipe.
        loss: that of `[loss]`.
        similarity: how the model compares embeddings; None for a reranker.

    Raises:
        ConfigError: a loss that does not exist, or an option it does not have.
    """
    from sightline.losses.compose import ByDataset

    if not recipe.more:
        return loss
    found = {FIRST: loss}
    for name, table in recipe.more.items():
        found[name] = loss
        if table.loss is not None:
            if table.loss.guide is not None:
                raise ConfigError(
                    f"{recipe.source}: more.{name}.loss.guide: a run has one guide; name it in [loss], and give this "
                    "loss false_negatives"
                )
            own = dataclasses.replace(recipe, loss=table.loss, source=f"{recipe.source}: [more.{name}]")
            loss_class(own)
            found[name] = build_loss(own, similarity)
    return ByDataset(found)


def counted(rows: Any) -> str:
    """How many pairs there are, in words: ``70 pairs``, or ``70 pairs of 'data', 12 of 'more'``."""
    if not isinstance(rows, Mapping):
        return f"{len(rows):,} pairs"
    (first, count), *others = ((name, len(some)) for name, some in rows.items())
    return ", ".join([f"{count:,} pairs of {first!r}", *(f"{more:,} of {name!r}" for name, more in others)])
