"""The service under load: many clients at once, with dynamic batching and with one item per pass.

    python benchmarks/serve_load.py INDEX --questions DATASET [--model MODEL] [--clients 64] [--seconds 60] [--rounds 3]

The service is `sightline serve` in a process of its own, asked over loopback by ``--clients`` clients of httpx in this
one, each of which sends the next request when it has its answer. Queries are the dataset's questions, each with a
number behind it, so that none equals another and nothing is answered out of a memory.

load: one long run per path: throughput, latency, failures, resident memory in the first and the last quarter.
bound: the queue holds a quarter of the clients; what it refuses must be 429 with Retry-After, and nothing else may
fail.
gain: short runs with batching (the default token budget) and without (a budget of one token: an item per pass), by
turns; the ratio of the median throughputs, and the service's processor time per request, which depends less on what
else the machine does.
bulk: the clients beside one that embeds 500 texts per request, over and over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np

RESULTS = Path(__file__).parent / "results" / "serve_load.json"
BULK_TEXTS = 500
START_SECONDS = 180


@dataclass
class Tally:
    """What the clients of one run saw."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    unexplained: int = 0  # 429 without Retry-After
    bulk: int = 0

    @property
    def answered(self) -> int:
        return len(self.latencies)

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    def facts(self) -> dict[str, Any]:
        """The run as it goes into the results."""
        p50, p95, p99 = (
            np.percentile(self.latencies, (50, 95, 99)) * 1_000 if self.latencies else (float("nan"),) * 3
        )
        return {
            "seconds": round(self.seconds, 1),
            "answered": self.answered,
            "per_second": round(self.per_second, 1),
            "p50_ms": round(float(p50), 1),
            "p95_ms": round(float(p95), 1),
            "p99_ms": round(float(p99), 1),
            "other": dict(self.statuses),
            "refused_without_retry_after": self.unexplained,
            "bulk_texts": self.bulk,
        }


