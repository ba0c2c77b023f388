"""Forward passes of encoding: items prepared, planned and padded in a thread, under a budget that follows the memory.

The budget is what suits the device until memory does not last for a pass; from then on it is half of that pass.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import torch

from sightline.errors import ItemMemoryError
from sightline.inputs.planning import plan
from sightline.inputs.threads import single_threaded
from sightline.models.devices import float32, number_type
from sightline.models.encoding_progress import Meter
from sightline.models.encoding_windows import Slice, slices, windows
from sightline.models.repetition import needs_float32
from sightline.types import Cost, Features, Item, MicroBatch

logger = logging.getLogger(__name__)

# Padded positions per forward pass. On a CPU small passes stay in cache; a GPU wants to be filled.
CPU_TOKENS = 4_096
GPU_TOKENS = 65_536
# Items prepared together: some forward passes of texts of 128 tokens, or of pages of 1,024. Few, so that the model
# starts soon; more than one pass, so that items of like length find each other.
TEXT_PASSES = 16
MEDIA_PASSES = 4
# Threads that open media for a GPU; for a model on the CPU there is one, which is busy enough itself.
MEDIA_THREADS = 8

_MOST: ContextVar[int | None] = ContextVar("most_tokens", default=None)


@contextmanager
def at_most(tokens: int | None) -> Iterator[None]:
    """Inside, passes whose budget nobody has set have so many positions at most; None changes nothing.

    For what knows how much memory there is, around what encodes without asking.
    """
    before = _MOST.set(tokens)
    try:
        yield
    finally:
        _MOST.reset(before)


class Runner(Protocol):
    """What the engine needs of a model that turns micro-batches into something."""

    training: bool

    @property
    def device(self) -> torch.device: ...
    @property
    def preprocessor(self) -> Any: ...
    @property
    def collate(self) -> Callable[[Sequence[Features], Sequence[int]], MicroBatch]: ...
    @property
    def packed_groups(self) -> frozenset[str]: ...
    def train(self, mode: bool = True) -> Any: ...


class Pass(NamedTuple):
    """A micro-batch, and whether it may be embedded in the number type that was asked for."""

    batch: MicroBatch
    low: bool


@dataclass(frozen=True)
class Prepared:
    """A slice that is ready to be embedded: what each of its items costs, and its forward passes."""

    piece: Slice
    costs: list[Cost]
    passes: list[Pass]


class _Padding(NamedTuple):
    """How items are padded for passes in one number type, and the groups that are not."""

    collate: Callable[[Sequence[Features], Sequence[int]], MicroBatch]
    packed: frozenset[str]


class Preparation:
    """Makes forward passes of items, in a thread; a context, at whose end the thread ends.

    Args:
        model: whose preprocessor and plan.
        role, prompt: of the items.
        token_budget: positions per pass; None for what suits the device, and what `at_most` allows.
        bf16: whether passes may be in bfloat16, where their items allow it.
    """

    def __init__(
        self, model: Runner, *, role: str | None, prompt: str | None, token_budget: int | None, bf16: bool
    ) -> None:
        self._device = model.device
        self._preprocess = model.preprocessor
        # What runs without padding hangs on the number type: some kernels compute in half precision only.
        with number_type(model.device, bf16):
            self._low = _Padding(model.collate, model.packed_groups)
        self._exact = self._low
        if bf16:
            with float32(model.device):
                self._exact = _Padding(model.collate, model.packed_groups)
        self._role, self._prompt, self._bf16 = role, prompt, bf16
        on_cpu = self._device.type == "cpu"
        if token_budget is None:
            token_budget = CPU_TOKENS if on_cpu else GPU_TOKENS
            token_budget = min(token_budget, _MOST.get() or token_budget)
        self.budget = token_budget
        self._threads = 1 if on_cpu else max(1, min(MEDIA_THREADS, (os.cpu_count() or 2) - 1))
        self._told = False
        self._context = ExitStack()
        self._openers: ThreadPoolExecutor
        self._preparer: ThreadPoolExecutor

    def __enter__(self) -> Self:
        self._openers = self._context.enter_context(single_threaded(self._threads, "sightline-open"))
        self._preparer = self._context.enter_context(single_threaded(1, "sightline-prepare"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def slices(self, stream: Iterator[Item], meter: Meter) -> Iterator[Prepared]:
        """Slices with their forward passes; the next is prepared while one is embedded.

        The stream is read here, in the caller's thread: what feeds it may not like another one.
        """
        texts = max(256, TEXT_PASSES * self.budget // 128)
        media = max(8, MEDIA_PASSES * self.budget // 1_024)
        coming: Future[Prepared] | None = None
        for window in windows(stream):
            meter.read(window)
            for piece in slices(window, texts=texts, media=media):
                now, coming = coming, self._preparer.submit(self._prepare, piece, self.budget)
                if now is not None:
                    yield now.result()
        if coming is not None:
            yield coming.result()

    def smaller(self, piece: Slice, left: Sequence[Pass], reason: str) -> list[Pass]:
        """Other passes over the same items, after a lack of memory in the first of some.

        Args:
            piece: the slice they are of.
            left: what is still to be embedded.
            reason: what the allocator said.

        Raises:
            ItemMemoryError: the first is one item alone; names it.
        """
        failed = left[0].batch
        if len(failed) == 1:
            item = piece.window.items[int(failed.indices[0])]
            patches = f" and {failed.cost.patches:,} patches" if failed.cost.patches else ""
            raise ItemMemoryError(
                f"it does not fit into memory even alone ({failed.cost.tokens:,} tokens{patches}; {reason}); shorten "
                "or shrink it, or lower the model's length or pixel limit",
                source=item.source,
            )
        if failed.cost.total <= self.budget:  # else it was planned before an earlier lack
            self.budget = max(1, failed.cost.total // 2)
        logger.log(
            logging.DEBUG if self._told else logging.WARNING,
            "Out of memory in a forward pass over %d items, %d tokens (%s). Encoding goes on with at most %d tokens "
            "per pass, or less where that is too much as well.",
            len(failed), failed.cost.total, reason, self.budget,
        )  # fmt: skip
        self._told = True
        return self._again(piece, left)

    def _again(self, piece: Slice, left: Sequence[Pass]) -> list[Pass]:
        # Made of the items anew: features kept just in case would take as much memory as the passes. In the same
        # thread as ever, because tokenizers serve one at a time.
        numbers = [int(number) for one in left for number in one.batch.indices]
        rest = Slice(piece.window, numbers, piece.last)
        return self._preparer.submit(self._prepare, rest, self.budget).result().passes

    def _prepare(self, piece: Slice, budget: int) -> Prepared:
        items = [piece.window.items[number] for number in piece.numbers]
        if self._threads > 1 and items and items[0].modalities != {"text"}:
            alone = [[item] for item in items]
            made = [one for some in self._openers.map(self._features, alone) for one in some]
        else:
            made = self._features(items)
        costs = [one.cost for one in made]
        exact = [self._bf16 and needs_float32(*pair) for pair in zip(items, made, strict=True)]
        passes: list[Pass] = []
        for low, padding in ((True, self._low), (False, self._exact)):
            some = [row for row in range(len(made)) if exact[row] is not low]
            groups = [made[row].group for row in some]
            for rows in plan(
                [costs[row] for row in some], groups, token_budget=budget, packed=padding.packed
            ):
                chosen = [some[row] for row in rows]
                batch = padding.collate([made[row] for row in chosen], [piece.numbers[row] for row in chosen])
                passes.append(Pass(_pin(batch) if self._device.type == "cuda" else batch, low))
        return Prepared(piece, costs, passes)

    def _features(self, items: list[Item]) -> list[Features]:
        found: list[Features] = self._preprocess.many(items, role=self._role, prompt=self._prompt)
        return found


def _pin(batch: MicroBatch) -> MicroBatch:
    """With features in page-locked memory, from which a GPU copies on its own."""
    for name, value in batch.features.items():
        if isinstance(value, torch.Tensor):
            batch.features[name] = value.pin_memory()
    return batch
