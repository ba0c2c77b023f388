"""Encoding many items: read, prepared and embedded window by window, so that memory does not grow with their number.

While the model embeds one slice of a window, a thread prepares the next (tokenizing, decoding, padding,
pinning); vectors leave the device once per window.

Shape letters: N inputs, n items of a window, D components.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from sightline.errors import ConfigError, InputError
from sightline.inputs.planning import plan
from sightline.inputs.threads import single_threaded
from sightline.models.devices import float32, number_type
from sightline.models.encoding_output import FileOutput, MemoryOutput, Output
from sightline.models.encoding_progress import Meter, Report, reporting
from sightline.models.encoding_windows import Slice, Window, slices, windows
from sightline.models.items import Items
from sightline.models.repetition import needs_float32
from sightline.modules.token_pooling import TokenPooling
from sightline.types import Cost, Embeddings, Features, Item, MicroBatch

# Padded positions per forward pass. On a CPU small passes stay in cache; a GPU wants to be filled.
CPU_TOKENS = 4_096
GPU_TOKENS = 65_536
# Items prepared together: some forward passes of texts of 128 tokens, or of pages of 1,024. Few, so that the model
# starts soon; more than one pass, so that items of like length find each other.
TEXT_PASSES = 16
MEDIA_PASSES = 4
# Threads that open media for a GPU; for a model on the CPU there is one, which is busy enough itself.
MEDIA_THREADS = 8


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


class Embedder(Runner, Protocol):
    """What encoding needs of an encoder."""

    @property
    def embedding_dim(self) -> int: ...
    def __call__(self, micro_batch: MicroBatch) -> Embeddings: ...


@dataclass(frozen=True)
class Settings:
    """How items are embedded; see `Encoder.encode`."""

    role: str | None = None
    prompt: str | None = None
    token_budget: int | None = None
    dim: int | None = None
    normalize: bool = False
    bf16: bool = False
    token_pooling: TokenPooling | None = None
    output: str | Path | None = None
    progress: bool | Report | None = None
    title: str = "Encoding"  # in front of the progress bar

    def check(self, width: int, *, multi_vector: bool) -> None:
        """Refuses what a model cannot follow.

        Args:
            width: components of its vectors.
            multi_vector: whether it gives one per token.

        Raises:
            InputError: a dimension it does not have.
            ConfigError: a setting for models of the other kind.
        """
        if self.dim is not None and not 1 <= self.dim <= width:
            raise InputError(f"truncate_dim must be between 1 and {width}, not {self.dim}")
        if self.output is not None and multi_vector:
            raise ConfigError("this model gives a vector per token; a .npy file holds one vector per item")
        if self.token_pooling is not None and not multi_vector:
            raise ConfigError(
                "token_pooling is for models that give a vector per token; this one gives one per item"
            )


def encode_items(encoder: Embedder, items: Items, settings: Settings) -> Embeddings:
    """Embeds items; equal items are embedded once.

    Returns:
        Embeddings (N, D), or (N, T, D) with a mask, on the CPU in the order of the items.

    Raises:
        InputError: an item the model does not take; names its source.
        ConfigError: a token budget below 1, an output that cannot be written, a device without bfloat16.
    """
    width = settings.dim or encoder.embedding_dim
    output: Output = (
        MemoryOutput(items.count, width) if settings.output is None else FileOutput(settings.output, width)
    )
    was_training = encoder.training
    encoder.train(False)
    try:
        with reporting(settings.progress, items.count, settings.title) as report:
            meter = Meter(items.count, encoder.preprocessor.max_tokens, report)
            _run(encoder, items.stream, settings, output, meter)
        return output.finish()
    finally:
        encoder.train(was_training)
        output.close()


def _run(encoder: Embedder, stream: Iterator[Item], settings: Settings, output: Output, meter: Meter) -> None:
    device = encoder.device
    pieces: list[Embeddings] = []
    order: list[int] = []
    leaving: _Leaving | None = None
    for piece, costs, batches in _prepared(encoder, stream, settings, meter):
        window = piece.window
        meter.prepared([window.items[number] for number in piece.numbers], costs)
        with torch.inference_mode(), number_type(device, settings.bf16):
            for batch, low in batches:
                with nullcontext() if low else float32(device):
                    embedded = encoder(batch)
                values = embedded if settings.dim is None else embedded.truncate(settings.dim)
                values = Embeddings(values.values.float(), values.mask)
                values = (values.normalize() if settings.normalize else values).compact()
                if settings.token_pooling is not None:
                    values = settings.token_pooling.pool(values, role=settings.role)
                pieces.append(values)
                order += (numbers := batch.indices.tolist())
                meter.done(sum(window.copies[number] for number in numbers), batch.cost)
        if piece.last:
            # The window before this one is written while the device works on this one.
            if leaving is not None:
                leaving.write(output)
            leaving = _Leaving(window, pieces, order)
            pieces, order = [], []
    if leaving is not None:
        leaving.write(output)


class _Pass(NamedTuple):
    """A micro-batch, and whether it may be embedded in the number type that was asked for."""

    batch: MicroBatch
    low: bool


class _Leaving:
    """The vectors of a window on their way from the device."""

    def __init__(self, window: Window, pieces: list[Embeddings], order: list[int]) -> None:
        self.window = window
        self.embeddings: Embeddings | None = None
        self._there: torch.cuda.Event | None = None
        if not pieces:
            return
        with torch.inference_mode():
            back = torch.empty(len(order), dtype=torch.long)
            back[torch.tensor(order)] = torch.arange(len(order))
            joined = Embeddings.concatenate(pieces)[back.to(pieces[0].values.device)]
            if joined.values.device.type != "cuda":
                self.embeddings = joined.to("cpu")
                return
            self.embeddings = Embeddings(
                _pinned(joined.values), None if joined.mask is None else _pinned(joined.mask)
            )
            self._there = torch.cuda.Event()
            self._there.record(torch.cuda.current_stream(joined.values.device))

    def write(self, output: Output) -> None:
        """Adds a vector per input, also for those that stand for an item more than once."""
        if self._there is not None:
            self._there.synchronize()
        places = self.window.places
        earlier = [-1 - place for place in places if place < 0]
        parts = [] if self.embeddings is None else [self.embeddings]
        if earlier:
            parts.append(output.rows(earlier))
        found = parts[0] if len(parts) == 1 else Embeddings.concatenate(parts)
        if earlier or len(self.window.items) < len(places):
            new, repeated = len(self.window.items), 0
            rows = []
            for place in places:
                rows.append(place if place >= 0 else new + repeated)
                repeated += place < 0
            found = found[torch.tensor(rows)]
        output.add(found)


def _pinned(values: torch.Tensor) -> torch.Tensor:
    there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return there.copy_(values, non_blocking=True)


def _prepared(
    encoder: Embedder, stream: Iterator[Item], settings: Settings, meter: Meter
) -> Iterator[tuple[Slice, list[Cost], list[_Pass]]]:
    """Slices with their costs and forward passes; the next is prepared while one is embedded.

    The stream is read here, in the caller's thread: what feeds it may not like another one.
    """
    device, preprocess, collate = encoder.device, encoder.preprocessor, encoder.collate
    packed = encoder.packed_groups
    budget = settings.token_budget
    if budget is None:
        budget = CPU_TOKENS if device.type == "cpu" else GPU_TOKENS
    texts, media = max(256, TEXT_PASSES * budget // 128), max(8, MEDIA_PASSES * budget // 1_024)
    threads = 1 if device.type == "cpu" else max(1, min(MEDIA_THREADS, (os.cpu_count() or 2) - 1))

    def features(items: list[Item]) -> list[Features]:
        return preprocess.many(items, role=settings.role, prompt=settings.prompt)

    def prepare(piece: Slice) -> tuple[list[Cost], list[_Pass]]:
        items = [piece.window.items[number] for number in piece.numbers]
        if threads > 1 and items and items[0].modalities != {"text"}:
            made = [one for some in openers.map(features, [[item] for item in items]) for one in some]
        else:
            made = features(items)
        costs = [one.cost for one in made]
        exact = [settings.bf16 and needs_float32(*pair) for pair in zip(items, made, strict=True)]
        passes: list[_Pass] = []
        for low in (True, False):
            some = [row for row in range(len(made)) if exact[row] is not low]
            groups = [made[row].group for row in some]
            for rows in plan([costs[row] for row in some], groups, token_budget=budget, packed=packed):
                chosen = [some[row] for row in rows]
                batch = collate([made[row] for row in chosen], [piece.numbers[row] for row in chosen])
                passes.append(_Pass(_pin(batch) if device.type == "cuda" else batch, low))
        return costs, passes

    with (
        single_threaded(threads, "sightline-open") as openers,
        single_threaded(1, "sightline-prepare") as preparer,
    ):
        coming: tuple[Slice, Future[tuple[list[Cost], list[_Pass]]]] | None = None
        for window in windows(stream):
            meter.read(window)
            for piece in slices(window, texts=texts, media=media):
                now, coming = coming, (piece, preparer.submit(prepare, piece))
                if now is not None:
                    yield now[0], *now[1].result()
        if coming is not None:
            yield coming[0], *coming[1].result()


def _pin(batch: MicroBatch) -> MicroBatch:
    """With features in page-locked memory, from which a GPU copies on its own."""
    for name, value in batch.features.items():
        if isinstance(value, torch.Tensor):
            batch.features[name] = value.pin_memory()
    return batch
