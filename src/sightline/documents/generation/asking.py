"""Many requests to one endpoint: side by side, each kept when answered, none asked twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sightline.documents.generation.chat import Answer, AnswerBook, Chat
from sightline.documents.generation.endpoint import Endpoint, GivenUpError
from sightline.documents.generation.meter import Meter
from sightline.documents.generation.prompts import MalformedError, complaint
from sightline.errors import SightlineError

T = TypeVar("T")
U = TypeVar("U")


class NoUseError(SightlineError):
    """The model's last word on a request is nothing to work with; ``reason`` is one word for it."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class Asker:
    """Answers from the book, or from the endpoint and then into the book."""

    def __init__(self, endpoint: Endpoint, book: AnswerBook, meter: Meter) -> None:
        self._endpoint = endpoint
        self._book = book
        self._meter = meter

    async def answer(self, chat: Chat) -> Answer:
        """The answer to one request.

        Raises:
            EndpointError: see `Endpoint.ask`.
        """
        fingerprint = chat.fingerprint(self._endpoint.settings.model)
        known = self._book.get(fingerprint)
        if known is None:
            known = await self._endpoint.ask(chat)
            self._book.add(fingerprint, known)
            self._meter.count(known, reused=False)
        else:
            self._meter.count(known, reused=True)
        return known

    async def read(self, chat: Chat, parse: Callable[[str], T]) -> T:
        """The answer to one request, parsed; what cannot be used is asked for once more.

        Raises:
            NoUseError: refused, or no use the second time either.
            EndpointError: see `Endpoint.ask`.
        """
        answer = await self.answer(chat)
        problem: MalformedError | None = None
        for last in (False, True):
            if answer.finish in ("refusal", "rejected"):
                raise NoUseError("refused", answer.text)
            try:
                return parse(answer.text)
            except MalformedError as error:
                problem = error
            if not last:
                cut = answer.finish == "length"
                answer = await self.answer(
                    chat.longer() if cut else chat.again(answer.text, complaint(problem))
                )
        cut = answer.finish == "length"
        raise NoUseError("cut off" if cut else "malformed", str(problem))


async def each(
    units: Sequence[T],
    work: Callable[[T], Awaitable[U]],
    *,
    concurrency: int,
    finished: Callable[[], None],
) -> tuple[list[U | None], list[GivenUpError]]:
    """Do the work of every unit, several at once; but alone until one is answered, so that what is wrong with the
    endpoint costs one request.

    Args:
        units: in any number; only ``concurrency`` of them are under way.
        work: what to do with one.
        concurrency: at least 1.
        finished: called after each.

    Returns:
        what the work gave, in the order of the units, None where it was given up; and why.
    """
    results: list[U | None] = [None] * len(units)
    given_up: list[GivenUpError] = []
    waiting = iter(range(len(units)))

    async def do(position: int) -> bool:
        try:
            results[position] = await work(units[position])
        except GivenUpError as error:
            given_up.append(error)
        finished()
        return results[position] is not None

    async def worker() -> None:
        for position in waiting:
            await do(position)

    for position in waiting:
        if await do(position):
            break
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(units))):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise _first(errors) from None  # the others are its companions, cancelled or failed alike
    return results, given_up


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where an event loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]
