"""Child processes of tests."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any


def heed_interrupts() -> None:
    """For ``preexec_fn``: the child can be interrupted even where the test runner cannot.

    A shell starts background jobs with SIGINT ignored, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@cache
def forks() -> Any:
    """A multiprocessing context whose processes are forks of one that has imported what runs need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.fault_runs", "support.stages"])
    # The server does not take over the search path, and what it cannot import it passes over in silence.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), before]))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return context
