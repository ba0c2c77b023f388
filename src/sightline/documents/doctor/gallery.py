"""Every image of the contents, read once: the hash of its file, and its facts, from memory where they are known."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sightline.documents.doctor.contents import ReadBytes, Sheet
from sightline.documents.doctor.lookers import Lookers, Named
from sightline.documents.doctor.memory import Memory
from sightline.documents.doctor.picture import Picture
from sightline.errors import InputError
from sightline.inputs.references import check_file

# Images whose bytes may be held at once.
CHUNK = 256
# A larger file is refused unread, as `sightline.inputs.images` does.
MAX_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Seen:
    """An image as it lies there now.

    Attributes:
        content_hash: SHA-256 of the file; ``""`` where it cannot be read.
        picture: its facts, with why it cannot be opened where it cannot.
    """

    content_hash: str
    picture: Picture


def see(
    sheets: Sequence[Sheet],
    *,
    workers: int | None = None,
    memory: Memory | None = None,
    tell: Callable[[int], None] | None = None,
) -> dict[int, Seen]:
    """Reads the image of each sheet that has one.

    Args:
        sheets: what is examined.
        workers: processes that open images; by default one per CPU core.
        memory: what is known from earlier; by default that of the user.
        tell: called with the number of images read since the last call.

    Returns:
        The number of each sheet with an image -> what was seen.
    """
    found: dict[int, Seen] = {}
    memory = Memory() if memory is None else memory
    numbers = [number for number, sheet in enumerate(sheets) if sheet.image is not None]
    with (
        closing(Lookers(workers or _cores())) as lookers,
        ThreadPoolExecutor(max_workers=workers or _cores()) as pool,
    ):
        known = memory.recall(
            sheets[number].content_hash for number in numbers if sheets[number].content_hash
        )
        for start in range(0, len(numbers), CHUNK):
            some = numbers[start : start + CHUNK]
            files = dict(zip(some, pool.map(_read, (sheets[number] for number in some)), strict=True))
            known |= memory.recall(
                one.content_hash for one in files.values() if one.content_hash not in known
            )
            new = _look(lookers, files, known)
            # What may have failed for want of memory or time is tried again the next time.
            memory.learn({name: one for name, one in new.items() if not one.error})
            known |= new
            for number, file in files.items():
                picture = known.get(file.content_hash) or Picture(error=file.error)
                found[number] = Seen(file.content_hash, picture)
            if tell is not None:
                tell(len(some))
    return found


@dataclass(frozen=True, slots=True)
class _File:
    """An image's file: its hash, and what a child process opens; or why it cannot be read."""

    content_hash: str = ""
    value: Path | bytes = b""
    error: str = ""


def _read(sheet: Sheet) -> _File:
    image: Path | ReadBytes | None = sheet.image
    assert image is not None
    try:
        if isinstance(image, Path):
            size = check_file(image).st_size
            if size > MAX_BYTES:
                return _File(error=f"has {size:,} bytes, more than the limit of {MAX_BYTES:,}")
            with image.open("rb") as file:
                return _File(hashlib.file_digest(file, "sha256").hexdigest(), image)
        content = image()
    except InputError as error:
        return _File(error=error.cause_text)
    except OSError as error:
        return _File(error=f"cannot be read ({error.strerror or error})")
    return _File(hashlib.sha256(content).hexdigest(), content)


def _look(lookers: Lookers, files: dict[int, _File], known: dict[str, Picture]) -> dict[str, Picture]:
    """The facts of those files that nobody knows yet, by their hash; each content is opened once."""
    unknown = {
        one.content_hash: one.value
        for one in files.values()
        if one.content_hash and one.content_hash not in known
    }
    hashes = list(unknown)

    def named() -> Iterator[Named]:
        yield from enumerate(unknown.values())

    return {hashes[number]: picture for number, picture in lookers.look(named())}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
