"""Child processes that look at images, several at a time; one that crashes or hangs costs its image only."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sightline.documents.child import START_SECONDS, Child, exit_name
from sightline.documents.doctor.picture import Picture, from_message, task_of
from sightline.errors import DataError

# An image that takes longer is given up: one of 64 million pixels takes about three.
PICTURE_SECONDS = 20.0
# Address space of a child: what a decoder needs for the largest image that is read.
MEMORY_MB = 1536
# Images a child is given ahead, so that it never waits for the next one.
AHEAD = 4
# Decoders leave their address space in pieces, and the limit counts it; a new process starts clean.
PICTURES_PER_CHILD = 2_000

Named = tuple[int, Path | bytes]


class _Looker:
    """A child process, the images it has, in order, and its clock."""

    def __init__(self, inbox: _Inbox) -> None:
        self.waiting: list[Named] = []
        self.ready = False
        self.given = 0
        self.deadline = time.monotonic() + START_SECONDS
        self.child = Child(
            "sightline.documents.doctor.picture",
            {"memory_mb": MEMORY_MB},
            lambda answer: inbox.put((self, answer)),
        )

    @property
    def is_worn(self) -> bool:
        return self.given >= PICTURES_PER_CHILD

    def give(self, named: Named) -> None:
        if self.ready and not self.waiting:
            self.deadline = time.monotonic() + PICTURE_SECONDS
        self.waiting.append(named)
        self.given += 1
        self.child.send(task_of(named[1]))


_Inbox = queue.SimpleQueue[tuple[_Looker, dict[str, Any] | None]]


class Lookers:
    """Looks at images in child processes, which start with the first image and end with `close`.

    Args:
        workers: how many processes at most.
    """

    def __init__(self, workers: int) -> None:
        self._most = workers
        self._inbox: _Inbox = queue.SimpleQueue()
        self._lookers: set[_Looker] = set()

    def look(self, images: Iterable[Named]) -> Iterator[tuple[int, Picture]]:
        """The facts of each image by its number, in the order they are found.

        Raises:
            DataError: no process starts.
        """
        source, ended = iter(images), False
        again: list[Named] = []
        following: Named | None = None
        while True:
            while not ended:
                if following is None:
                    following = again.pop() if again else next(source, None)
                ended = following is None
                if following is None or (looker := self._free()) is None:
                    break
                looker.give(following)
                following = None
            busy = [one for one in self._lookers if one.waiting]
            if not busy:
                return
            try:
                wait = min(one.deadline for one in busy) - time.monotonic()
                looker, answer = self._inbox.get(timeout=max(0.01, wait))
            except queue.Empty:
                for late in [one for one in busy if one.deadline <= time.monotonic()]:
                    yield from self._end(late, again, f"took longer than {PICTURE_SECONDS:g} s to open")
                ended = ended and not again
                continue
            if looker not in self._lookers:
                continue  # the last lines of one that was ended
            if answer is None:
                yield from self._end(looker, again, None)
                ended = ended and not again
                continue
            looker.deadline = time.monotonic() + PICTURE_SECONDS
            if answer["kind"] == "ready":
                looker.ready = True
                continue
            number, _ = looker.waiting.pop(0)
            if looker.is_worn and not looker.waiting:
                self._stop(looker)
            yield number, from_message(answer["picture"])

    def close(self) -> None:
        """Ends the processes."""
        for looker in list(self._lookers):
            self._stop(looker)

    def _free(self) -> _Looker | None:
        """One that can take an image; a new one before any is given a second image."""
        free = [one for one in self._lookers if len(one.waiting) < AHEAD and not one.is_worn]
        fewest = min(free, key=lambda one: len(one.waiting), default=None)
        if len(self._lookers) < self._most and (fewest is None or fewest.waiting):
            return self._start()
        return fewest

    def _start(self) -> _Looker:
        looker = _Looker(self._inbox)
        self._lookers.add(looker)
        return looker

    def _end(self, looker: _Looker, again: list[Named], cause: str | None) -> Iterator[tuple[int, Picture]]:
        """One hung or died: the image it was at is given up, the others are looked at by another."""
        status = looker.child.kill()
        self._lookers.discard(looker)
        words = looker.child.last_words()
        looker.child.errors.close()
        if not looker.ready:
            raise DataError(f"the process that opens images does not start:\n{words}")
        if looker.waiting:
            number, _ = looker.waiting[0]
            again.extend(looker.waiting[1:])
            yield number, Picture(error=cause or f"crashed what opens it ({exit_name(status)})")

    def _stop(self, looker: _Looker) -> None:
        self._lookers.discard(looker)
        looker.child.kill()
        looker.child.errors.close()
