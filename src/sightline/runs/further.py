"""Further tables that a run is measured on: each with questions, rows and files of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from sightline.config.recipe import DataConfig, EvaluationConfig, Recipe
from sightline.errors import ConfigError
from sightline.runs.tables import TableMaterial

_FILE_NAME = re.compile(r"[\w.-]+")


def further_recipes(recipe: Recipe) -> dict[str, Recipe]:
    """For each `[more.NAME.evaluation]` the recipe of a run on that table alone.

    Raises:
        ConfigError: a name that cannot stand in the names of files.
    """
    found = {}
    for name, table in recipe.more.items():
        if (asked := table.evaluation) is None:
            continue
        if not _FILE_NAME.fullmatch(name):
            raise ConfigError(
                f"{recipe.source}: more.{name}: its results are written to results-NAME.json; use a name of letters, "
                "digits, '-', '_' and '.'"
            )
        data = DataConfig(
            dataset=table.dataset, columns=table.columns, subset=table.subset, revision=table.revision,
            split=table.split, max_rows=table.max_rows, negatives=table.negatives,
        )  # fmt: skip
        evaluation = EvaluationConfig(
            split=asked.split, dataset=asked.dataset, subset=asked.subset, columns=asked.columns,
            max_rows=asked.max_rows, candidates=asked.candidates, retriever=asked.retriever,
            dims=recipe.evaluation.dims,
        )  # fmt: skip
        found[name] = dataclasses.replace(
            recipe, data=data, evaluation=evaluation, more={}, source=f"{recipe.source}: [more.{name}]"
        )
    return found


def further_materials(recipe: Recipe) -> dict[str, TableMaterial]:
    """What each `[more.NAME.evaluation]` measures with, by name.

    Raises:
        ConfigError, DataError: a table that cannot be opened or measured with.
    """
    return {
        name: TableMaterial(own, prompts=_prompts(recipe, name, own.data.columns))
        for name, own in further_recipes(recipe).items()
    }


def _prompts(recipe: Recipe, name: str, columns: list[str]) -> tuple[str | None, str | None]:
    """The prompts of questions and of documents that a table is trained with, where the recipe says."""
    given: Any = recipe.training.others.get("prompts")
    if isinstance(given, Mapping) and name in given:
        given = given[name]
    if isinstance(given, str):
        return given, given
    if isinstance(given, Mapping):
        from sightline.training.rows import TARGET_COLUMNS

        asked = [column for column in columns if column not in TARGET_COLUMNS]
        return tuple((*(given.get(column) for column in asked), None, None)[:2])  # type: ignore[return-value]
    return None, None
