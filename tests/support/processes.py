"""Child processes of tests."""

from __future__ import annotations

import signal


def heed_interrupts() -> None:
    """For ``preexec_fn``: the child can be interrupted even where the test runner cannot.

    A shell starts background jobs with SIGINT ignored, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
