"""Reading recipes, applying dotted overrides, writing the resolved recipe.

TOML has no null: a key that is left out is inherited, and an override `key=unset` takes a key out again.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from sightline.config.check import build, choices_of, convert, unknown_key
from sightline.config.recipe import Recipe
from sightline.errors import ConfigError


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in the TOML file `path`, with `overrides` (`training.learning_rate=1e-4`) applied.

    Raises:
        ConfigError: the file is missing or not TOML; a key or value is wrong. Names file and key.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe; see the recipes/ folder for examples") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    return recipe_from(table, overrides, source=str(path))


def recipe_from(
    table: Mapping[str, Any], overrides: Iterable[str] = (), *, source: str = "the recipe"
) -> Recipe:
    """A recipe from a table of values, as `load_recipe` makes one from a file."""
    merged = _copied(table)
    for override in overrides:
        _apply(merged, override)
    recipe = dataclasses.replace(build(Recipe, merged, source=source), source=source)
    if bool(recipe.model.name) == bool(recipe.model.routes):
        raise ConfigError(
            f"{source}: model.name and model.routes are both there; keep one of them"
            if recipe.model.name
            else f"{source}: model.name is missing; add it (or model.routes, to compose a model)"
        )
    return recipe


def to_table(config: Any) -> dict[str, Any]:
    """A dataclass as nested TOML values; None and empty tables are left out, `rest` fields merged in."""
    table: dict[str, Any] = {}
    for spec in dataclasses.fields(config):
        value = getattr(config, spec.name)
        if value is None or spec.metadata.get("hidden") or value == {}:
            continue
        if spec.metadata.get("rest"):
            table.update(_plain(value))
        else:
            table[spec.name] = _plain(value)
    return table


def dump_recipe(
    recipe: Recipe, path: str | Path, *, inherited: Mapping[str, Any] | None = None, note: str = ""
) -> None:
    """Write `recipe` as TOML that `load_recipe` reads back to the same run.

    Args:
        recipe: what to write.
        path: the file; its folder is made.
        inherited: dotted key -> value of what the recipe left out; written too, so that the file does not
            depend on today's defaults. Values TOML cannot hold are left out.
        note: comment lines for the top of the file.
    """
    import tomli_w

    table = to_table(recipe)
    for key, value in (inherited or {}).items():
        plain = _plain(value)
        if plain is not None:
            _place(table, key.split("."), plain)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    comment = "".join(f"# {line}\n" for line in note.splitlines())
    path.write_text(comment + tomli_w.dumps(table), encoding="utf-8")


def _apply(table: dict[str, Any], override: str) -> None:
    """Set one `key=value` in `table`, the value typed as the recipe's field says."""
    key, equals, text = override.partition("=")
    key = key.strip()
    source = f"override {override!r}"
    if not equals or not key:
        raise ConfigError(f"{source}: write it as key=value, for example training.learning_rate=1e-4")
    path = key.split(".")
    annotation = _annotation(path, source=source)
    if text.strip() == "unset":
        _remove(table, path)
        return
    _place(table, path, _parse(annotation, text.strip(), source=source, key=key))


def _annotation(path: list[str], *, source: str) -> Any:
    """The annotation of the field a dotted key names; Any inside free tables."""
    current: Any = Recipe
    walked = ""
    for name in path:
        holder = next((choice for choice in choices_of(current) if dataclasses.is_dataclass(choice)), None)
        if holder is None:
            free = any(str(choice).startswith("dict") for choice in choices_of(current))
            if free:
                return Any
            raise ConfigError(f"{source}: {walked.rstrip('.')} is a value, not a table")
        specs = {f.name: f for f in dataclasses.fields(holder) if not f.metadata.get("hidden")}
        named = [n for n, f in specs.items() if not f.metadata.get("rest")]
        if name not in named:
            if len(named) < len(specs):
                return Any
            raise unknown_key(walked + name, [walked + n for n in named], source=source)
        current = get_type_hints(holder)[name]
        walked += name + "."
    return current


def _parse(annotation: Any, text: str, *, source: str, key: str) -> Any:
    """A value from the command line: as TOML where that fits the field, else as plain text."""
    spelled = {"True": "true", "False": "false"}.get(text, text)
    try:
        value = tomllib.loads(f"value = {spelled}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    try:
        return convert(annotation, value, source=source, key=key)
    except ConfigError:
        if str in choices_of(annotation):  # e.g. model.revision=12, a number that is meant as text
            return text
        if "," in text and not text.startswith("["):  # evaluation.dims=384,128 without the brackets
            return _parse(annotation, f"[{text}]", source=source, key=key)
        raise


def _place(table: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{'.'.join(path)}: {name} is a value in the recipe, not a table")
    table[path[-1]] = value


def _remove(table: dict[str, Any], path: list[str]) -> None:
    for name in path[:-1]:
        table = table.get(name, {})
    table.pop(path[-1], None)


def _plain(value: Any) -> Any:
    """`value` in types TOML has; None where there is no such type."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_table(value)
    if isinstance(value, Mapping):
        plain = {str(key): _plain(item) for key, item in value.items()}
        return {key: item for key, item in plain.items() if item is not None}
    if isinstance(value, (list, tuple, set)):
        items = [_plain(item) for item in value]
        return None if any(item is None for item in items) else items
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (str, Path)):
        return str(getattr(value, "value", value))  # str enums of transformers write their value
    return None


def _copied(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in table.items()}
