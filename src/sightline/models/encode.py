"""Encoding many items: read, prepared and embedded window by window, so that memory does not grow with their number.

While the model embeds one slice of a window, a thread prepares the next (tokenizing, decoding, padding,
pinning); vectors leave the device once per window.

Shape letters: N inputs, n items of a window, D components.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from sightline.errors import ConfigError, InputError
from sightline.models.devices import float32, number_type
from sightline.models.encoding_output import FileOutput, MemoryOutput, Output
from sightline.models.encoding_passes import Pass, Preparation, Runner
from sightline.models.encoding_progress import Meter, Report, reporting
from sightline.models.encoding_windows import Window
from sightline.models.items import Items
from sightline.models.out_of_memory import is_out_of_memory, reason_of, recover
from sightline.modules.token_pooling import TokenPooling
from sightline.types import Embeddings, Item, MicroBatch


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
        ItemMemoryError: an item for which memory does not last even alone.
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
    with Preparation(
        encoder,
        role=settings.role,
        prompt=settings.prompt,
        token_budget=settings.token_budget,
        bf16=settings.bf16,
    ) as preparation:
        for prepared in preparation.slices(stream, meter):
            piece, window = prepared.piece, prepared.piece.window
            meter.prepared([window.items[number] for number in piece.numbers], prepared.costs)
            passes = deque(prepared.passes)
            with torch.inference_mode(), number_type(device, settings.bf16):
                while passes:
                    found = _tried(encoder, passes[0], settings)
                    if isinstance(found, str):
                        passes = deque(preparation.smaller(piece, passes, found))
                        continue
                    batch = passes.popleft().batch
                    pieces.append(found)
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


def _tried(encoder: Embedder, one: Pass, settings: Settings) -> Embeddings | str:
    """What a forward pass gives, or what the allocator said; in that case nothing holds its tensors any more."""
    try:
        return _embedded(encoder, one, settings)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = reason_of(error)
    recover(reason)
    return reason


def _embedded(encoder: Embedder, one: Pass, settings: Settings) -> Embeddings:
    with nullcontext() if one.low else float32(encoder.device):
        embedded = encoder(one.batch)
    values = embedded if settings.dim is None else embedded.truncate(settings.dim)
    values = Embeddings(values.values.float(), values.mask)
    values = (values.normalize() if settings.normalize else values).compact()
    if settings.token_pooling is not None:
        values = settings.token_pooling.pool(values, role=settings.role)
    return values


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
