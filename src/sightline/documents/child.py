"""A process of our own that opens files for us, on both sides of its pipes.

Decoders crash, hang and eat memory on hostile files, so they run in plain child processes (not multiprocessing ones:
nobody's ``__main__`` is imported again) that talk in JSON lines, one object each. A child leads a process group, and
whoever ends it ends what it has started, too. `Child` is the side of the process that gives the work; `serve` is the
side that does it.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

# A child that has not said that it is ready by then does not start.
START_SECONDS = 120.0

Answer = dict[str, Any]
Send = Callable[[Answer], None]
# Answers a task; what it gives is sent one by one, and it may send in between.
Handle = Callable[[Answer, Send], Iterator[Answer]]


class Child:
    """A child process.

    Args:
        module: run as ``python -m``; calls `serve`.
        setup: the first thing it is told.
        hear: called with each of its answers, the first of kind ``ready``, and with None at its end; from a thread
            of its own.
    """

    def __init__(self, module: str, setup: Mapping[str, Any], hear: Callable[[Answer | None], None]) -> None:
        # Its standard error; read only when it does not start. Closed by whoever ends the child.
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=_environment(),
            process_group=0,
        )
        self.send(setup)
        threading.Thread(target=self._listen, args=(hear,), daemon=True).start()

    def _listen(self, hear: Callable[[Answer | None], None]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    hear(json.loads(line))
        hear(None)

    def send(self, message: Mapping[str, Any]) -> None:
        """Gives it work; that it has died is seen by its last answer."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return  # it died; its end of the other pipe says so

    def kill(self) -> int:
        """End the process and those it has started; its exit status, negative for a signal."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        status = self.process.wait()
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            self.process.stdin = None  # what was left in the buffer has no reader any more
        return status

    def last_words(self) -> str:
        """What it wrote to its standard error."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace").strip()[-2000:]


def exit_name(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"


def _environment() -> dict[str, str]:
    # Threads and arenas reserve address space, which is what the memory limit counts.
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (source, os.environ.get("PYTHONPATH", "")) if part)
    limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return {**os.environ, **limits, "PYTHONPATH": path}


# In the child


def serve(begin: Callable[[Answer], tuple[int, Handle]]) -> None:
    """Answers tasks until the parent closes the pipe or is killed.

    Args:
        begin: takes the setup; gives the memory limit in bytes and what handles a task.
    """
    # The parent ends us; Ctrl-C in the terminal reaches the whole group and must not.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries that write to standard output must not break the protocol
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_tasks, args=(tasks,), daemon=True).start()

    def send(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    limit, handle = begin(json.loads(tasks.get()))
    _limit_memory(limit)
    send({"kind": "ready"})
    while True:
        for answer in handle(json.loads(tasks.get()), send):
            send(answer)


def _read_tasks(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    # The parent closed the pipe or was killed: stop at once, in the middle of a page if need be.
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(0)


def _limit_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if sys.platform != "darwin":  # macOS counts its shared cache of hundreds of GiB
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