class Watch:
    """The resident set of a process, once a second, and the processor time it and the clients take."""

    def __init__(self, process: int) -> None:
        self._stat, self._status = (Path(f"/proc/{process}/{name}") for name in ("stat", "status"))
        self._began = self._processor_seconds(), time.process_time()
        self._ending = threading.Event()
        self.samples: list[float] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _processor_seconds(self) -> float:
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        while not self._ending.wait(1.0):
            with suppress(OSError):
                lines = self._status.read_text().splitlines()
                kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
                self.samples.append(kilobytes / 1024)

    def facts(self, requests: int) -> dict[str, float]:
        """MiB in the first and the last quarter of the time, medians; milliseconds of processor time per request.

        The warm-up's requests are not among ``requests``, but in the time: it is an upper bound.
        """
        self._ending.set()
        self._thread.join()
        service, clients = self._processor_seconds() - self._began[0], time.process_time() - self._began[1]
        quarter = max(1, len(self.samples) // 4)
        first, last = self.samples[:quarter], self.samples[-quarter:]
        return {
            "rss_first_mib": round(statistics.median(first), 1),
            "rss_last_mib": round(statistics.median(last), 1),
            "rss_most_mib": round(max(self.samples), 1),
            "service_cpu_ms": round(1_000 * service / max(1, requests), 2),
            "client_cpu_ms": round(1_000 * clients / max(1, requests), 2),
        }


@contextmanager
def service(index: Path, model: str | None, **settings: object) -> Iterator[tuple[str, int]]:
    """`sightline serve` on a free port; its address and process."""
    command = [
        sys.executable,
        "-m",
        "sightline.cli.main",
        "serve",
        str(index),
        "--port",
        "0",
        "--log",
        "json",
    ]
    command += [] if model is None else ["--model", model]
    environment = os.environ | {f"SIGHTLINE_SERVE_{name.upper()}": str(one) for name, one in settings.items()}
    # The long run would fill a log; what goes wrong is counted by the clients.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = _address(process, log)
            yield url, process.pid
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[bytes], log: Any) -> str:
    """The address the service prints when it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        log.seek(0)
        text = log.read()
        if process.poll() is not None:
            raise SystemExit(f"the service ended:\n{text}")
        for word in text.replace('"', " ").split():
            if word.startswith("http://"):
                url = word.rstrip("/.,")
                with suppress(httpx.HTTPError):
                    if httpx.get(f"{url}/readyz").status_code == 200:
                        return url
        time.sleep(0.2)
    raise SystemExit(f"the service was not ready in {START_SECONDS} s:\n{text}")


def body(path: str, text: str) -> dict[str, object]:
    """A request for one query."""
    if path == "search":
        return {"query": text, "top_k": 10}
    return {"input": text, "input_type": "query", "encoding_format": "base64"}


async def _client(
    http: httpx.AsyncClient,
    path: str,
    questions: Sequence[str],
    numbers: count[int],
    until: float,
    tally: Tally,
) -> None:
    while time.perf_counter() < until:
        number = next(numbers)
        request = body(path, f"{questions[number % len(questions)]} {number}")
        started = time.perf_counter()
        try:
            answer = await http.post(f"/v1/{path}", json=request)
        except httpx.HTTPError as error:
            tally.statuses[type(error).__name__] += 1
            continue
        if answer.status_code == 200:
            tally.latencies.append(time.perf_counter() - started)
            continue
        tally.statuses[str(answer.status_code)] += 1
        if answer.status_code == 429:
            tally.unexplained += "retry-after" not in answer.headers
            await asyncio.sleep(0.05)  # less than was asked for, so that the bound stays under load


async def _bulk(http: httpx.AsyncClient, questions: Sequence[str], until: float, tally: Tally) -> None:
    numbers = count()
    while time.perf_counter() < until:
        texts = [f"{questions[next(numbers) % len(questions)]} {one}" for one in range(BULK_TEXTS)]
        answer = await http.post("/v1/embeddings", json={"input": texts, "encoding_format": "base64"})
        tally.statuses[f"bulk {answer.status_code}"] += answer.status_code != 200
        tally.bulk += BULK_TEXTS if answer.status_code == 200 else 0


async def _load(
    url: str, path: str, questions: Sequence[str], clients: int, seconds: float, *, bulk: bool
) -> Tally:
    tally, numbers = Tally(), count()
    limits = httpx.Limits(max_connections=clients + 1, max_keepalive_connections=clients + 1)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120) as http:
        warm = Tally()
        until = time.perf_counter() + min(3.0, seconds / 5)
        await asyncio.gather(*(_client(http, path, questions, numbers, until, warm) for _ in range(clients)))
        started = time.perf_counter()
        until = started + seconds
        work = [_client(http, path, questions, numbers, until, tally) for _ in range(clients)]
        await asyncio.gather(*work, *([_bulk(http, questions, until, tally)] if bulk else []))
        tally.seconds = time.perf_counter() - started
    tally.statuses = +tally.statuses
    return tally


def load(
    url: str, path: str, questions: Sequence[str], clients: int, seconds: float, *, bulk: bool = False
) -> Tally:
    """One run."""
    return asyncio.run(_load(url, path, questions, clients, seconds, bulk=bulk))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("--questions", type=Path, required=True, help="a dataset folder")
    parser.add_argument("--model", help="the index's model, if moved")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the long runs")
    parser.add_argument("--short", type=float, default=15.0, help="seconds of the runs by turns")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("load", "bound", "gain", "bulk"))
    parser.add_argument("--token-budget", type=int, help="in place of the service's own")
    arguments = parser.parse_args()

    from sightline.documents.dataset import Dataset

    questions = [one.query for one in Dataset.load(arguments.questions).all_questions]
    budget = {} if arguments.token_budget is None else {"token_budget": arguments.token_budget}
    found: dict[str, Any] = {"clients": arguments.clients, "load_before": os.getloadavg()}

    def run(url: str, path: str, seconds: float, *, bulk: bool = False) -> Tally:
        return load(url, path, questions, arguments.clients, seconds, bulk=bulk)

    def wanted(name: str) -> bool:
        return arguments.only in (None, name)

    if wanted("load"):
        with service(arguments.index, arguments.model, **budget) as (url, process):
            for path in ("search", "embeddings"):
                watch = Watch(process)
                tally = run(url, path, arguments.seconds)
                found[f"load {path}"] = tally.facts() | watch.facts(tally.answered)
                print(path, json.dumps(found[f"load {path}"]), flush=True)
            found["metrics"] = _engine_metrics(url)
    if wanted("bound"):
        bound = max(1, arguments.clients // 4)
        with service(arguments.index, arguments.model, max_queue=bound, **budget) as (url, _):
            found["bound"] = {"queue": bound} | run(url, "embeddings", arguments.short).facts()
            print("bound", json.dumps(found["bound"]), flush=True)
    if wanted("gain"):
        rates: dict[str, list[float]] = {}
        costs: dict[str, list[float]] = {}
        with (
            service(arguments.index, arguments.model, **budget) as (together, first),
            service(arguments.index, arguments.model, token_budget=1) as (alone, second),
        ):
            for _ in range(arguments.rounds):
                for path in ("embeddings", "search"):
                    for name, url, process in (("batched", together, first), ("one by one", alone, second)):
                        watch = Watch(process)
                        tally = run(url, path, arguments.short)
                        facts = tally.facts() | watch.facts(tally.answered)
                        rates.setdefault(f"{path}, {name}", []).append(tally.per_second)
                        costs.setdefault(f"{path}, {name}", []).append(facts["service_cpu_ms"])
                        print(path, name, json.dumps(facts), flush=True)
        found["gain"] = {
            path: statistics.median(rates[f"{path}, batched"])
            / statistics.median(rates[f"{path}, one by one"])
            for path in ("embeddings", "search")
        } | {"rates": rates, "service_cpu_ms": costs}
        print("gain", json.dumps(found["gain"]), flush=True)
    if wanted("bulk"):
        with service(arguments.index, arguments.model, **budget) as (url, _):
            found["bulk"] = run(url, "search", arguments.short, bulk=True).facts()
            print("bulk", json.dumps(found["bulk"]), flush=True)
    found["load_after"] = os.getloadavg()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def _engine_metrics(url: str) -> list[str]:
    """What the service says of its model's passes."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return [line for line in lines if line.startswith("sightline_engine")]


if __name__ == "__main__":
    main()
