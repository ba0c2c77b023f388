"""One request of the engine and the pieces of work it consists of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.types import Item

if TYPE_CHECKING:
    from sightline.serving.lanes import Lane
    from sightline.types import Features

# What a text costs before it is tokenized: English has about four characters to a token, and each text a few marks.
CHARACTERS_PER_TOKEN = 4
MARKS = 3
# What an image, a sound or a film costs before it is opened, in tokens.
MEDIUM_TOKENS = 1_024
# What any other use of the model counts as, in tokens: about as much as a search.
CALL_TOKENS = 64
# Bytes an open PIL image or an array counts as; requests bring bytes, whose length is known.
OPEN_MEDIUM_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Answer:
    """What the model gave for one request.

    Attributes:
        rows: per item in order a vector (D,), the token vectors (T, D), or scores (L,); float32.
        tokens: positions the model read for all of them, prompts and marks included; patches where there are no tokens.
    """

    rows: tuple[np.ndarray, ...]
    tokens: int


@dataclass(eq=False)
class Ticket:
    """One request: where its answer goes, and what of it still waits.

    Attributes:
        future: gets the answer, or the reason why there is none; cancelled when nobody waits any more.
        dim: vectors are cut to this many components; None for all.
        waiting, waiting_bytes, waiting_tokens: entries not yet taken by the model, and their sizes.
    """

    future: Future[Any]
    dim: int | None = None
    arrived: float = field(default_factory=time.monotonic)
    waiting: int = 0
    waiting_bytes: int = 0
    waiting_tokens: int = 0
    tokens: int = 0
    missing: int = 0
    rows: list[np.ndarray | None] = field(default_factory=list)

    @property
    def dead(self) -> bool:
        """Whether it is answered, refused, cancelled or out of time, so that no more is to be done for it."""
        return self.future.done()

    def fail(self, error: Exception) -> None:
        """Tells the caller why there is no answer."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return  # it does not wait any more

    def finish(self, result: Any) -> None:
        """Hands the caller its answer."""
        try:
            self.future.set_result(result)
        except InvalidStateError:
            return


@dataclass(eq=False)
class Entry:
    """One item of a request, on its way to the model.

    Attributes:
        tag: its place in the order of service (see `Backlog`); ``number`` decides between equal tags.
        estimate: tokens it was thought to cost when it came.
        features: once prepared.
    """

    ticket: Ticket
    place: int
    lane: Lane
    item: Item
    role: str | None
    prompt: str | None
    size: int
    estimate: int
    tag: int = 0
    number: int = 0
    features: Features | None = None

    @property
    def identity(self) -> tuple[str, str | None, str | None]:
        """Equal for entries that get the same vector."""
        return self.item.key, self.role, self.prompt

    @property
    def cost(self) -> int:
        """Positions in a forward pass, once prepared."""
        assert self.features is not None
        return max(1, self.features.cost.total)

    def deliver(self, row: np.ndarray) -> bool:
        """Puts the model's row into the request's answer; whether the answer is whole with it."""
        assert self.features is not None
        ticket = self.ticket
        if ticket.dead:
            return False
        cost = self.features.cost
        ticket.rows[self.place] = row if ticket.dim is None else row[..., : ticket.dim]
        ticket.tokens += cost.tokens or cost.patches
        ticket.missing -= 1
        if ticket.missing:
            return False
        ticket.finish(Answer(tuple(one for one in ticket.rows if one is not None), ticket.tokens))
        return True


@dataclass(eq=False)
class Call:
    """Anything else that uses the model, run on its thread in turn."""

    ticket: Ticket
    function: Callable[[], Any]
    size: int = 0
    estimate: int = CALL_TOKENS
    tag: int = 0
    number: int = 0

    def run(self) -> bool:
        """Runs the function and hands over what it returns or raises; whether it returned."""
        try:
            result = self.function()
        except Exception as error:
            self.ticket.fail(error)
            return False
        self.ticket.finish(result)
        return True


def entries_of(
    ticket: Ticket, lane: Lane, items: Sequence[Item], role: str | None, prompt: str | None
) -> list[Entry]:
    """The entries of a request, with their estimated sizes and costs."""
    ticket.rows = [None] * len(items)
    ticket.missing = len(items)
    return [
        Entry(ticket, place, lane, item, role, prompt, *estimated(item, prompt, lane.max_tokens))
        for place, item in enumerate(items)
    ]


def estimated(item: Item, prompt: str | None, max_tokens: int | None) -> tuple[int, int]:
    """Bytes an item holds, and about how many tokens it will cost."""
    size = media = 0
    characters = len(prompt or "")
    for part in item.parts:
        if part.modality == "text":
            characters += len(part.value)
            size += len(part.value)
        else:
            media += 1
            size += len(part.value) if isinstance(part.value, (bytes, str)) else OPEN_MEDIUM_BYTES
    tokens = MARKS + characters // CHARACTERS_PER_TOKEN + media * MEDIUM_TOKENS
    return size, tokens if max_tokens is None else min(tokens, max(1, max_tokens))
