"""Run as several ranks: gradients of losses over pairs against those of one process on the whole batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sightline.losses.base import Loss
from sightline.losses.distillation import MarginMSE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.lambda_loss import Lambda
from sightline.losses.listwise import ListNet, PListMLE
from sightline.losses.pair_scores import PAIR
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.training.distributed import Ranks, share
from sightline.training.step import Step
from sightline.training.weights import Replicated
from sightline.types import Batch, Cost, MicroBatch

WIDTH = 6
# Numbers of pairs by row; the lists are longer on one rank than on the other, and pairs stand on both.
ROWS = [[1, 2], [3], [4, 5, 6, 2], [7, 8, 9]]
LOSSES: list[Loss] = [
    BinaryCrossEntropy(2.0), ListNet(), PListMLE(), Lambda(), InBatchRanking(None), MarginMSE(),
]  # fmt: skip


class Scorer(nn.Module):
    """Scores (n, 1), as a reranker gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, micro_batch: MicroBatch) -> Tensor:
        scores: Tensor = self.layers(micro_batch.features["x"])
        return scores


def make_batch(rows: list[list[int]]) -> Batch:
    items = list(dict.fromkeys(item for row in rows for item in row))
    width = max(map(len, rows), default=1)
    cells = [[items.index(item) for item in row] + [-1] * (width - len(row)) for row in rows]
    labels = [[(item % 3) / 2 for item in row] + [0.0] * (width - len(row)) for row in rows]
    x = torch.stack([torch.randn(WIDTH, generator=torch.Generator().manual_seed(item)) for item in items])
    return Batch(
        micro_batches=[
            MicroBatch({"x": x[begin : begin + 2]}, torch.arange(len(items))[begin : begin + 2], Cost(2))
            for begin in range(0, len(items), 2)
        ],
        keys_N=torch.tensor(items),
        columns_BC=torch.tensor(cells),
        roles=(PAIR,) * width,
        column_names=("document",) * width,
        targets={"labels": torch.tensor(labels)},
        rows=tuple(range(len(rows))),
        identities_N=torch.tensor(items),
    )


def main() -> None:
    dist.init_process_group("gloo")
    ranks = Ranks.of_process()
    torch.manual_seed(ranks.rank)
    for rows in (ROWS, ROWS[::-1], ROWS[:1]):
        for loss in LOSSES:
            model, alone = Scorer(), Scorer()
            Replicated(model, ranks)
            alone.load_state_dict(model.state_dict())
            own = rows[share(len(rows), ranks.rank, ranks.size)]
            batch = make_batch(own) if own else Batch.empty()
            parts = Step(1, ranks=ranks).run(model, batch, loss)
            expected = Step().run(alone, make_batch(rows), loss)
            torch.testing.assert_close(parts, expected)
            for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
