"""Why the service does not answer now; each is told to the client with a status of its own."""

from __future__ import annotations

from sightline.errors import SightlineError


class Busy(SightlineError):  # noqa: N818 (a state of the service, not a mistake)
    """More is waiting than the queue may hold (429).

    Args:
        message: what is full.
        retry_after_s: seconds after which there should be room, from the measured throughput.
    """

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"{message}; try again in {retry_after_s} s")


class TimedOut(SightlineError):  # noqa: N818 (a state of the service, not a mistake)
    """A request was not answered in its time and has been dropped (503)."""


class Draining(SightlineError):  # noqa: N818 (a state of the service, not a mistake)
    """The service is being stopped: it finishes what it accepted and takes nothing new (503)."""
