"""Whether a model takes items: each medium is prepared once, and of the items that are only text one of each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sightline.types import Features, Item

# What decides whether a model takes a text: chat messages or not, and whose turn follows whose in them.
TextKind = tuple[bool, tuple[str | None, ...]]


@dataclass
class ItemCheck:
    """Asks a model's preprocessor about items. Remembers, per process, which it has taken.

    Attributes:
        preprocess: ``preprocess(item, role=, prompt=) -> Features``, the model's.
        taken: those it takes, each with role and prompt.
    """

    preprocess: Callable[..., Features]
    taken: set[tuple[str | TextKind, str | None, str | None]] = field(default_factory=set)

    def __call__(self, item: Item, *, role: str | None, prompt: str | None) -> Features | None:
        """Features of an item, or None where it is like one that the model takes.

        Texts cannot be broken as media can, so that one of a kind stands for all.

        Raises:
            SightlineError: the model does not take the item, or a medium cannot be opened; names its source.
        """
        known = (text_kind(item) if item.modalities == {"text"} else item.key, role, prompt)
        if known in self.taken:
            return None
        features = self.preprocess(item, role=role, prompt=prompt)
        self.taken.add(known)
        return features


def text_kind(item: Item) -> TextKind:
    """What is the same for texts that a model takes or refuses alike; a pair's sides are turns, too."""
    turns: list[str | None] = []
    for part in item.parts:
        if not turns or turns[-1] != part.role:
            turns.append(part.role)
    return item.is_message, tuple(turns)
