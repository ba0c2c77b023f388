"""Values of a TOML file against the annotations of a dataclass.

Works on any dataclass whose fields are str, int, float, bool, Literal, list, dict, an optional of
those, or another dataclass. Annotations it does not know (an enum of transformers, say) accept anything,
because the class itself checks them.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sightline.errors import ConfigError

T = TypeVar("T")


def build(cls: type[T], table: Mapping[str, Any], *, source: str, prefix: str = "") -> T:
    """An instance of the dataclass `cls` from a table of TOML values.

    Args:
        cls: the dataclass.
        table: key -> value.
        source: the file (or override) the table came from, for messages.
        prefix: dotted name of the table, `training.` for example.

    Raises:
        ConfigError: naming `source` and the dotted key: unknown key (with the nearest known one),
            missing key, wrong type.
    """
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls) if not f.metadata.get("hidden")}  # type: ignore[arg-type]
    rest = next((name for name, f in known.items() if f.metadata.get("rest")), None)
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in table.items():
        if key in known and key != rest:
            values[key] = convert(hints[key], value, source=source, key=prefix + key)
        elif rest is not None:
            extra[key] = value
        else:
            raise unknown_key(prefix + key, [prefix + name for name in known], source=source)
    if rest is not None:
        values[rest] = extra
    for name, spec in known.items():
        if name not in values and _required(spec):
            what = f"[{prefix}{name}] table" if dataclasses.is_dataclass(hints[name]) else f"{prefix}{name}"
            raise ConfigError(f"{source}: {what} is missing; add it")
    return cls(**values)


def convert(annotation: Any, value: Any, *, source: str, key: str) -> Any:
    """`value` as `annotation` asks for it; an int passes for a float, nothing else is converted."""
    choices = choices_of(annotation)
    if value is None and type(None) in choices:
        return None
    for choice in choices:
        if dataclasses.is_dataclass(choice) and isinstance(value, Mapping):
            return build(choice, value, source=source, prefix=key + ".")  # type: ignore[arg-type]
        if get_origin(choice) in (list, tuple) and isinstance(value, (list, tuple)):
            inner = get_args(choice)[0]
            return [convert(inner, item, source=source, key=f"{key}[{i}]") for i, item in enumerate(value)]
        if get_origin(choice) is dict and isinstance(value, Mapping):
            inner = get_args(choice)[1]
            return {k: convert(inner, item, source=source, key=f"{key}.{k}") for k, item in value.items()}
        if _matches(choice, value):
            return float(value) if choice is float else value
    raise ConfigError(f"{source}: {key} must be {describe(annotation)}, not {_shown(value)}")


def unknown_key(key: str, known: Iterable[str], *, source: str) -> ConfigError:
    """The error for a key nobody knows, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "known keys: " + ", ".join(known)
    return ConfigError(f"{source}: unknown key {key}; {hint}")


def describe(annotation: Any) -> str:
    """An annotation in words: "a number", "one of 'text', 'image', 'both'", "a list of whole numbers"."""
    words = []
    for choice in choices_of(annotation):
        if choice is type(None):
            continue
        if get_origin(choice) is Literal:
            words.append("one of " + ", ".join(repr(option) for option in get_args(choice)))
        elif get_origin(choice) in (list, tuple):
            words.append("a list, each item " + describe(get_args(choice)[0]))
        elif get_origin(choice) is dict or dataclasses.is_dataclass(choice):
            words.append("a table")
        else:
            words.append(_WORDS.get(choice, getattr(choice, "__name__", str(choice))))
    return " or ".join(words) or "anything"


_WORDS: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _matches(choice: Any, value: Any) -> bool:
    if get_origin(choice) is Literal:
        # True == 1 in Python, but `1` in a recipe is not `true`.
        return any(value == option and type(value) is type(option) for option in get_args(choice))
    if choice in (str, bool):
        return isinstance(value, choice)
    if choice is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if choice is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    composite = get_origin(choice) in (list, tuple, dict) or dataclasses.is_dataclass(choice)
    return not composite and choice is not type(None)


def _required(spec: dataclasses.Field[Any]) -> bool:
    return spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
