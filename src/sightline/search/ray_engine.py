"""Embedding on a Ray cluster: batches go to workers that have loaded the model, vectors come back in order.

The process that builds the index stays the only one that writes it. What a lost worker had in hand is done again by
the one that Ray starts in its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError, SearchIndexError, SightlineError
from sightline.models.fingerprint import fingerprint
from sightline.search.embedding import vectors_of

if TYPE_CHECKING:
    import numpy as np

    from sightline.models.encoder import Encoder

# Batches that a worker has in hand: one is embedded while the next is on its way.
IN_HAND = 2
# A worker that dies over and over is not an accident: out of memory, say.
RESTARTS, RETRIES = 8, 3


class Worker:
    """One process of the cluster, with a model of its own."""

    def __init__(self, model: str, device: str | None, options: Mapping[str, Any]) -> None:
        from sightline.models.encoder import Encoder

        self._encoder = Encoder.from_pretrained(model, device=device, **options)

    def facts(self) -> list[str | None]:
        """Which model it is, and the prompt it puts before pages."""
        return model_facts(self._encoder)

    def process(self) -> int:
        """Its process id, on its machine."""
        return os.getpid()

    def embed(self, values: Sequence[dict[str, Any]], token_pooling: float) -> list[np.ndarray]:
        """As of `embedding.vectors_of`."""
        return vectors_of(self._encoder, values, token_pooling)


class RayEngine:
    """Workers of a Ray cluster; to be used in a ``with`` statement, which ends them.

    Joins the cluster named by ``RAY_ADDRESS``, or the one Ray finds, or starts one on this machine. Images are sent as
    bytes; the model must be found under its name on every machine.

    Args:
        encoder: the model in this process; the workers' must be the same.
        model: where the workers load it from.
        workers: how many; by default one per GPU of the cluster, without GPUs one per machine.
        device: where each puts its model, by default where it finds a place.
        options: of `Encoder.from_pretrained`, for the workers.

    Raises:
        ConfigError: Ray is not installed, or the cluster has too little for the workers.
        SearchIndexError: the workers load another model.
    """

    def __init__(
        self,
        encoder: Encoder,
        model: str,
        *,
        workers: int | None = None,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._encoder = encoder
        self._model = model
        self._wanted = workers
        self._device = device
        self._options = dict(options or {})
        self._started = False
        self.workers: list[Any] = []

    def __enter__(self) -> RayEngine:
        ray = _ray()
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning")
            self._started = True
        try:
            self._start(ray)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def embed(
        self, batches: Iterator[Sequence[dict[str, Any]]], token_pooling: float
    ) -> Iterator[list[np.ndarray]]:
        ray = _ray()
        running: dict[
            Any, tuple[int, int]
        ] = {}  # what a worker has in hand: number of the batch and of the worker
        done: dict[int, Any] = {}
        load = [0] * len(self.workers)
        sent = given = 0
        more = True
        while more or running or done:
            # Not too far ahead of the slowest: what is done waits in memory for its turn.
            while more and min(load) < IN_HAND and sent - given < 2 * IN_HAND * len(load):
                batch = next(batches, None)
                if batch is None:
                    more = False
                    break
                free = load.index(min(load))
                answer = self.workers[free].embed.remote(list(map(_portable, batch)), token_pooling)
                running[answer] = (sent, free)
                load[free] += 1
                sent += 1
            if running and given not in done:
                ready, _ = ray.wait(list(running), num_returns=1)
                number, worker = running.pop(ready[0])
                load[worker] -= 1
                done[number] = ready[0]
            if given in done:
                yield _result(ray, done.pop(given))
                given += 1

    def check(self, encoder: Encoder) -> None:
        """Make sure that the workers have loaded this model.

        Raises:
            SearchIndexError: one has another.
        """
        ray, expected = _ray(), model_facts(encoder)
        for answer in [worker.facts.remote() for worker in self.workers]:
            if _result(ray, answer) != expected:
                raise SearchIndexError(
                    f"the workers load another model from {self._model} than this process has; "
                    f"put the same model there on every machine"
                )

    def _start(self, ray: Any) -> None:
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0))
        machines = sum(name.startswith("node:") and "internal" not in name for name in there)
        count = self._wanted or gpus or max(1, machines)
        each = {"num_cpus": 1, "num_gpus": gpus / count if gpus and count > gpus else min(gpus, 1)}
        if there.get("CPU", 0) < count:
            raise ConfigError(
                f"the Ray cluster has {int(there.get('CPU', 0))} CPUs, which is too few for {count} workers"
            )
        remote = ray.remote(max_restarts=RESTARTS, max_task_retries=RETRIES, **each)(Worker)
        self.workers = [remote.remote(self._model, self._device, self._options) for _ in range(count)]
        self.check(self._encoder)

    def _stop(self) -> None:
        ray = _ray()
        for worker in self.workers:
            ray.kill(worker)
        self.workers = []
        if self._started:
            ray.shutdown()
            self._started = False


def model_facts(encoder: Encoder) -> list[str | None]:
    """What two processes must agree on to embed alike."""
    return [fingerprint(encoder), encoder.prompt_for("document")]


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("embedding on a cluster needs Ray: pip install 'sightline[ray]'") from error
    return ray


def _portable(value: dict[str, Any]) -> dict[str, Any]:
    """What the model gets for a page, with its image as bytes: other machines may not see the file."""
    return {name: part.read_bytes() if isinstance(part, Path) else part for name, part in value.items()}


def _result(ray: Any, answer: Any) -> Any:
    """An answer of a worker.

    Raises:
        SightlineError: the worker's own, of an image that cannot be read, say.
        SearchIndexError: workers keep dying.
    """
    try:
        return ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, SightlineError):
            raise cause from error
        raise SearchIndexError(f"a worker failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        told = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        why = " ... ".join(dict.fromkeys((told[0][:200], told[-1][:200])))
        raise SearchIndexError(
            f"the workers of the Ray cluster keep dying ({why}); "
            f"what was embedded is kept, the same command goes on"
        ) from error
