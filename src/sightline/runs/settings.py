"""The `[training]` table as `TrainingArguments`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from sightline.config.check import convert, unknown_key
from sightline.config.recipe import Recipe
from sightline.errors import ConfigError

if TYPE_CHECKING:
    from sightline.training.arguments import TrainingArguments
    from sightline.training.distributed import Ranks

CHECKPOINTS = "checkpoints"
# Decided by the recipe's other tables.
_ELSEWHERE = {"output_dir": "output.dir", "push_to_hub": "output.push_to_hub", "do_train": "the command"}


def training_arguments(recipe: Recipe, *, quiet: bool = False) -> TrainingArguments:
    """`TrainingArguments` from the recipe, every key and type checked.

    Args:
        recipe: the recipe.
        quiet: no progress bars unless the recipe asks for them.

    Raises:
        ConfigError: naming the file and the key: unknown, of the wrong type, or refused by transformers.
    """
    from sightline.training.arguments import TrainingArguments

    known = {item.name for item in dataclasses.fields(TrainingArguments) if item.init}
    hints = get_type_hints(TrainingArguments)
    given: dict[str, Any] = {}
    for name, value in recipe.training.given().items():
        key = f"training.{name}"
        if name in _ELSEWHERE:
            raise ConfigError(f"{recipe.source}: {key} is decided by {_ELSEWHERE[name]}; remove it")
        if name not in known:
            raise unknown_key(key, [f"training.{known_name}" for known_name in known], source=recipe.source)
        given[name] = convert(hints[name], value, source=recipe.source, key=key)
    given["output_dir"] = str(Path(recipe.output.dir) / CHECKPOINTS)
    given.setdefault("disable_tqdm", quiet)
    try:
        return TrainingArguments(**given)
    except (ValueError, TypeError, ImportError) as error:
        message = " ".join(str(error).split())
        raise ConfigError(f"{recipe.source}: [training]: {message}") from error


def meet(arguments: TrainingArguments) -> Ranks:
    """The processes that torchrun started with this one, once all of them are there; one alone otherwise.

    Raises:
        LostRankError: one of them ended.
    """
    from sightline.training.distributed import Ranks

    _ = arguments.device  # transformers joins the processes when it is first asked for the device
    return Ranks.of_process(arguments.ddp_timeout_delta)
