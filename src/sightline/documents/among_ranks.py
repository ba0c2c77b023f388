"""What several ranks do together, or one process alone (``ranks`` None), which need not import torch for it.

Each of these is a collective: all ranks call it, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sightline.training.distributed import Ranks

Value = TypeVar("Value")


def is_main(ranks: Ranks | None) -> bool:
    """Whether this process writes files and talks to people. No collective."""
    return ranks is None or ranks.is_main


def exchange(ranks: Ranks | None, value: Value, what: str) -> list[Value]:
    """`Ranks.exchange`: the value of each rank, on every rank."""
    return [value] if ranks is None else ranks.exchange(value, what)


def together(ranks: Ranks | None, what: str) -> AbstractContextManager[None]:
    """`Ranks.together`: what one rank fails in, all fail in."""
    return nullcontext() if ranks is None else ranks.together(what)


def from_main(ranks: Ranks | None, make: Callable[[], Value], what: str) -> Value:
    """`Ranks.from_main`: what ``make`` returns on rank 0, where alone it is called."""
    return make() if ranks is None else ranks.from_main(make, what)
