"""For scripts that run as several ranks: one of them runs out of memory, at different places of a step."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from towers import Tower, make_batch

from sightline.errors import TrainingError
from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.distributed import PeerError, Ranks, share
from sightline.training.engine import Engine
from sightline.training.limits import Limits
from sightline.training.step import Step
from sightline.training.weights import Replicated, whole_weights
from sightline.types import Batch, Embeddings, MicroBatch

# Calls of the model on the last rank that fail, from 1, and whether in the forward or the backward pass. The first
# measure what a pass takes; those of the first batch follow, then those of the second.
PLACES = {"measuring": (1, "forward"), "embedding": (7, "forward"), "going back": (6, "backward")}


def sharded(model: Tower) -> Tower:
    for part in (model.text, model.image, model):
        fully_shard(part)
    return model


class Hungry(Tower):
    """Has no memory for its ``at``-th call on the last rank; 0 for none of those that have a graph."""

    def __init__(self, ranks: Ranks, at: int, where: str) -> None:
        super().__init__()
        self.last = ranks.rank == ranks.size - 1
        self.at, self.where = at, where
        self.calls = 0

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        self.calls += 1
        if self.last and self.where == "forward" and self.calls == self.at:
            raise torch.OutOfMemoryError("no room")
        found = super().forward(micro_batch)
        if self.last and self.where == "backward" and torch.is_grad_enabled() and self.calls >= self.at:
            found.values.register_hook(self.fail)
        return found

    def fail(self, gradient: Tensor) -> Tensor:
        if self.at:
            self.at = 0
            raise torch.OutOfMemoryError("no room")
        return gradient


class Starved(Hungry):
    """Never has memory for a graph on the last rank."""

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        if self.last and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("no room")
        return super().forward(micro_batch)


class Trainee:
    """A model and an engine that accumulates two batches as the trainer does."""

    def __init__(self, model: Tower, ranks: Ranks, folder: str) -> None:
        self.model, self.ranks = model, ranks
        self.own: Sequence[Any] = ()
        args = TrainingArguments(output_dir=folder, use_cpu=True, dataloader_num_workers=0, report_to="none")
        self.limits = Limits(max_items=4)
        self.told: list[str] = []
        self.engine = Engine(
            InfoNCE(), args, self.limits, rebuild=self.planned, tell=self.told.append, ranks=ranks
        )

    def planned(self, _: Batch) -> Batch:
        assert self.limits.max_items is not None
        return make_batch(self.own, per_group=self.limits.max_items)

    def run(self, batches: Sequence[Sequence[tuple[int, ...]]]) -> None:
        for number, rows in enumerate(batches):
            self.own = rows[share(len(rows), self.ranks.rank, self.ranks.size)]
            whole_weights(self.model)
            self.engine.step(
                self.model, self.planned(Batch.empty()), share=1 / len(batches), scale=1 / len(batches),
                sync=number == len(batches) - 1,
            )  # fmt: skip


def alone(model: nn.Module, batches: Sequence[Sequence[tuple[int, ...]]]) -> Tower:
    """The same in one process that has room for everything."""
    found = Tower()
    found.load_state_dict(model.state_dict())
    for rows in batches:
        Step().run(found, make_batch(rows, per_group=100), InfoNCE(), scale=1 / len(batches))
    return found


def undone_on_all(
    ranks: Ranks, kind: str, place: str, batches: Sequence[Sequence[tuple[int, ...]]]
) -> tuple[nn.Module, Tower]:
    """The model after steps of which one was undone, and one that was alone."""
    model = Hungry(ranks, *PLACES[place])
    Replicated(model, ranks)
    expected = alone(model, batches)
    with tempfile.TemporaryDirectory() as folder:
        trainee = Trainee(sharded(model) if kind == "sharded" else model, ranks, folder)
        trainee.run(batches)
    limits = ranks.exchange((trainee.limits.token_budget, trainee.limits.max_items))
    assert len(set(limits)) == 1, f"ranks go on with other limits: {limits}"
    assert limits[0][1] in (1, 2), "the step was repeated in smaller pieces"
    said = [line for line in trainee.told if line.startswith("Out of memory")]
    assert len(said) == 1, said
    assert "no room" in said[0]
    return model, expected


def ends_all(ranks: Ranks, kind: str, rows: Sequence[tuple[int, ...]]) -> None:
    """A rank that has no memory for one item ends the others with its reason."""
    model = Starved(ranks, 0, "")
    Replicated(model, ranks)
    with tempfile.TemporaryDirectory() as folder:
        trainee = Trainee(sharded(model) if kind == "sharded" else model, ranks, folder)
        with pytest.raises(TrainingError, match=r"out of memory: the item in row .* does not fit") as caught:
            trainee.run([rows])
    assert isinstance(caught.value, PeerError) != model.last
