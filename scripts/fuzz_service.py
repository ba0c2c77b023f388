"""Throws thousands of requests made from the OpenAPI document at a service over an index, valid and invalid ones.

    python scripts/fuzz_service.py INDEX --requests 10000

Each answer must follow the document, errors must have the one shape, none may be a 500 or name a place of this
machine; and while it runs, the process may open no file outside the index and its page images, and no connection.
The test suite runs the same with few requests.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SHAPE = {"message", "type", "code", "param", "request_id"}
_MAX_PROBLEMS = 20


@dataclass
class Tally:
    """What came of it: answers by route and status, and what was wrong with them."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return sum(self.answers.values())


class Watch:
    """Notes which files outside known places are opened, and what is connected to beside ``port``, while it is on."""

    def __init__(self, allowed: Sequence[Path]) -> None:
        self.on = False
        self.port = 0
        self.seen: set[str] = set()
        places = [*allowed, Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]]
        self._allowed = tuple(str(place.resolve()) for place in places)
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"):
            target = arguments[1] if event == "socket.connect" else arguments[0]
            own = isinstance(target, tuple) and target[0] == "127.0.0.1" and target[1] == self.port
            if not (own or (event == "socket.getaddrinfo" and target == "127.0.0.1")):
                self.seen.add(f"{event} {target!r}")
        elif event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith((*self._allowed, "/proc/", "/dev/null", "/dev/urandom")):
                self.seen.add(f"open {path}")


def fuzz(
    url: str, requests_wanted: int, *, seed: int, secrets: Sequence[str], key: str | None = None
) -> Tally:
    """Send about so many requests to the service at ``url``.

    Args:
        url: address of the service.
        requests_wanted: at least; operations without parameters are asked but a few times each.
        seed: of what is sent.
        secrets: text that no answer may hold, unless it was in the request.
        key: an API key.
    """
    import hypothesis
    import requests
    import schemathesis
    from schemathesis.specs.openapi import checks

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    tally, session = Tally(), requests.Session()
    conformance = [
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]

    def one(case: Any) -> None:
        answer = case.call(base_url=url, session=session, headers=headers)
        label = case.operation.label
        tally.answers[label, answer.status_code] += 1
        for problem in _problems(answer, secrets):
            _note(tally, f"{label} {answer.status_code}: {problem}: {answer.text[:300]!r}")
        try:
            case.validate_response(answer, checks=conformance)
        except Exception as error:  # schemathesis raises groups of its failures
            _note(tally, f"{label} {answer.status_code}: {_told(error)}")

    rounds = 0
    share = max(1, requests_wanted // (2 * len(operations)))
    while tally.requests < requests_wanted and rounds < 20:
        for number, operation in enumerate(operations):
            for mode in schemathesis.GenerationMode:
                run = hypothesis.given(operation.as_strategy(mode))(one)
                run = hypothesis.settings(
                    max_examples=share,
                    deadline=None,
                    database=None,
                    phases=[hypothesis.Phase.generate],
                    suppress_health_check=list(hypothesis.HealthCheck),
                )(run)
                # An operation without parameters cannot be asked wrongly.
                with contextlib.suppress(hypothesis.errors.Unsatisfiable):
                    hypothesis.seed(seed + 1000 * rounds + number)(run)()
        rounds += 1
    return tally


def _problems(answer: Any, secrets: Sequence[str]) -> Iterator[str]:
    if answer.status_code == 500:
        yield "an error of the service"
    sent = f"{answer.request.url} {answer.request.body!r}"
    for secret in secrets:
        if secret in answer.text and secret not in sent:
            yield f"names {secret}"
    if answer.status_code >= 400:
        try:
            shape = set(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            shape = set()
        if shape != _SHAPE:
            yield "an error of another shape"
    if "x-request-id" not in answer.headers:
        yield "no request id"


def _told(error: BaseException) -> str:
    inner = getattr(error, "exceptions", None)
    return "; ".join(map(_told, inner)) if inner else f"{type(error).__name__} {error}"[:400]


def _note(tally: Tally, problem: str) -> None:
    if len(tally.problems) < _MAX_PROBLEMS:
        tally.problems.append(problem)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    from sightline.feedback.store import FeedbackStore
    from sightline.serving.loading import IndexSource
    from sightline.serving.server import running
    from sightline.serving.service import Service
    from sightline.serving.settings import Settings

    with tempfile.TemporaryDirectory() as place:
        settings = Settings(runs=Path(place), watch_s=0)
        source = IndexSource(given.index, settings)
        served = source.load(None, None)
        watch = Watch([given.index, served.index.media_root, Path(place)])
        service = Service(
            settings, served, source=source, feedback=FeedbackStore(Path(place) / "feedback.sqlite")
        )
        secrets = [
            str(given.index.resolve()),
            str(Path.home()) + "/",
            sys.prefix,
            "site-packages",
            "Traceback",
        ]
        with running(service) as url:
            watch.port = int(url.rpartition(":")[2])
            started, watch.on = time.perf_counter(), True
            tally = fuzz(url, given.requests, seed=given.seed, secrets=secrets)
            watch.on = False
    for (route, status), count in sorted(tally.answers.items()):
        sys.stdout.write(f"{route:32} {status}  {count:6,}\n")
    seconds = time.perf_counter() - started
    sys.stdout.write(f"{tally.requests:,} requests in {seconds:,.0f} s, {len(tally.problems)} problems\n")
    for problem in [*tally.problems, *(f"outside: {seen}" for seen in sorted(watch.seen))]:
        sys.stdout.write(f"  {problem}\n")
    sys.exit(1 if tally.problems or watch.seen else 0)


if __name__ == "__main__":
    main()
