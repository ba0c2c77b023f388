"""The queue in front of the model: who comes next, how much may wait, how far ahead is prepared.

Order is start-time fair queueing (Goyal, Vin and Cheng 1996) over requests: each piece of work carries a tag, the
sum of what its request has cost before it, counted from the tag that was served when the request came. So the first
piece of a new request is near the front however much others have asked for, and pieces of a large request take turns
with everyone's. Cost is what was estimated when the work came, in tokens.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sightline.serving.lanes import Lane
from sightline.serving.refused import Busy, Draining
from sightline.serving.work import Call, Entry, Ticket

# Prepared work waits for at most this many passes, so that features of many images do not fill the memory.
PASSES_AHEAD = 2
# Seconds a client is asked to stay away, at most.
LONGEST_RETRY_S = 60
# Of the measured speed, how much the latest pass counts.
_NEWEST = 0.2

_Heap = list[tuple[int, int, Entry]]


@dataclass
class EngineStats:
    """What has gone through the engine since it began, and what is in it now.

    Attributes:
        capacity: items the queue holds at most.
        waiting, waiting_bytes, waiting_tokens: items in the queue, what they hold, what they are thought to cost.
        prepared: of those in the queue, how many are prepared for the model, or are being prepared.
        running: items the model has in hand.
        accepted, refused: requests.
        answered, failed, dropped: of those accepted; dropped are those cancelled or out of time.
        passes: forward passes.
        items, embedded: items served, and those among them that were not equal to another of the same pass.
        tokens: positions the model read.
        busy_seconds: time the model worked.
        tokens_per_second: lately, in estimated tokens.
        draining: nothing new is taken.
    """

    capacity: int
    waiting: int = 0
    waiting_bytes: int = 0
    waiting_tokens: int = 0
    prepared: int = 0
    running: int = 0
    accepted: int = 0
    refused: int = 0
    answered: int = 0
    failed: int = 0
    dropped: int = 0
    passes: int = 0
    items: int = 0
    embedded: int = 0
    tokens: int = 0
    busy_seconds: float = 0.0
    tokens_per_second: float = 0.0
    draining: bool = False


@dataclass
class _Ahead:
    """Entries that are being prepared or are prepared, and what they are thought to cost."""

    entries: set[Entry] = field(default_factory=set)
    tokens: int = 0

    def add(self, entry: Entry) -> None:
        self.entries.add(entry)
        self.tokens += entry.estimate

    def remove(self, entry: Entry) -> None:
        if entry in self.entries:
            self.entries.remove(entry)
            self.tokens -= entry.estimate

    def prune(self) -> None:
        """Lets go of entries that nobody waits for."""
        for entry in [one for one in self.entries if one.ticket.dead]:
            self.remove(entry)

    def last(self) -> tuple[int, int]:
        """Tag and number of the one that comes last."""
        return max((entry.tag, entry.number) for entry in self.entries)


class Backlog:
    """Work that waits for the model; every method may be called on any thread.

    Args:
        max_items: pieces of work that may wait.
        max_bytes: bytes of texts and media that may wait.
        token_budget: positions of one pass.
        max_wait_s: how long a pass that is not full waits for company.
    """

    def __init__(self, *, max_items: int, max_bytes: int, token_budget: int, max_wait_s: float = 0.0) -> None:
        self.max_items = max_items
        self.max_bytes = max_bytes
        self.token_budget = token_budget
        self.max_wait_s = max_wait_s
        self.counts = EngineStats(max_items)
        self._changed = threading.Condition(threading.RLock())
        self._waiting: _Heap = []
        self._ready: dict[Lane, _Heap] = {}
        self._calls: list[tuple[int, int, Call]] = []
        self._ahead = _Ahead()
        self._tickets: set[Ticket] = set()
        self._tag = 0
        self._number = 0
        self._dead = 0
        self._closed = False

    # Coming in

    def add(self, ticket: Ticket, work: Sequence[Entry] | Sequence[Call]) -> None:
        """Takes the work of one request.

        Raises:
            Busy: there is no room for it.
            Draining: nothing new is taken.
        """
        size, tokens = sum(one.size for one in work), sum(one.estimate for one in work)
        with self._changed:
            self.check(len(work), size)
            tag = self._tag
            for one in work:
                self._number += 1
                tag += one.estimate
                one.tag, one.number = tag, self._number
                if isinstance(one, Call):
                    heapq.heappush(self._calls, (one.tag, one.number, one))
                else:
                    heapq.heappush(self._waiting, (one.tag, one.number, one))
            ticket.waiting, ticket.waiting_bytes, ticket.waiting_tokens = len(work), size, tokens
            self.counts.waiting += len(work)
            self.counts.waiting_bytes += size
            self.counts.waiting_tokens += tokens
            self.counts.accepted += 1
            self._tickets.add(ticket)
            self._changed.notify_all()
        # Runs at once where the request has been given up meanwhile.
        ticket.future.add_done_callback(lambda _: self._release(ticket))

    def check(self, items: int, size: int = 0) -> None:
        """Whether there is room.

        Raises:
            Busy, Draining: as of `add`.
        """
        with self._changed:
            if self.counts.draining:
                self.counts.refused += 1
                raise Draining("the service is being stopped; send the request to another one, or later")
            counts = self.counts
            full = counts.waiting + items > self.max_items
            # What waits may be one request of any size; how large that may be is not the queue's affair.
            heavy = counts.waiting > 0 and counts.waiting_bytes + size > self.max_bytes
            if full or heavy:
                counts.refused += 1
                what = f"{counts.waiting} items" if full else f"{counts.waiting_bytes:,} bytes"
                raise Busy(f"the model is busy: {what} are waiting for it", retry_after_s=self.retry_after())

    def retry_after(self) -> int:
        """Seconds in which what waits now should be done, as measured; at least 1."""
        rate = self.counts.tokens_per_second
        return min(LONGEST_RETRY_S, max(1, math.ceil(self.counts.waiting_tokens / rate))) if rate else 1

    def _release(self, ticket: Ticket) -> None:
        """Gives back the room of a request that is over, and counts how it ended."""
        with self._changed:
            if ticket not in self._tickets:
                return
            self._tickets.remove(ticket)
            self._dead += ticket.waiting
            self._left(ticket, ticket.waiting, ticket.waiting_bytes, ticket.waiting_tokens)
            if ticket.future.cancelled():
                self.counts.dropped += 1
            elif ticket.future.exception() is not None:
                self.counts.failed += 1
            else:
                self.counts.answered += 1
            # What the dead hold is let go of once they are many, so that each costs little.
            if self._dead > 64 + len(self._waiting) // 2:
                self._waiting = [one for one in self._waiting if not one[2].ticket.dead]
                heapq.heapify(self._waiting)
                self._dead = 0
            self._changed.notify_all()

    def _left(self, ticket: Ticket, items: int, size: int, tokens: int) -> None:
        ticket.waiting -= items
        ticket.waiting_bytes -= size
        ticket.waiting_tokens -= tokens
        self.counts.waiting -= items
        self.counts.waiting_bytes -= size
        self.counts.waiting_tokens -= tokens

    # Preparing

    def to_prepare(self) -> list[Entry]:
        """The entries to prepare now, all of one lane, role and prompt; none where enough is prepared.

        Nothing is prepared far ahead, save what comes before something prepared.
        """
        with self._changed:
            taken: list[Entry] = []
            tokens = 0
            self._ahead.prune()
            while self._waiting and tokens < self.token_budget and not (taken and _has_media(taken[-1])):
                tag, number, entry = self._waiting[0]
                if entry.ticket.dead:
                    heapq.heappop(self._waiting)
                    continue
                enough = self._ahead.tokens >= PASSES_AHEAD * self.token_budget
                if enough and (tag, number) > self._ahead.last():
                    break
                if taken and (entry.lane, entry.role, entry.prompt) != (
                    taken[0].lane,
                    taken[0].role,
                    taken[0].prompt,
                ):
                    break
                heapq.heappop(self._waiting)
                self._ahead.add(entry)
                taken.append(entry)
                tokens += entry.estimate
            return taken

    def prepared(self, entries: Sequence[Entry]) -> None:
        """Takes entries with their features, and without them those whose requests have failed."""
        with self._changed:
            for entry in entries:
                if entry.features is None or entry.ticket.dead:
                    self._ahead.remove(entry)
                else:
                    heap = self._ready.setdefault(entry.lane, [])
                    heapq.heappush(heap, (entry.tag, entry.number, entry))
            self._changed.notify_all()

    # Going out

    def next(self) -> list[Entry] | Call | None:
        """What the model does next, waiting for it: entries of one pass or few, or a call; None once closed."""
        with self._changed:
            while not self._closed:
                lane, entry = self._first()
                call = self._first_call()
                if call is not None and (
                    entry is None or (call.tag, call.number) < (entry.tag, entry.number)
                ):
                    heapq.heappop(self._calls)
                    self._taken(call)
                    return call
                if lane is None or entry is None:
                    self._changed.wait()
                    continue
                patience = self._patience()
                if patience > 0:
                    self._changed.wait(patience)
                    continue
                return self._pass(lane)
        return None

    def _first(self) -> tuple[Lane | None, Entry | None]:
        """The prepared entry that comes next, and its lane."""
        best: tuple[Lane | None, Entry | None] = (None, None)
        for lane, heap in self._ready.items():
            while heap and heap[0][2].ticket.dead:
                self._ahead.remove(heapq.heappop(heap)[2])
            if heap and (best[1] is None or heap[0][:2] < (best[1].tag, best[1].number)):
                best = lane, heap[0][2]
        return best

    def _first_call(self) -> Call | None:
        while self._calls and self._calls[0][2].ticket.dead:
            heapq.heappop(self._calls)
        return self._calls[0][2] if self._calls else None

    def _patience(self) -> float:
        """Seconds that a pass which is not full waits for more."""
        if not self.max_wait_s or self._closed:
            return 0.0
        ready = [one for heap in self._ready.values() for _, _, one in heap if not one.ticket.dead]
        if self.counts.draining or sum(one.cost for one in ready) >= self.token_budget:
            return 0.0
        return min(one.ticket.arrived for one in ready) + self.max_wait_s - time.monotonic()

    def _pass(self, lane: Lane) -> list[Entry]:
        heap = self._ready[lane]
        taken: list[Entry] = []
        tokens = 0
        while heap:
            entry = heap[0][2]
            if not entry.ticket.dead and taken and tokens + entry.cost > self.token_budget:
                break
            heapq.heappop(heap)
            self._ahead.remove(entry)
            if entry.ticket.dead:
                continue
            taken.append(entry)
            tokens += entry.cost
            self._taken(entry)
        return taken

    def _taken(self, work: Entry | Call) -> None:
        self._tag = max(self._tag, work.tag)
        self._left(work.ticket, 1, work.size, work.estimate)
        self.counts.running += 1

    def done(self, work: Sequence[Entry | Call], seconds: float) -> None:
        """Notes that work taken by `next` is over and how long it took."""
        with self._changed:
            counts = self.counts
            counts.running -= len(work)
            counts.items += len(work)
            counts.busy_seconds += seconds
            rate = sum(one.estimate for one in work) / max(seconds, 1e-6)
            old = counts.tokens_per_second
            counts.tokens_per_second = rate if not old else old + _NEWEST * (rate - old)
            self._changed.notify_all()

    def passed(self, embedded: int, tokens: int) -> None:
        """Notes one forward pass."""
        with self._changed:
            self.counts.passes += 1
            self.counts.embedded += embedded
            self.counts.tokens += tokens

    # Coming to an end

    def stats(self) -> EngineStats:
        """A snapshot."""
        with self._changed:
            return replace(self.counts, prepared=len(self._ahead.entries))

    def drain(self) -> None:
        """Takes nothing new from now on."""
        with self._changed:
            self.counts.draining = True
            self._changed.notify_all()

    def wait_empty(self, seconds: float) -> bool:
        """Waits until every request is over; whether that came about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tickets, seconds)

    def close(self) -> None:
        """Ends `next`, and fails what is left."""
        with self._changed:
            self.counts.draining = self._closed = True
            left = list(self._tickets)
            self._changed.notify_all()
        for ticket in left:
            ticket.fail(Draining("the service was stopped before this request was answered"))


def _has_media(entry: Entry) -> bool:
    return entry.item.modalities != {"text"}
