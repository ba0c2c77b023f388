"""What a running service holds: its settings, the version of the index it serves, and how that changes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import ParamSpec, Protocol, TypeVar

from sightline.errors import SightlineError
from sightline.search.index import SearchIndex
from sightline.search.searcher import Searcher
from sightline.serving.errors import ApiError
from sightline.serving.settings import Settings

_P = ParamSpec("_P")
_R = TypeVar("_R")
_log = logging.getLogger("sightline.serving")


@dataclass(frozen=True, eq=False)
class Served:
    """One version of an index with the models that search it; what a request starts with, it ends with.

    Attributes:
        index: the open version.
        searcher: searches it.
    """

    index: SearchIndex
    searcher: Searcher

    @property
    def version(self) -> str:
        return self.index.facts.version

    @property
    def model(self) -> str:
        """The model's name for clients: its name on the Hub, or the last part of its folder."""
        return public_name(self.index.facts.model)

    @property
    def reranker(self) -> str | None:
        """The reranker's name for clients; None without one."""
        reranker = self.searcher.reranker
        return None if reranker is None else public_name(reranker.name_or_path)


class Source(Protocol):
    """Where versions come from; see `sightline.serving.loading.IndexSource`."""

    def open_version(self) -> str | None:
        """The version that is to be served now."""
        ...

    def load(self, version: str | None, near: Served | None) -> Served:
        """A version, ready to search; what it shares with ``near`` is not loaded again."""
        ...


class Service:
    """The state behind the application; its methods are called on the event loop.

    Args:
        settings: limits and places.
        served: what to serve; None to load it from ``source`` when the application starts.
        source: where other versions come from.
    """

    def __init__(
        self, settings: Settings, served: Served | None = None, *, source: Source | None = None
    ) -> None:
        self.settings = settings
        self.served = served
        self.source = source
        self.draining = False
        self.failure: Exception | None = None
        self._requests: Counter[Served] = Counter()
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="sightline-serve")

    @property
    def current(self) -> Served:
        """What is served now; a request takes it once, at its start.

        Raises:
            ApiError: 503, while the model loads.
        """
        if self.served is None:
            raise ApiError(503, "the service is still loading; try again", code="loading", retry_after=2)
        return self.served

    @property
    def ready(self) -> bool:
        return self.served is not None and not self.draining

    async def in_thread(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """The result of ``call``, run beside the event loop; for reading files, not for the model."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **kwargs))

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Holds what is served now: a version that was replaced is given up when its last request ends."""
        served = self.served
        if served is None:
            yield
            return
        self._requests[served] += 1
        try:
            yield
        finally:
            self._requests[served] -= 1

    async def start(self) -> None:
        """Load what is to be served, unless it was given."""
        if self.served is None and self.source is not None:
            self.served = await self.in_thread(self.source.load, None, None)
            _log.info("ready", extra={"version": self.served.version, "model": self.served.model})

    async def follow(self) -> None:
        """Look for another version and serve it, for as long as the task lives.

        A version that cannot be loaded leaves the one before in place; it is tried again after a while.
        """
        refused, wait = "", 0.0
        while self.source is not None and self.settings.watch_s > 0:
            await asyncio.sleep(self.settings.watch_s)
            wait = max(0.0, wait - self.settings.watch_s)
            before = self.current
            try:
                version = await self.in_thread(self.source.open_version)
                if version is None or version == before.version or (version == refused and wait):
                    continue
                refused, wait = version, 30.0
                self.served = await self.in_thread(self.source.load, version, before)
            except (SightlineError, OSError) as error:
                _log.error("another version cannot be served: %s", error, extra={"version": before.version})
                continue
            refused = ""
            _log.info("switched", extra={"version": self.served.version, "before": before.version})
            await self._retire(before)

    async def _retire(self, served: Served) -> None:
        while self._requests[served]:
            await asyncio.sleep(0.05)
        del self._requests[served]

    async def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def public_name(model: str) -> str:
    """A model's name without the folder it lies in; ``""`` stays."""
    return PurePath(model).name if Path(model).is_absolute() else model
