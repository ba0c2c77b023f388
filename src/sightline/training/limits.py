"""How large a micro-batch may be: one pair of numbers that all processes of a run read as they are now.

Batches are planned in worker processes that live for an epoch or longer, and memory may turn out to be short
after they have started.
"""

from __future__ import annotations

import re

import torch

from sightline.errors import ConfigError


class Limits:
    """Limits of one micro-batch, in memory that worker processes share with the main one.

    Args:
        token_budget: positions (four vision patches count as one); None for no limit.
        max_items: items; None for no limit.

    Raises:
        ConfigError: a limit below 1.
    """

    def __init__(self, token_budget: int | None = None, max_items: int | None = None) -> None:
        # A tensor, because torch hands its memory to forked and to spawned workers alike.
        self._values = torch.zeros(2, dtype=torch.int64).share_memory_()
        self.set(token_budget, max_items)

    def set(self, token_budget: int | None, max_items: int | None) -> None:
        """Changes both, for every process."""
        for name, value in (("token_budget", token_budget), ("max_items", max_items)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1 or None, not {value}")
        self._values.copy_(torch.tensor([token_budget or 0, max_items or 0]))

    @property
    def token_budget(self) -> int | None:
        return int(self._values[0]) or None

    @property
    def max_items(self) -> int | None:
        return int(self._values[1]) or None

    def __repr__(self) -> str:
        return f"Limits(token_budget={self.token_budget}, max_items={self.max_items})"


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip


def parse_bytes(value: float | str, name: str) -> int:
    """A number of bytes out of a number or a text such as ``"8GB"`` or ``"512 MiB"``.

    Raises:
        ConfigError: it is neither, or not above 0; ``name`` says whose it is.
    """
    number, unit = str(value), ""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9.]+)\s*([a-zA-Z]*)\s*", value)):
        number, unit = match[1], match[2].lower()
    try:
        found = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        found = 0
    if found < 1:
        raise ConfigError(f"{name} must be a number of bytes or a text like '8GB', not {value!r}")
    return found
