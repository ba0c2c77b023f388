"""Options of ST's that ask for what Sightline does not do: refused by name, never passed over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sightline.errors import ConfigError


def refuse(call: str, **options: tuple[bool, str]) -> None:
    """Refuses the options that are asked for.

    Args:
        call: whose options they are.
        options: by name, whether it is given a value that would change something, and what to do instead.

    Raises:
        ConfigError: the first one that is asked for.
    """
    for name, (asked, instead) in options.items():
        if asked:
            raise ConfigError(f"{call}: {name} has no equal here; {instead}")


def refuse_unknown(call: str, others: Mapping[str, Any]) -> None:
    """Refuses options that Sentence Transformers does not know either, or passes on to the model.

    Raises:
        ConfigError: there is one.
    """
    if others:
        names = ", ".join(sorted(others))
        raise ConfigError(
            f"{call}: there is no option {names}; docs/from-sentence-transformers.md has those there are"
        )
