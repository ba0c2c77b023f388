"""Running the service: its socket, its signals, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from types import FrameType

import uvicorn

from sightline.errors import ConfigError
from sightline.serving.app import create_app
from sightline.serving.service import Service
from sightline.serving.settings import Settings


class Server(uvicorn.Server):
    """Uvicorn's server, which on SIGTERM or Ctrl-C finishes what it was asked, and on a second one does not."""

    def __init__(self, service: Service, *, on_ready: Callable[[], None] | None = None) -> None:
        self._service = service
        self._on_ready = on_ready
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                create_app(service),
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                # Longer than clients keep idle connections (httpx, and so OpenAI's and Cohere's, 5 s, uvicorn's own
                # default): who closes first must not be the side that a request is on its way to.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
                h11_max_incomplete_event_size=64 * 1024,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """As uvicorn's, without ending the process by the signal: a drained service ends with 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.force_exit = True
        self._service.draining = True
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._service.failure is not None:
            return True
        if self._on_ready is not None and self._service.ready:
            self._on_ready()
            self._on_ready = None
        return await super().on_tick(counter)


def listen(settings: Settings) -> socket.socket:
    """The socket of the service, before anything heavy is loaded.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is none of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror or error}); "
            f"choose another port with --port, 0 for any that is free"
        ) from error
    return listening


def run(service: Service, listening: socket.socket, *, on_ready: Callable[[], None] | None = None) -> None:
    """Serve until a signal says to stop; the process ends here once it has drained.

    Raises:
        Exception: what kept the service from loading.
    """
    server = Server(service, on_ready=on_ready)
    asyncio.run(server.serve(sockets=[listening]))
    if service.failure is not None:
        raise service.failure
    sys.stdout.flush()
    sys.stderr.flush()
    # A model that is in the middle of something on its thread must not hold up the end.
    os._exit(130 if server.force_exit else 0)


@contextlib.contextmanager
def running(service: Service) -> Iterator[str]:
    """The address of a server for ``service`` on a free port, on a thread of this process, until the block ends."""
    listening = listen(replace(service.settings, port=0))
    server = Server(service)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield replace(service.settings, port=listening.getsockname()[1]).url
    finally:
        server.should_exit = True
        thread.join()
