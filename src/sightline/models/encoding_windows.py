"""Cutting a stream of items into windows that are embedded together, and windows into slices prepared together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from sightline.types import Item

# A window ends at the first of these: enough to put texts of like length together, little enough to hold.
TEXT_WINDOW = 8_192
MEDIA_WINDOW = 64
WINDOW_CHARACTERS = 64_000_000
# Items whose rows are remembered, so that an item that comes again in a later window is not embedded again.
REMEMBERED = 65_536


@dataclass
class Window:
    """Consecutive inputs.

    Attributes:
        items: what is to be embedded for them, each content once.
        places: per input the number of its item, or ``-1 - row`` where its vector is that of an input ``row``
            of an earlier window.
        copies: per item, how many inputs it stands for.
    """

    items: list[Item] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)

    @property
    def repeated(self) -> int:
        """Inputs whose vector is there already."""
        return len(self.places) - sum(self.copies)


@dataclass(frozen=True)
class Slice:
    """Items of a window that are prepared together; ``numbers`` are their numbers in it."""

    window: Window
    numbers: list[int]
    last: bool


def windows(stream: Iterator[Item]) -> Iterator[Window]:
    """Windows of consecutive inputs, each read when it is asked for."""
    rows: dict[str, int] = {}
    start = 0
    while True:
        window = Window()
        numbers: dict[str, int] = {}
        media = characters = 0
        for item in stream:
            number = numbers.get(item.key)
            if number is not None:
                window.places.append(number)
                window.copies[number] += 1
            elif item.key in rows:
                window.places.append(-1 - rows[item.key])
            else:
                numbers[item.key] = len(window.items)
                rows[item.key] = start + len(window.places)
                if len(rows) > REMEMBERED:
                    del rows[next(iter(rows))]
                window.places.append(len(window.items))
                window.items.append(item)
                window.copies.append(1)
                size = size_of(item)
                characters += size[0]
                media += size[1]
            full = len(window.places) >= TEXT_WINDOW or characters >= WINDOW_CHARACTERS
            if full or media >= MEDIA_WINDOW:
                break
        if not window.places:
            return
        start += len(window.places)
        yield window


def slices(window: Window, *, texts: int, media: int) -> list[Slice]:
    """Items of like length together, media first, the longest first: so memory peaks at once.

    Args:
        window: of at least one input.
        texts: items per slice.
        media: items per slice of items with media.
    """
    sizes = [size_of(item) for item in window.items]
    order = sorted(range(len(sizes)), key=lambda number: (-sizes[number][1], -sizes[number][0]))
    with_media = sum(size[1] > 0 for size in sizes)
    bounds = [*range(0, with_media, media), *range(with_media, len(order), texts), len(order)]
    cut = [order[start:stop] for start, stop in pairwise(bounds)]
    # A window of nothing but repeated inputs has one empty slice, so that its rows are written.
    return [Slice(window, numbers, number == len(cut) - 1) for number, numbers in enumerate(cut)] or [
        Slice(window, [], True)
    ]


def size_of(item: Item) -> tuple[int, int]:
    """Characters and media of an item."""
    characters = sum(len(part.value) for part in item.parts if part.modality == "text")
    return characters, sum(part.modality != "text" for part in item.parts)
