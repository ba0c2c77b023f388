"""Run by `test_step_ddp.py` in two processes: the step under DistributedDataParallel."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sightline.losses.contrastive import InfoNCE
from sightline.training.step import Step
from sightline.types import Batch, Cost, Embeddings, MicroBatch


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 5))

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        return Embeddings(self.layers(micro_batch.features["x"]))


def make_batch(rank: int) -> Batch:
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(rank))
    groups = torch.arange(12).split(3)
    return Batch(
        micro_batches=[MicroBatch({"x": x[group]}, group, Cost(3)) for group in groups],
        keys_N=torch.arange(12),
        columns_BC=torch.arange(12).reshape(6, 2),
        roles=("query", "document"),
    )


def main() -> None:
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    alone, tower = Tower(), Tower()
    tower.load_state_dict(alone.state_dict())
    for other in range(2):
        Step().run(alone, make_batch(other), InfoNCE(), scale=0.5)
        Step().run(alone, make_batch(other + 2), InfoNCE(), scale=0.5)
    expected = [parameter.grad / 2 for parameter in alone.parameters()]
    model = DistributedDataParallel(tower)
    for kept in (None, 0, 1, 3):
        model.zero_grad()
        Step(kept).run(model, make_batch(rank), InfoNCE(), scale=0.5, sync=False)
        Step(kept).run(model, make_batch(rank + 2), InfoNCE(), scale=0.5, sync=True)
        for parameter, gradient in zip(tower.parameters(), expected, strict=True):
            torch.testing.assert_close(
                parameter.grad, gradient, msg=lambda text, kept=kept: f"kept={kept}: {text}"
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
