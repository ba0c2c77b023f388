"""A service of tiny models over a tiny index, on a port of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.search.index import build_index
from sightline.search.pages import PageRecord
from sightline.search.searcher import Searcher
from sightline.serving.engine import Engine
from sightline.serving.server import Server, listen
from sightline.serving.service import Served, Service
from sightline.serving.settings import Settings

PAGES = (
    "The annual report shows revenue by region and a table of operating costs.",
    "A diagram of the pump with its valves, seals and the pressure gauge.",
    "How many employees worked in the northern plants in 2019?",
)


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    engine: Engine
    service: Service


@contextmanager
def running(
    folder: Path,
    encoder: Encoder,
    reranker: Reranker | None = None,
    *,
    name: str = "tiny-model",
    pages_by: Encoder | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Iterator[Running]:
    """Serves until the block ends.

    Args:
        folder: an empty one, for the index.
        encoder, reranker: the models.
        name: what the model is called.
        pages_by: the model of the index, where it is not the encoder and nobody searches.
        settings: of the service.
        options: of the engine.
    """
    settings = settings or Settings(port=0)
    pages = [
        PageRecord(page_id=f"a.pdf#p{number}", document="a.pdf", page=number, text=text)
        for number, text in enumerate(PAGES)
    ]
    index = build_index(folder / "index", pages, pages_by or encoder, model=name, progress=False)
    engine = Engine(encoder, reranker, **options)
    words = Searcher(index)
    served = Served.of(index, engine) if pages_by is None else Served(index, engine, words, words)
    service = Service(settings, served)
    listening = listen(settings)
    server = Server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", engine, service)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        engine.close()
