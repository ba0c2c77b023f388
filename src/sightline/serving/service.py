"""What a running service holds: its settings, the version of the index it serves, and how that changes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from sightline.errors import SearchIndexError
from sightline.search.index import SearchIndex
from sightline.serving.errors import ApiError
from sightline.serving.served import Served
from sightline.serving.settings import Settings

if TYPE_CHECKING:
    from sightline.feedback.store import FeedbackStore
    from sightline.serving.engine import Engine

__all__ = ["Served", "Service", "Source"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_log = logging.getLogger("sightline.serving")
# Images are large and slow to decode: so many at a time, whoever sends them.
_PICTURE_THREADS = 2
# Versions beside the open one that are kept open, for people who still look at what it found.
_KEPT_VERSIONS = 4
_RETRY_S = 30.0


class Source(Protocol):
    """Where versions come from; see `sightline.serving.loading.IndexSource`."""

    def open_version(self) -> str | None:
        """The version that is to be served now."""
        ...

    def versions(self) -> list[str]:
        """All that can be opened."""
        ...

    def open(self, version: str) -> SearchIndex:
        """The pages of a version."""
        ...

    def load(self, version: str | None, near: Served | None) -> Served:
        """A version, ready to search; models that ``near`` has are not loaded again."""
        ...


class Service:
    """The state behind the application; its methods are called on the event loop.

    Args:
        settings: limits and places.
        served: what to serve; None to load it from ``source`` when the application starts.
        source: where other versions come from; None where there are no others.
        feedback: where feedback is kept; None for a service that keeps none.
    """

    def __init__(
        self,
        settings: Settings,
        served: Served | None = None,
        *,
        source: Source | None = None,
        feedback: FeedbackStore | None = None,
    ) -> None:
        self.settings = settings
        self.served = served
        self.source = source
        self.feedback = feedback
        self.draining = False
        self.failure: Exception | None = None
        self._beside: dict[str, Served] = {}
        self._opened: OrderedDict[str, SearchIndex] = OrderedDict()
        self._requests: Counter[Served] = Counter()
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="sightline-serve")
        self._picture_threads = ThreadPoolExecutor(_PICTURE_THREADS, thread_name_prefix="sightline-pictures")

    # What is served

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
        """Whether requests are answered."""
        return self.served is not None and not self.draining

    @property
    def engine(self) -> Engine:
        """The models of `current`."""
        return self.current.engine

    async def index_at(self, version: str | None) -> SearchIndex:
        """The pages of a version, by default of what is served; versions of other models can be looked at too.

        Raises:
            ApiError: 404, there is no such version; 503, while loading.
        """
        current = self.current
        if version is None or version == current.version:
            return current.index
        if version in self._beside:
            return self._beside[version].index
        if version not in self._opened:
            unknown = ApiError(
                404, f"there is no version {version!r}", code="unknown_version", param="version"
            )
            if self.source is None:
                raise unknown
            try:
                self._opened[version] = await self.in_thread(self.source.open, version)
            except SearchIndexError as error:
                raise unknown from error
            if len(self._opened) > _KEPT_VERSIONS:
                self._opened.popitem(last=False)
        return self._opened[version]

    async def served_at(self, version: str | None) -> Served:
        """A version with the models to search it, by default what is served.

        Raises:
            ApiError: 404, there is no such version; 409, another model built it, which is not loaded.
        """
        current = self.current
        index = await self.index_at(version)
        if index is current.index:
            return current
        if index.facts.version in self._beside:
            return self._beside[index.facts.version]
        if index.facts.fingerprint != current.index.facts.fingerprint:
            raise ApiError(
                409,
                f"version {version!r} was built with another model, which is not loaded here; the service can be "
                f"started with --also {version}",
                code="model_not_loaded",
                param="version",
            )
        return await self.in_thread(current.beside, index)

    async def versions(self) -> list[str]:
        """Versions that can be asked for by name, the one that is served first."""
        found = [] if self.source is None else await self.in_thread(self.source.versions)
        return list(dict.fromkeys([self.current.version, *self._beside, *found]))

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

    # Threads

    async def in_thread(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """The result of ``call``, run beside the event loop; for reading files, not for the model."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **kwargs))

    async def on_picture_thread(self, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """As `in_thread`, for what decodes images."""
        run = partial(call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._picture_threads, run)

    # Its life

    async def start(self) -> None:
        """Load what is to be served, unless it was given."""
        if self.served is None and self.source is not None:
            loaded = await self.in_thread(self.source.load, None, None)
            for version in self.settings.versions:
                near = self._beside.get(version, loaded)
                self._beside[version] = await self.in_thread(self.source.load, version, near)
            self.served = loaded
            _log.info("ready", extra={"version": loaded.version, "model": loaded.model})

    async def follow(self) -> None:
        """Look for another version and serve it, for as long as the task lives.

        A version that cannot be loaded leaves the one before in place; it is tried again after a while.
        """
        refused, wait = None, 0.0
        while self.source is not None and self.settings.watch_s > 0:
            await asyncio.sleep(self.settings.watch_s)
            wait = max(0.0, wait - self.settings.watch_s)
            before, version = self.current, None
            try:
                version = await self.in_thread(self.source.open_version)
                if version is None or version == before.version or (version == refused and wait):
                    continue
                loaded = await self.in_thread(self.source.load, version, before)
            except Exception as error:  # whatever a library raises, what is served goes on
                if version != refused or not wait:
                    _log.error("another version cannot be served: %s", error, extra={"version": version})
                    refused, wait = version, _RETRY_S
                continue
            refused = None
            self.served = loaded
            _log.info("switched", extra={"version": loaded.version, "before": before.version})
            await self._retire(before)

    async def _retire(self, served: Served) -> None:
        """Give up a version once its last request has ended; its models too, unless another one uses them."""
        while self._requests[served]:
            await asyncio.sleep(0.05)
        del self._requests[served]
        if served.engine not in self._engines():
            await served.engine.drain(1.0)

    def _engines(self) -> list[Engine]:
        all_served = [*self._beside.values(), *([self.served] if self.served else [])]
        return list({id(one.engine): one.engine for one in all_served}.values())

    async def close(self) -> None:
        """Let go of models, threads and files."""
        for engine in self._engines():
            await engine.drain(1.0)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._picture_threads.shutdown(wait=False, cancel_futures=True)
        if self.feedback is not None:
            self.feedback.close()
