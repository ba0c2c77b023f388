"""Encoding many items: length-planned windows, prepared one ahead, embedded in inference mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch

from sightline.inputs.planning import plan
from sightline.types import Embeddings, Features, Item, MicroBatch

# Padded positions per forward pass. On a CPU small passes stay in cache; a GPU wants to be filled.
CPU_TOKENS = 4_096
GPU_TOKENS = 65_536
# Items prepared together: enough to sort by length, few enough that their pixels fit in memory.
TEXT_WINDOW = 1_024
MEDIA_WINDOW = 64
# Items below which no progress bar is shown.
LONG_WORK = 256


class Embedder(Protocol):
    """What encoding needs of an encoder."""

    training: bool

    @property
    def device(self) -> torch.device: ...
    @property
    def preprocessor(self) -> Any: ...
    @property
    def collate(self) -> Callable[[Sequence[Features], Sequence[int]], MicroBatch]: ...
    @property
    def embedding_dim(self) -> int: ...
    def __call__(self, micro_batch: MicroBatch) -> Embeddings: ...
    def train(self, mode: bool = True) -> Any: ...


def encode_items(
    encoder: Embedder,
    items: Sequence[Item],
    *,
    role: str | None,
    prompt: str | None,
    token_budget: int | None,
    show_progress: bool | None,
    dim: int | None,
) -> Embeddings:
    """Embeds items; equal items are embedded once.

    Returns:
        Embeddings (N, dim) on the CPU in the order of ``items``.
    """
    if not items:
        return Embeddings(torch.zeros(0, dim or encoder.embedding_dim))
    row_of: dict[str, int] = {}
    distinct: list[Item] = []
    for item in items:
        if item.key not in row_of:
            row_of[item.key] = len(distinct)
            distinct.append(item)
    vectors = _embed(encoder, distinct, role, prompt, token_budget, show_progress, dim)
    if len(distinct) == len(items):
        return vectors
    return vectors[torch.tensor([row_of[item.key] for item in items])]


def _embed(
    encoder: Embedder,
    items: list[Item],
    role: str | None,
    prompt: str | None,
    token_budget: int | None,
    show_progress: bool | None,
    dim: int | None,
) -> Embeddings:
    budget = token_budget
    if budget is None:
        budget = CPU_TOKENS if encoder.device.type == "cpu" else GPU_TOKENS
    preprocess, collate = encoder.preprocessor, encoder.collate
    was_training = encoder.training
    encoder.train(False)
    pieces: list[Embeddings] = []
    order: list[int] = []
    try:
        with torch.inference_mode(), _Bar(len(items), show_progress) as advance:
            for window, features in _prefetched(
                items, lambda item: preprocess(item, role=role, prompt=prompt)
            ):
                costs = [one.cost for one in features]
                for rows in plan(costs, [one.group for one in features], token_budget=budget):
                    batch = collate([features[row] for row in rows], rows)
                    embedded = encoder(batch)
                    cut = embedded if dim is None else embedded.truncate(dim)
                    mask = None if cut.mask is None else cut.mask.cpu()
                    pieces.append(Embeddings(cut.values.float().cpu(), mask))
                    order += [window[row] for row in rows]
                    advance(len(rows))
    finally:
        encoder.train(was_training)
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    joined = Embeddings.concatenate(pieces)[back]
    # Inference tensors cannot enter a graph later on; a clone can.
    return Embeddings(joined.values.clone(), None if joined.mask is None else joined.mask.clone())


def _prefetched(items: list[Item], prepare: Any) -> Iterator[tuple[list[int], list[Features]]]:
    """Windows of item numbers with their features; the next window is prepared while this one is embedded."""
    windows = _windows(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="sightline-prepare") as pool:

        def submit(window: list[int]) -> Future[list[Features]]:
            return pool.submit(lambda: [prepare(items[number]) for number in window])

        coming = submit(windows[0])
        for number, window in enumerate(windows):
            features = coming.result()
            if number + 1 < len(windows):
                coming = submit(windows[number + 1])
            yield window, features


def _windows(items: list[Item]) -> list[list[int]]:
    """Items of like length together, longest first, so that padding is small and memory peaks at once."""

    def length(number: int) -> tuple[int, int]:
        parts = items[number].parts
        media = sum(part.modality != "text" for part in parts)
        return (-media, -sum(len(part.value) for part in parts if part.modality == "text"))

    order = sorted(range(len(items)), key=length)
    windows: list[list[int]] = []
    start = 0
    while start < len(order):
        media = any(part.modality != "text" for part in items[order[start]].parts)
        stop = start + (MEDIA_WINDOW if media else TEXT_WINDOW)
        windows.append(order[start:stop])
        start = stop
    return windows


class _Bar:
    """A rich progress bar on a terminal; silent elsewhere unless asked for."""

    def __init__(self, total: int, wanted: bool | None) -> None:
        import sys

        self.total = total
        self.shown = wanted if wanted is not None else total >= LONG_WORK and sys.stderr.isatty()

    def __enter__(self) -> Any:
        if not self.shown:
            return lambda count: None
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.bar.start()
        task = self.bar.add_task("Encoding", total=self.total)
        return lambda count: self.bar.advance(task, count)

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self.bar.stop()
