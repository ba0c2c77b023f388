"""How fast an endpoint may be asked: requests and tokens per minute, and the waits it asks for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class Pace:
    """Lets requests through one after another, no faster than agreed.

    Each request moves the earliest time of the next one by its share of a minute, so that nothing comes in bursts.
    Tokens are charged by an estimate, which is put right when the answer tells what was used.

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: of prompt and answer together; None for no limit.
    """

    def __init__(
        self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        self._seconds_per_request = 60 / requests_per_minute if requests_per_minute else 0.0
        self._seconds_per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = self._next_tokens = self._open = 0.0

    async def turn(self, tokens: float) -> None:
        """Wait until a request of about so many tokens may be sent."""
        while True:
            now = time.monotonic()
            wait = max(self._next_request, self._next_tokens, self._open) - now
            if wait <= 0:
                break
            await asyncio.sleep(wait)
        self._next_request = now + self._seconds_per_request
        self._next_tokens = max(self._next_tokens, now) + tokens * self._seconds_per_token

    def used(self, estimated: float, actual: float) -> None:
        """Put an estimate right."""
        self._next_tokens += (actual - estimated) * self._seconds_per_token

    def hold(self, seconds: float) -> None:
        """Let nothing through for a while: the endpoint asked for it."""
        self._open = max(self._open, time.monotonic() + seconds)


def backoff(attempt: int, base: float, longest: float = 60.0) -> float:
    """Seconds before the next try: doubled each time, and drawn between half and the whole, so that many
    requests that failed together do not come back together.

    Args:
        attempt: failed tries so far, from 1.
        base: seconds after the first.
        longest: never more.
    """
    return random.uniform(0.5, 1.0) * min(longest, base * 2 ** (attempt - 1))


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of a Retry-After header (a number, or a date: RFC 9110, 10.2.3); None without a usable one."""
    if (exact := headers.get("retry-after-ms")) is not None:
        try:
            return max(0.0, float(exact) / 1000)
        except ValueError:
            pass
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
