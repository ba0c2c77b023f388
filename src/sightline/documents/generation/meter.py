"""What a run of requests has used, and the line that tells it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sightline.documents.generation.chat import Answer

logger = logging.getLogger("sightline")
_SECONDS_PER_LINE = 30.0


@dataclass
class Meter:
    """Counts requests, tokens and money.

    Attributes:
        price_in, price_out: of a million tokens of prompt and of answer, in any currency; None where not given.
        requests: answered by the endpoint in this run.
        reused: answered by the answer book.
        tokens_in, tokens_out: of this run's requests.
    """

    price_in: float | None = None
    price_out: float | None = None
    requests: int = 0
    reused: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def count(self, answer: Answer, *, reused: bool) -> None:
        """Add an answer."""
        if reused:
            self.reused += 1
        else:
            self.requests += 1
            self.tokens_in += answer.tokens_in
            self.tokens_out += answer.tokens_out
        for listener in self.listeners:
            listener()

    @property
    def cost(self) -> float | None:
        """Of this run; None without prices."""
        if self.price_in is None and self.price_out is None:
            return None
        return (self.tokens_in * (self.price_in or 0) + self.tokens_out * (self.price_out or 0)) / 1e6

    def line(self) -> str:
        """Requests, tokens and cost in a few words."""
        parts = [f"{self.requests:,} requests"]
        if self.reused:
            parts.append(f"{self.reused:,} answered earlier")
        parts.append(f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out")
        if self.cost is not None:
            parts.append(f"cost {self.cost:.4f}")
        return ", ".join(parts)

    def facts(self) -> dict[str, float]:
        """For `QuestionsReport`."""
        values: dict[str, float] = {
            "requests": self.requests,
            "reused": self.reused,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }
        return values if self.cost is None else {**values, "cost": self.cost}


@contextmanager
def shown(meter: Meter, what: str, total: int, progress: bool | None) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, or a line in the log now and then, with what the meter counts; call what it gives
    after each finished unit.

    Args:
        meter: told of every answer.
        what: is being done.
        total: units.
        progress: False shows nothing; None a bar only where standard error is a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = 0
    if progress is False:
        yield lambda: None
        return
    console = Console(stderr=True)
    if not (console.is_terminal or progress):
        told = time.monotonic()

        def advance_quietly() -> None:
            nonlocal done, told
            done += 1
            if time.monotonic() - told >= _SECONDS_PER_LINE:
                told = time.monotonic()
                logger.info(f"{what}: {done:,} of {total:,}; {meter.line()}")

        yield advance_quietly
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[used]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, used=meter.line())

        def listener() -> None:
            bar.update(task, used=meter.line())

        meter.listeners.append(listener)
        try:
            yield lambda: bar.update(task, advance=1)
        finally:
            meter.listeners.remove(listener)
