"""A small service: an index of pages with images, a tiny model of texts and images, and a server on a free port.

And what holds its model, for tests of what happens meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.search.index import SearchIndex, build_index
from sightline.search.pages import PageRecord
from sightline.serving.engine import Engine
from sightline.serving.served import Served
from sightline.serving.server import running
from sightline.serving.service import Service
from sightline.serving.settings import Settings

DOCUMENTS = {
    "annual report.pdf": "the annual report shows a table of operating costs",
    "plants/north.pdf": "employees of the northern plants and the pump with its valves",
    "naïve & odd+name.pdf": "a diagram of the seals and the pressure gauge",
}
PAGES = 4
SIZE = (120, 160)

__all__ = ["DOCUMENTS", "PAGES", "SIZE", "Held", "make_index", "page_records", "running", "service_of"]


def page_records(folder: Path) -> list[PageRecord]:
    """Pages of `DOCUMENTS`, each with an image of its own, below ``folder``."""
    records = []
    for number, (document, words) in enumerate(DOCUMENTS.items()):
        for page in range(PAGES):
            image = folder / f"images/{number}-{page}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            shade = Image.linear_gradient("L").rotate(90 * page).resize(SIZE)
            flat = Image.new("L", SIZE, 80 * number)
            Image.merge("RGB", (shade, flat, flat)).save(image)
            text = f"{words}, page {page} number {100 * number + page}"
            records.append(PageRecord(f"{document}#p{page}", document, page, text, image, *SIZE))
    return records


def make_index(folder: Path, encoder: Encoder, **options: Any) -> SearchIndex:
    """An index of `page_records` in ``folder``/index."""
    media = folder / "media"
    records = options.pop("records", None) or page_records(media)
    return build_index(
        folder / "index", records, encoder, media_root=media, fields="image", progress=False, **options
    )


def service_of(
    index: SearchIndex, encoder: Encoder, reranker: Reranker | None = None, **settings: Any
) -> Service:
    """A service that has everything it needs; it looks for no other version unless told to."""
    settings = {"watch_s": 0.0, **settings}
    feedback, source = settings.pop("feedback_store", None), settings.pop("source", None)
    engine = Engine(encoder, reranker)
    return Service(Settings(**settings), Served.of(index, engine), source=source, feedback=feedback)


class Held:
    """The model's thread, kept busy until it is let go: what is asked meanwhile waits in the queue."""

    def __init__(self, engine: Engine) -> None:
        self._started, self._go = threading.Event(), threading.Event()
        self._call = asyncio.ensure_future(engine.run(self._block))

    def _block(self) -> None:
        self._started.set()
        assert self._go.wait(30)

    async def begun(self) -> Held:
        assert await asyncio.to_thread(self._started.wait, 30)
        return self

    async def release(self) -> None:
        self._go.set()
        await asyncio.wait([self._call])
        self._call.exception()  # where the engine was closed meanwhile; asked for, so that nobody logs it later
