"""Side by side: every contestant in a process of its own, taking turns, on the same machine in the same run.

A contestant is a function that sets up and returns the work; the work is called once to warm up and then once
per round, all contestants taking turns in each round, so that a slow minute of the machine hits all of them.
While one works the others sleep. Times are wall-clock seconds of one call; memory is the highest resident set of
the process during one call (Linux: VmHWM, reset before the call), and its growth over the moment before.

    from contest import Contestant, contest
    contest("encode", [Contestant("ST", st_setup), Contestant("Sightline", our_setup)])

`sweep` runs many settings of one side, each alone in a process that ends before the next one starts.
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Work = Callable[[], Mapping[str, Any] | None]
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Contestant:
    """One side of a comparison.

    Attributes:
        name: as it stands in the table.
        setup: importable function that loads everything and returns the work; the work may return facts
            (loss, number of tokens, a fingerprint of the vectors) that are kept with the figures. A fact that
            is a function is called when the clock has stopped.
        arguments: keyword arguments of ``setup``.
        threads: torch's and OpenMP's threads.
        environment: variables set before anything is imported.
    """

    name: str
    setup: Callable[..., Work]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 2
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a contestant did; lists have one entry per round."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    growth_bytes: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak(self) -> int:
        return max(self.peak_bytes)

    @property
    def growth(self) -> int:
        return max(self.growth_bytes)


def contest(
    name: str,
    contestants: Sequence[Contestant],
    *,
    rounds: int = 5,
    warmups: int = 1,
    follow_on: bool = False,
) -> list[Outcome]:
    """Runs all contestants, prints the table and writes ``benchmarks/results/<name>.json``.

    The first contestant is the peer that ratios refer to.

    Args:
        name: of the table and of its file.
        contestants: see `Contestant`.
        rounds: timed calls of each.
        warmups: untimed calls of each before the first round.
        follow_on: a turn is two calls, of which the second is timed, as a training's steps follow each other.
            Otherwise a call also pays for getting back from the system (and on a virtual machine from its host)
            the memory that the process gave away while the others worked. The peak is that of both calls.

    Raises:
        RuntimeError: a contestant failed; with its traceback.
    """
    outcomes = [Outcome(one.name) for one in contestants]
    with ExitStack() as stack:
        workers = [stack.enter_context(_Worker(one)) for one in contestants]
        for _ in range(warmups):
            for worker in workers:
                worker.run()
        for number in range(rounds):
            for worker, outcome in zip(workers, outcomes, strict=True):
                worker.run(outcome, follow_on=follow_on)
                print(
                    f"  round {number + 1}: {outcome.name}: {outcome.seconds[-1]:.3f} s, "
                    f"{outcome.peak_bytes[-1] / 1e9:.2f} GB",
                    file=sys.stderr,
                )
    print(table(name, outcomes))
    _write(name, outcomes)
    return outcomes


def sweep(
    name: str, contestants: Sequence[Contestant], *, rounds: int = 1, warmups: int = 0, write: bool = True
) -> list[Outcome]:
    """Runs the contestants one after the other, each alone; the first is what ratios refer to.

    For finding a setting, not for comparing two sides: they do not take turns.
    """
    outcomes = []
    for one in contestants:
        outcome = Outcome(one.name)
        with _Worker(one) as worker:
            for _ in range(warmups):
                worker.run()
            for _ in range(rounds):
                worker.run(outcome)
        print(
            f"  {one.name}: {outcome.median:.3f} s ({outcome.cpu_seconds[-1]:.3f} s of the processor), "
            f"{outcome.peak / 1e9:.2f} GB",
            file=sys.stderr,
        )
        outcomes.append(outcome)
    if write:
        print(table(name, outcomes))
        _write(name, outcomes)
    return outcomes


@dataclass(frozen=True)
class Goal:
    """A row of the issue's table: ours against a peer's setting.

    Attributes:
        ours, peer: names of contestants.
        faster: by how much, at least.
        memory: largest allowed peak as a share of the peer's, if there is a limit.
        allowed_bytes: largest allowed peak, if there is a limit.
    """

    ours: str
    peer: str
    faster: float
    memory: float | None = None
    allowed_bytes: float | None = None

    def line(self, outcomes: Sequence[Outcome]) -> str:
        """One row of a Markdown table: what was reached, and whether that is enough."""
        by_name = {one.name: one for one in outcomes}
        ours, peer = by_name[self.ours], by_name[self.peer]
        ratio, share = peer.median / ours.median, ours.peak / peer.peak
        enough = ratio >= self.faster
        wanted = f"{self.faster:.1f}x"
        if self.memory is not None:
            enough &= share <= self.memory
            wanted += f", {self.memory:.2f} of its peak"
        if self.allowed_bytes is not None:
            enough &= ours.peak <= self.allowed_bytes
            wanted += f", {self.allowed_bytes / 1e9:.0f} GB"
        return (
            f"| {self.ours} | {self.peer} | {wanted} | {ratio:.2f}x, {share:.2f} of its peak, "
            f"{ours.peak / 1e9:.2f} GB | {'yes' if enough else 'no'} |"
        )


def goals(outcomes: Sequence[Outcome], wanted: Sequence[Goal]) -> None:
    """Prints what was reached against what the issue asks for; goals without their contestants are left out."""
    names = {one.name for one in outcomes}
    print("| ours | against | asked | reached | enough |\n|---|---|---|---|---|")
    for goal in wanted:
        if {goal.ours, goal.peer} <= names:
            print(goal.line(outcomes))
    print(flush=True)


def table(name: str, outcomes: Sequence[Outcome]) -> str:
    """The figures as a Markdown table; ratios against the first row."""
    first = outcomes[0]
    lines = [
        f"### {name}",
        "",
        f"| | median s | lowest to highest | faster than {first.name} | peak GB | its growth | share of the peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        lines.append(
            f"| {one.name} | {one.median:.3f} | {min(one.seconds):.3f} to {max(one.seconds):.3f} | "
            f"{first.median / one.median:.2f}x | {one.peak / 1e9:.2f} | {one.growth / 1e9:.2f} | "
            f"{one.peak / first.peak:.2f} |"
        )
    for one in outcomes:
        if one.facts:
            facts = ", ".join(f"{key} {_short(value)}" for key, value in one.facts.items())
            lines.append(f"\n{one.name}: {facts}")
    return "\n".join(lines) + "\n"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _write(name: str, outcomes: Sequence[Outcome]) -> None:
    RESULTS.mkdir(exist_ok=True)
    import torch
    import transformers

    facts = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "outcomes": [asdict(one) | {"median": one.median} for one in outcomes],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


class _Worker:
    """A contestant in its process, set up and waiting."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant

    def __enter__(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.contestant))
        before = dict(os.environ)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.contestant.threads))
        try:
            os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | threads)
            os.environ.update(self.contestant.environment)
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()
        try:
            self._ask("setup")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()

    def run(self, outcome: Outcome | None = None, *, follow_on: bool = False) -> None:
        """One call of the work, noted in ``outcome``; with ``follow_on`` after one that is not."""
        seconds, cpu_seconds, peak, growth, facts = self._ask("run twice" if follow_on else "run")
        if outcome is not None:
            outcome.seconds.append(seconds)
            outcome.cpu_seconds.append(cpu_seconds)
            outcome.peak_bytes.append(peak)
            outcome.growth_bytes.append(growth)
            outcome.facts |= facts

    def _ask(self, order: str) -> Any:
        name = self.contestant.name
        self._pipe.send(order)
        try:
            ok, answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{name}: its process died (out of memory?)") from None
        if not ok:
            raise RuntimeError(f"{name} failed:\n{answer}")
        return answer


