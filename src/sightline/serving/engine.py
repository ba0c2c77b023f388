"""Dynamic batching: one thread runs the model, requests gather while it is busy, and the next pass takes of them what
fits under a token budget.

Shape letters: N items, D components, L labels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sightline.errors import ConfigError, InputError
from sightline.inputs.pairs import parse_pair
from sightline.inputs.parse import parse
from sightline.inputs.planning import plan
from sightline.inputs.threads import single_threaded
from sightline.models.encode import Settings
from sightline.models.encoding_passes import GPU_TOKENS
from sightline.serving.abilities import Abilities
from sightline.serving.backlog import Backlog, EngineStats
from sightline.serving.lanes import Lane, encoder_lane, reranker_lane
from sightline.serving.refused import Busy, Draining, TimedOut
from sightline.serving.work import Answer, Call, Entry, Ticket, entries_of
from sightline.types import Item

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder
    from sightline.models.reranker import Reranker

__all__ = ["Answer", "Busy", "Draining", "Engine", "EngineStats", "TimedOut"]

_Result = TypeVar("_Result")
_log = logging.getLogger("sightline.serving")

# Positions per pass. A query waits for the pass before its own, so passes are no longer than they need to be for speed.
CPU_TOKENS = 1_024
# Threads that prepare items for a GPU; each has a tokenizer of its own. Beside a model on the CPU there is one.
GPU_PREPARERS = 4


class Engine:
    """Runs an encoder and a reranker for many callers at once; every method may be called on any thread.

    Vectors and scores are those of `Encoder.encode` and `Reranker.predict`, whoever shares the pass. An item that the
    model cannot read fails the request it came with and no other.

    Args:
        encoder: embeds; None for an engine that only reranks.
        reranker: scores pairs.
        token_budget: padded positions per forward pass; by default what suits the device.
        max_queue: items that may wait; more are refused as `Busy`.
        max_queue_bytes: likewise bytes of texts and media.
        timeout_s: seconds a request may take; None for no limit.
        max_wait_ms: how long a pass that is not full waits for company. While the model works requests gather by
            themselves, so waiting gains nothing under load and costs its time without.
        bf16: matrix products in bfloat16.

    Attributes:
        abilities: what the encoder takes and gives; None without one.

    Raises:
        ConfigError: neither model, or a limit below 1.
    """

    def __init__(
        self,
        encoder: Encoder | None,
        reranker: Reranker | None = None,
        *,
        token_budget: int | None = None,
        max_queue: int = 1_024,
        max_queue_bytes: int = 256 * 2**20,
        timeout_s: float | None = 30.0,
        max_wait_ms: float = 0.0,
        bf16: bool = False,
    ) -> None:
        model = encoder if encoder is not None else reranker
        if model is None:
            raise ConfigError("an engine needs an encoder or a reranker")
        on_cpu = model.device.type == "cpu"
        budget = token_budget or (CPU_TOKENS if on_cpu else GPU_TOKENS)
        if budget < 1 or max_queue < 1 or max_queue_bytes < 1:
            raise ConfigError("token_budget, max_queue and max_queue_bytes must be at least 1")
        for one in (encoder, reranker):
            if one is not None:
                one.eval()
        self.encoder = encoder
        self.reranker = reranker
        self.abilities = None if encoder is None else Abilities.of(encoder)
        self._pair_modalities = () if reranker is None else reranker.modalities
        self.timeout_s = timeout_s
        self._embedding = None if encoder is None else encoder_lane(encoder, bf16=bf16)
        self._scoring = None if reranker is None else reranker_lane(reranker, bf16=bf16)
        self._backlog = Backlog(
            max_items=max_queue,
            max_bytes=max_queue_bytes,
            token_budget=budget,
            max_wait_s=max_wait_ms / 1_000,
        )
        preparers = 1 if on_cpu else max(1, min(GPU_PREPARERS, (os.cpu_count() or 2) - 1))
        self._preparers = single_threaded(preparers, "sightline-serve-prepare")
        self._thread = threading.Thread(target=self._serve, name="sightline-serve-model", daemon=True)
        self._thread.start()

    # Asking

    async def embed(
        self, items: Sequence[Any], role: str | None = "document", dim: int | None = None
    ) -> np.ndarray:
        """Vectors (N, D) of items, those of ``Encoder.encode(items, role=role, truncate_dim=dim)``.

        Args:
            items: Items, or what `inputs.parse.parse` takes; a plain str may name a file there, so what strangers
                send comes as ``{"text": ...}``.
            role: ``query`` or ``document``.
            dim: keep the first components only.

        Raises:
            InputError: an item the model does not take, more of them than the queue holds, a dimension it does not
                have; an encoder that gives a vector per token (use `embedded`).
            Busy, TimedOut, Draining: no answer now.
        """
        if self.abilities is not None and self.abilities.multi_vector:
            raise InputError("this model gives a vector per token; ask for `embedded`")
        answer = await self.embedded(items, role, dim)
        return np.stack(answer.rows) if answer.rows else np.zeros((0, self._width(dim)), np.float32)

    async def embedded(
        self, items: Sequence[Any], role: str | None = "document", dim: int | None = None
    ) -> Answer:
        """As `embed`, with the number of tokens; rows are vectors (D,), or (T, D) of a multi-vector model."""
        answer: Answer = await self._answer(partial(self._ask_vectors, items, role, dim))
        return answer

    async def score(self, pairs: Sequence[Any]) -> np.ndarray:
        """Scores (N,), or (N, L) of a model with several labels, of (query, document) pairs: `Reranker.predict`'s.

        Raises:
            InputError: something that is no pair of what the model reads.
            ConfigError: there is no reranker.
            Busy, TimedOut, Draining: no answer now.
        """
        return self.scores(await self.scored(pairs))

    async def scored(self, pairs: Sequence[Any]) -> Answer:
        """As `score`, with the number of tokens; rows are scores (L,)."""
        answer: Answer = await self._answer(partial(self._ask_scores, pairs))
        return answer

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """What ``function`` returns or raises, run on the model's thread when its turn comes.

        Raises:
            Busy, TimedOut, Draining: no answer now.
        """
        answer: _Result = await self._answer(partial(self._ask_run, function))
        return answer

    def embedded_now(
        self, items: Sequence[Any], role: str | None = "document", dim: int | None = None
    ) -> Answer:
        """As `embedded`, for a thread that may wait; not for an event loop's."""
        answer: Answer = self._wait(self._ask_vectors(items, role, dim))
        return answer

    def scored_now(self, pairs: Sequence[Any]) -> Answer:
        """As `scored`, for a thread that may wait."""
        answer: Answer = self._wait(self._ask_scores(pairs))
        return answer

    def scores(self, answer: Answer) -> np.ndarray:
        """The scores (N,) or (N, L) of an answer of `scored`."""
        assert self.reranker is not None
        labels = self.reranker.num_labels
        scores_NL = np.stack(answer.rows) if answer.rows else np.zeros((0, labels), np.float32)
        return scores_NL[:, 0] if labels == 1 else scores_NL

    # State

    def stats(self) -> EngineStats:
        """A snapshot for metrics."""
        return self._backlog.stats()

    async def drain(self, seconds: float) -> bool:
        """Takes nothing new, finishes what was accepted, and stops; whether that was done in time.

        What is unfinished after ``seconds`` fails with `Draining`.
        """
        self._backlog.drain()
        finished = await asyncio.to_thread(self._backlog.wait_empty, seconds)
        await asyncio.to_thread(self.close)
        return finished

    def close(self) -> None:
        """Stops at once; what is unfinished fails with `Draining`. The pass the model is in is waited for."""
        self._backlog.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._preparers.shutdown(wait=True)

    # Into the queue

    def _ask_vectors(self, items: Sequence[Any], role: str | None, dim: int | None) -> Future[Any]:
        encoder, lane, able = self.encoder, self._embedding, self.abilities
        if encoder is None or lane is None or able is None:
            raise ConfigError("this engine has no encoder")
        cut = dim or encoder.truncate_dim
        Settings(dim=cut).check(able.dim, multi_vector=able.multi_vector)
        self._check_number(items)
        taken = able.modalities
        parsed = [
            parse(value, source=f"input {number}", modalities=taken) for number, value in enumerate(items)
        ]
        return self._queue(lane, parsed, role, encoder.prompt_for(role), cut)

    def _ask_scores(self, pairs: Sequence[Any]) -> Future[Any]:
        reranker, lane = self.reranker, self._scoring
        if reranker is None or lane is None:
            raise ConfigError("this engine has no reranker")
        self._check_number(pairs)
        taken = self._pair_modalities
        parsed = [
            parse_pair(value, source=f"pair {number}", modalities=taken) for number, value in enumerate(pairs)
        ]
        return self._queue(lane, parsed, None, reranker.prompt_for(), None)

    def _ask_run(self, function: Callable[[], Any]) -> Future[Any]:
        ticket = Ticket(Future())
        self._backlog.add(ticket, [Call(ticket, function)])
        return ticket.future

    def _check_number(self, items: Sequence[Any]) -> None:
        limit = self._backlog.max_items
        if len(items) > limit:
            raise InputError(
                f"{len(items)} items are more than the queue holds ({limit}); send them in several requests"
            )
        self._backlog.check(len(items))  # before anything is done for a request that would be refused

    def _queue(
        self, lane: Lane, items: Sequence[Item], role: str | None, prompt: str | None, dim: int | None
    ) -> Future[Any]:
        ticket = Ticket(Future(), dim)
        if not items:
            ticket.finish(Answer((), 0))
            return ticket.future
        self._backlog.add(ticket, entries_of(ticket, lane, items, role, prompt))
        # What a request leaves unfinished may be room to prepare others.
        ticket.future.add_done_callback(lambda done: None if _answered(done) else self._pump())
        self._pump()
        return ticket.future

    # Waiting for an answer

    async def _answer(self, ask: Callable[[], Future[Any]]) -> Any:
        future = ask()
        try:
            # Cancelling the waiting one, also by the timeout, cancels the future, and so the work.
            return await asyncio.wait_for(asyncio.wrap_future(future), self.timeout_s)
        except TimeoutError:
            raise self._too_slow() from None

    def _wait(self, future: Future[Any]) -> Any:
        try:
            return future.result(self.timeout_s)
        except FutureTimeoutError:
            if not future.cancel():
                return future.result()
            raise self._too_slow() from None

    def _too_slow(self) -> TimedOut:
        return TimedOut(
            f"there was no answer within {self.timeout_s:g} s; try again with fewer items, or later"
        )

    def _width(self, dim: int | None) -> int:
        assert self.abilities is not None
        return dim or self.abilities.given_dim

    # Preparing

    def _pump(self) -> None:
        with contextlib.suppress(RuntimeError):  # closed meanwhile, and everybody has been told
            self._preparers.submit(self._prepare)

    def _prepare(self) -> None:
        """Prepares what should be prepared now; runs whenever that may have changed."""
        while entries := self._backlog.to_prepare():
            try:
                self._features(entries)
            except Exception as error:
                _log.exception("preparing failed unexpectedly")
                for entry in entries:
                    entry.ticket.fail(error)
            finally:
                self._backlog.prepared(entries)

    def _features(self, entries: Sequence[Entry]) -> None:
        unique = {entry.identity: entry for entry in entries}
        lane, role, prompt = entries[0].lane, entries[0].role, entries[0].prompt
        try:
            made = lane.prepare([entry.item for entry in unique.values()], role, prompt)
        except Exception:  # whatever a library raises on one of them, the others are not to pay for it
            self._one_by_one(entries)
            return
        features = dict(zip(unique, made, strict=True))
        for entry in entries:
            entry.features = features[entry.identity]

    def _one_by_one(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.ticket.dead:
                continue
            try:
                [entry.features] = entry.lane.prepare([entry.item], entry.role, entry.prompt)
            except Exception as error:
                entry.ticket.fail(error)

    # The model's thread

    def _serve(self) -> None:
        while (work := self._backlog.next()) is not None:
            self._pump()
            started = time.perf_counter()
            if isinstance(work, Call):
                work.run()
                self._backlog.done([work], time.perf_counter() - started)
                continue
            try:
                self._embed(work)
            except Exception as error:
                _log.exception("a pass failed unexpectedly")
                for entry in work:
                    entry.ticket.fail(error)
            finally:
                self._backlog.done(work, time.perf_counter() - started)

    def _embed(self, entries: Sequence[Entry]) -> None:
        """Embeds entries of one lane; those that ask for the same thing get the same row."""
        same: dict[object, list[Entry]] = {}
        for entry in entries:
            same.setdefault(entry.identity, []).append(entry)
        kinds = list(same.values())
        features = [kind[0].features for kind in kinds]
        known = [one for one in features if one is not None]
        assert len(known) == len(kinds), "only prepared entries reach the model"
        passes = plan(
            [one.cost for one in known],
            [one.group for one in known],
            token_budget=self._backlog.token_budget,
            packed=entries[0].lane.packed,
        )
        # Who came first is not to wait for the longest text among those who came later.
        for rows in sorted(passes, key=lambda numbers: min(kinds[number][0].tag for number in numbers)):
            self._forward([kinds[number] for number in rows])

    def _forward(self, kinds: Sequence[Sequence[Entry]]) -> None:
        alive = [kind for kind in kinds if not all(entry.ticket.dead for entry in kind)]
        if not alive:
            return
        lane = alive[0][0].lane
        features = [kind[0].features for kind in alive]
        try:
            batch = lane.collate([one for one in features if one is not None], range(len(alive)))
            rows = lane.rows(batch)
        except Exception as error:
            if len(alive) == 1:
                _log.warning("the model failed on an item", exc_info=error)
                for entry in alive[0]:
                    entry.ticket.fail(error)
                return
            for kind in alive:  # out of memory, or one item that the model cannot take
                self._forward([kind])
            return
        self._backlog.passed(len(alive), batch.cost.tokens or batch.cost.patches)
        for number, row in zip(batch.indices.tolist(), rows, strict=True):
            for entry in alive[number]:
                entry.deliver(row)


def _answered(future: Future[Any]) -> bool:
    return not future.cancelled() and future.exception() is None
