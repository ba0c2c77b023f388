"""The process that opens files: ``python -m sightline.documents.worker``.

It reads tasks as JSON lines from standard input and answers with JSON lines on standard output; what it
says in which order is in `sightline.documents.pool`, its only caller. It is a plain child process and
not a multiprocessing one, so that nobody's ``__main__`` is imported again and little but Pillow, numpy and
PDFium is loaded. It leads a process group, which LibreOffice is in too: whoever ends the worker ends both.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sightline.documents import ocr
from sightline.documents.child import Answer, Handle, Send, serve
from sightline.documents.pages import check_file, hash_file, read_pages
from sightline.documents.rawpages import RawPage, StorageError
from sightline.documents.records import IngestSettings
from sightline.errors import SightlineError

BEAT_SECONDS = 1.0


def main() -> None:
    serve(_begin)


def _begin(setup: Answer) -> tuple[int, Handle]:
    settings, root = IngestSettings(**setup["settings"]), Path(setup["root"])
    # Imported before the first page, whose time would go to it.
    for name in ("numpy", "PIL.Image", "pypdfium2", "sightline.inputs.images"):
        importlib.import_module(name)

    def handle(task: Answer, send: Send) -> Iterator[Answer]:
        def tell(kind: str, **values: Any) -> None:
            send({"kind": kind, **values})

        for kind, values in _handle(task, root, settings, tell):
            yield {"kind": kind, **values}

    return (settings.memory_mb + (ocr.MEMORY_MB if settings.ocr != "none" else 0)) << 20, handle


def _handle(
    task: dict[str, Any], root: Path, settings: IngestSettings, send: Callable[..., None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    path = Path(task["path"])
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > BEAT_SECONDS:
            last = time.monotonic()
            send("beat")

    try:
        check_file(path, settings)
        sha256 = task["sha256"]
        if not sha256:
            sha256 = hash_file(path, beat)
            if sha256 == task["known"] and all((root / image).is_file() for image in task["images"]):
                yield "same", {}
                return
            yield "hash", {"sha256": sha256}
        recogniser = ocr.PageRecogniser(
            every=settings.ocr == "all",
            known=_by_page(task["recognised"].get(sha256, {})),
            given_up=_by_page(task["given_up"]),
            starting=lambda page: send("recognising", page=page),
        )
        found_pages = read_pages(
            path,
            root,
            settings,
            task["first"],
            recogniser if settings.ocr != "none" else None,
            lambda program: send("converting", program=program),
        )
        for found in found_pages:
            if isinstance(found, RawPage):
                yield "page", {name: getattr(found, name) for name in RawPage.__slots__}
            else:
                yield "count", {"count": found}
    except StorageError as error:
        yield "fatal", {"error": str(error)}
    except SightlineError as error:
        yield "done", {"error": str(error)}
    except MemoryError:
        yield "done", {"error": f"reading it takes more than {settings.memory_mb:,} MiB of memory"}
    except OSError as error:
        yield "done", {"error": f"cannot be opened ({error.strerror or error})"}
    except Exception as error:  # whatever a hostile file makes a decoder raise, the other files go on
        yield "done", {"error": f"cannot be read ({type(error).__name__}: {error})"[:500]}
    else:
        yield "done", {"error": ""}


def _by_page(values: dict[str, str]) -> dict[int, str]:
    """JSON has no numbers as keys."""
    return {int(page): text for page, text in values.items()}


if __name__ == "__main__":
    main()
