"""The process that opens files: ``python -m sightline.documents.worker``.

It reads tasks as JSON lines from standard input and answers with JSON lines on standard output; what it
says in which order is in `sightline.documents.pool`, its only caller. It is a plain child process and
not a multiprocessing one, so that nobody's ``__main__`` is imported again and nothing but Pillow and
PDFium is loaded.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sightline.documents.pages import RawPage, StorageError, check_file, hash_file, read_pages
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
    _limit_memory(settings.memory_mb << 20)
    root = Path(setup["root"])
    _send(answers, {"kind": "ready"})
    while True:
        for answer in _handle(json.loads(tasks.get()), root, settings, answers):
            _send(answers, answer)


def _read_tasks(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    # The parent closed the pipe or was killed: stop at once, in the middle of a page if need be.
    os._exit(0)


def _limit_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if sys.platform != "darwin":  # macOS counts its shared cache of hundreds of GiB
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _send(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _handle(task: dict[str, Any], root: Path, settings: IngestSettings, answers: Any) -> Iterator[dict]:
    path = Path(task["path"])
    last = time.monotonic()

    def beat() -> None:
        nonlocal last
        if time.monotonic() - last > BEAT_SECONDS:
            last = time.monotonic()
            _send(answers, {"kind": "beat"})

    try:
        check_file(path, settings)
        if task["first"] == 0:
            sha256 = hash_file(path, beat)
            if sha256 == task["known"] and all((root / image).is_file() for image in task["images"]):
                yield {"kind": "same"}
                return
            yield {"kind": "hash", "sha256": sha256}
        for found in read_pages(path, root, settings, task["first"]):
            if isinstance(found, RawPage):
                yield {"kind": "page", **{name: getattr(found, name) for name in RawPage.__slots__}}
            else:
                yield {"kind": "count", "count": found}
    except StorageError as error:
        yield {"kind": "fatal", "error": str(error)}
    except SightlineError as error:
        yield {"kind": "done", "error": str(error)}
    except MemoryError:
        yield {"kind": "done", "error": f"reading it takes more than {settings.memory_mb:,} MiB of memory"}
    except OSError as error:
        yield {"kind": "done", "error": f"cannot be opened ({error.strerror or error})"}
    except Exception as error:  # whatever a hostile file makes a decoder raise, the other files go on
        yield {"kind": "done", "error": f"cannot be read ({type(error).__name__}: {error})"[:500]}
    else:
        yield {"kind": "done", "error": ""}


if __name__ == "__main__":
    main()
