"""How far encoding is: items, tokens, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sightline.models.encoding_windows import Window, size_of
from sightline.types import Cost, Item

# Items below which no bar is shown unless it is asked for.
LONG_WORK = 256
# Characters that cost about as much as an image: 500 positions.
MEDIUM = 2_000
# Characters of a token of prose, about; only for the length at which texts are cut.
CHARACTERS = 4


@dataclass(frozen=True)
class EncodingProgress:
    """What has been embedded so far.

    Attributes:
        items: inputs done.
        total_items: inputs in all; None for an iterable of unknown length.
        tokens: positions computed; four patches of an image count as one.
        total_tokens: estimate for all inputs, from those prepared so far; None where ``total_items`` is.
        seconds: since the start.
    """

    items: int
    total_items: int | None
    tokens: int
    total_tokens: int | None
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate, or None before anything is done and where the end is not known."""
        if self.total_tokens is None or not self.tokens:
            return None
        return max(0.0, (self.total_tokens - self.tokens) * self.seconds / self.tokens)


Report = Callable[[EncodingProgress], None]


class Meter:
    """Counts what is done and estimates what is to come.

    Before an item is prepared, its tokens are guessed from its characters and its media, at the rate of the
    items prepared so far; inputs not read yet count as much as those read so far on average.

    Args:
        total_items: inputs in all, or None.
        max_tokens: what texts are cut at; None without a limit.
        report: told after every forward pass.
    """

    def __init__(self, total_items: int | None, max_tokens: int | None, report: Report) -> None:
        self.total_items, self.report = total_items, report
        self._longest = None if max_tokens is None else CHARACTERS * max_tokens
        self.items = self.tokens = 0
        self._read = 0
        self._unprepared = _Size()
        self._prepared = _Size()
        self._prepared_tokens = 0
        self._started = time.perf_counter()

    def read(self, window: Window) -> None:
        """More inputs were read."""
        self._read += len(window.places)
        self.items += window.repeated
        for item in window.items:
            self._unprepared.add(self._size(item), 1)

    def prepared(self, items: Sequence[Item], costs: Sequence[Cost]) -> None:
        """The true costs of items that were read before."""
        for item in items:
            size = self._size(item)
            self._unprepared.add(size, -1)
            self._prepared.add(size, 1)
        self._prepared_tokens += sum(cost.total for cost in costs)

    def done(self, inputs: int, cost: Cost) -> None:
        """A forward pass over items that stand for ``inputs`` inputs."""
        self.items += inputs
        self.tokens += cost.total
        self.report(self.now())

    def now(self) -> EncodingProgress:
        seconds = time.perf_counter() - self._started
        return EncodingProgress(self.items, self.total_items, self.tokens, self._total(), seconds)

    def _total(self) -> int | None:
        if self.total_items is None:
            return None
        known = self._prepared_tokens + self._guess()
        if self._read >= self.total_items or not self._read:
            return round(known)
        return round(known * self.total_items / self._read)

    def _guess(self) -> float:
        """Tokens of the items that are read and not prepared."""
        left, seen = self._unprepared, self._prepared
        if not (left.characters or left.media) or not (seen.characters or seen.media):
            return 0.0
        per_unit = self._prepared_tokens / (seen.characters + MEDIUM * seen.media)
        return per_unit * (left.characters + MEDIUM * left.media)

    def _size(self, item: Item) -> tuple[int, int]:
        characters, media = size_of(item)
        return (characters if self._longest is None else min(characters, self._longest)) + 1, media


@dataclass
class _Size:
    characters: int = 0
    media: int = 0

    def add(self, size: tuple[int, int], sign: int) -> None:
        self.characters += sign * size[0]
        self.media += sign * size[1]


@contextmanager
def reporting(wanted: bool | Report | None, total_items: int | None, title: str) -> Iterator[Report]:
    """A function to call with the progress.

    Args:
        wanted: a function is called as it is; True shows a bar, False nothing; None shows a bar on a terminal
            for work of more than a moment.
        total_items: for the bar.
        title: in front of the bar.
    """
    if callable(wanted):
        yield wanted
        return
    if wanted is None:
        wanted = (total_items is None or total_items >= LONG_WORK) and sys.stderr.isatty()
    if not wanted:
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.fields[items]} inputs, {task.fields[tokens]} tokens, {task.fields[left]}"),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(title, total=None, items="0", tokens="0", left="")

        def show(now: EncodingProgress) -> None:
            items = f"{now.items:,}" if now.total_items is None else f"{now.items:,}/{now.total_items:,}"
            bar.update(
                task,
                completed=now.tokens,
                total=now.total_tokens,
                items=items,
                tokens=f"{now.tokens:,}",
                left=_left(now),
            )

        yield show


def _left(now: EncodingProgress) -> str:
    seconds = now.seconds_left
    if seconds is None:
        return f"{now.tokens_per_second:,.0f} tokens/s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left"


def _silent(now: EncodingProgress) -> None:
    """Report nothing."""