def _serve(pipe: Connection, contestant: Contestant) -> None:
    """The contestant's process: sets up, then works when told to."""
    import torch

    torch.set_num_threads(contestant.threads)
    work: Work | None = None
    try:
        while True:
            order = pipe.recv()
            try:
                if order == "setup":
                    work = contestant.setup(**contestant.arguments)
                    answer: Any = None
                else:
                    assert work is not None
                    answer = _measured(work, follow_on=order == "run twice")
                pipe.send((True, answer))
            except Exception:
                pipe.send((False, traceback.format_exc()))
    except EOFError:
        return


def _measured(work: Work, *, follow_on: bool) -> tuple[float, float, int, int, dict[str, Any]]:
    """Seconds, processor seconds of all threads, peak and growth in bytes, facts."""
    gc.collect()
    # What the last call freed goes back first, or the allocator's leftovers would count as this call's.
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    if follow_on:
        work()
        gc.collect()
    started, cpu_started = time.perf_counter(), time.process_time()
    facts = work()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = _status("VmHWM")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # the others work while this one sleeps
    later = {name: fact() if callable(fact) else fact for name, fact in (facts or {}).items()}
    return seconds, cpu_seconds, peak, peak - before, later


def _status(name: str) -> int:
    """A memory figure of this process in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")
