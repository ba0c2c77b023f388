"""The process that opens files: ``python -m sightline.documents.worker``.

It reads tasks as JSON lines from standard input and answers with JSON lines on standard output; what it
says in which order is in `sightline.documents.pool`, its only caller. It is a plain child process and
not a multiprocessing one, so that nobody's ``__main__`` is imported again and little but Pillow, numpy and
PDFium is loaded. It leads a process group, which LibreOffice is in too: whoever ends the worker ends both.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sightline.documents import ocr
from sightline.documents.pages import check_file, hash_file, read_pages
from sightline.documents.rawpages import RawPage, StorageError
from sightline.documents.records import IngestSettings
from sightline.errors import SightlineError

BEAT_SECONDS = 1.0


def main() -> None:
    # The parent ends us; Ctrl-C in the terminal reaches the whole group and must not.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # libraries that write to standard output must not break the protocol
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_tasks, args=(tasks,), daemon=True).start()
    setup = json.loads(tasks.get())
    settings = IngestSettings(**setup["settings"])
    _limit_memory((settings.memory_mb + (ocr.MEMORY_MB if settings.ocr != "none" else 0)) << 20)
    root = Path(setup["root"])

    def send(kind: str, **values: Any) -> None:
        answers.write(json.dumps({"kind": kind, **values}) + "\n")
        answers.flush()

    # Imported before the first page, whose time would go to it.
    for name in ("numpy", "PIL.Image", "pypdfium2", "sightline.inputs.images"):
        importlib.import_module(name)
    send("ready")
    while True:
        for kind, values in _handle(json.loads(tasks.get()), root, settings, send):
            send(kind, **values)


def _read_tasks(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    # The parent closed the pipe or was killed: stop at once, in the middle of a page if need be.
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(0)


def _limit_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if sys.platform != "darwin":  # macOS counts its shared cache of hundreds of GiB
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


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
