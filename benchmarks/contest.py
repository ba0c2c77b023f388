"""Side by side: every contestant in a process of its own, taking turns, on the same machine in the same run.

A contestant is a function that sets up and returns the work; the work is called once to warm up and then once
per round, all contestants taking turns in each round, so that a slow minute of the machine hits all of them.
While one works the others sleep. Times are wall-clock seconds of one call; memory is the highest resident set of
the process during one call (Linux: VmHWM, reset before the call), and its growth over the moment before.

    from contest import Contestant, contest
    contest("encode", [Contestant("ST", st_setup), Contestant("Sightline", our_setup)])
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
            (loss, number of tokens, a fingerprint of the vectors) that are kept with the figures.
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
    name: str, contestants: Sequence[Contestant], *, rounds: int = 5, warmups: int = 1
) -> list[Outcome]:
    """Runs all contestants, prints the table and writes ``benchmarks/results/<name>.json``.

    The first contestant is the peer that ratios refer to.

    Raises:
        RuntimeError: a contestant failed; with its traceback.
    """
    context = multiprocessing.get_context("spawn")
    outcomes = [Outcome(one.name) for one in contestants]
    pipes: list[Connection] = []
    processes = []
    try:
        for one in contestants:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, one), daemon=True)
            before = dict(os.environ)
            threads = {name: str(one.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
            os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"} | threads)
            os.environ.update(one.environment)
            process.start()
            os.environ.clear()
            os.environ.update(before)
            theirs.close()
            pipes.append(ours)
            processes.append(process)
            _ask(ours, "setup", one.name)
        for _ in range(warmups):
            for pipe, one in zip(pipes, contestants, strict=True):
                _ask(pipe, "run", one.name)
        for number in range(rounds):
            for pipe, outcome in zip(pipes, outcomes, strict=True):
                seconds, peak, growth, facts = _ask(pipe, "run", outcome.name)
                outcome.seconds.append(seconds)
                outcome.peak_bytes.append(peak)
                outcome.growth_bytes.append(growth)
                outcome.facts |= facts
                print(
                    f"  round {number + 1}: {outcome.name}: {seconds:.3f} s, {peak / 1e9:.2f} GB",
                    file=sys.stderr,
                )
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.kill()
    print(table(name, outcomes))
    _write(name, outcomes)
    return outcomes


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


def _ask(pipe: Connection, order: str, name: str) -> Any:
    pipe.send(order)
    try:
        ok, answer = pipe.recv()
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
                    answer = _measured(work)
                pipe.send((True, answer))
            except Exception:
                pipe.send((False, traceback.format_exc()))
    except EOFError:
        return


def _measured(work: Work) -> tuple[float, int, int, dict[str, Any]]:
    gc.collect()
    # What the last call freed goes back first, or the allocator's leftovers would count as this call's.
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    started = time.perf_counter()
    facts = work()
    seconds = time.perf_counter() - started
    peak = _status("VmHWM")
    return seconds, peak, peak - before, dict(facts or {})


def _status(name: str) -> int:
    """A memory figure of this process in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")
