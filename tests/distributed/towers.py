"""Small models and batches for scripts that run as several ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.types import Batch, Cost, Embeddings, MicroBatch

WIDTH, DIM, COLUMNS = 6, 8, 3


class Tower(nn.Module):
    """Texts and images through layers of their own, then one in common; a layer that nothing uses."""

    def __init__(self, multi_vector: bool = False) -> None:
        super().__init__()
        self.text = nn.Sequential(nn.Linear(WIDTH, 12), nn.Tanh())
        self.image = nn.Sequential(nn.Linear(WIDTH, 12), nn.GELU())
        self.out = nn.Linear(12, DIM)
        self.unused = nn.Linear(3, 3)
        self.frozen = nn.Linear(DIM, DIM).requires_grad_(False)
        self.multi_vector = multi_vector

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        tower = self.image if micro_batch.features["group"] == "image" else self.text
        values = self.frozen(self.out(tower(micro_batch.features["x"])))
        mask = micro_batch.features["mask"]
        if self.multi_vector:
            return Embeddings(values, mask)
        return Embeddings((values * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))


@dataclass(frozen=True)
class Scores:
    """A loss that knows nothing of ranks: cosines of the first two columns against the rows' scores."""

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        values = embeddings.values
        if embeddings.mask is not None:
            assert embeddings.mask.dtype == torch.bool
            values = (values * embeddings.mask[..., None]).sum(1)
        pairs = values[batch.columns_BC[:, :2]]
        cosines = nn.functional.cosine_similarity(pairs[:, 0], pairs[:, 1], dim=-1)
        spread = values.std(0).sum() / 100  # of the distinct items: a copy on another rank would show
        return {"scores": (cosines - batch.targets["score"]).square().mean(), "spread": spread}


def is_image(item: int) -> bool:
    return item >= 1000


def make_batch(rows: Sequence[Sequence[int]], *, per_group: int = 3) -> Batch:
    """A batch of rows of item numbers (-1 for an empty cell); items of 1000 and above are images."""
    items = list(dict.fromkeys(item for row in rows for item in row if item >= 0))
    place = {item: number for number, item in enumerate(items)}
    groups = [
        kind[begin : begin + per_group]
        for kind in ([i for i in items if not is_image(i)], [i for i in items if is_image(i)])
        for begin in range(0, len(kind), per_group)
    ]
    cells = [[place.get(item, -1) for item in row] for row in rows]
    return Batch(
        micro_batches=[_micro_batch(group, [place[item] for item in group]) for group in groups],
        keys_N=torch.tensor([item % 100 for item in items], dtype=torch.long),
        columns_BC=torch.tensor(cells, dtype=torch.long).reshape(len(rows), COLUMNS),
        roles=("query", "document", "document"),
        column_names=("anchor", "positive", "negative"),
        targets={"score": torch.tensor([(sum(row) % 7) / 7 for row in rows])},
        rows=tuple(range(len(rows))),
        identities_N=torch.tensor(items, dtype=torch.long),
    )


def _micro_batch(items: Sequence[int], indices: list[int]) -> MicroBatch:
    lengths = [1 + item % 4 for item in items]
    x = torch.zeros(len(items), max(lengths), WIDTH)
    for number, (item, length) in enumerate(zip(items, lengths, strict=True)):
        x[number, :length] = torch.randn(length, WIDTH, generator=torch.Generator().manual_seed(item))
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    features = {"x": x, "mask": mask, "group": "image" if is_image(items[0]) else "text"}
    return MicroBatch(features, torch.tensor(indices), Cost(sum(lengths)), mask.numel())
