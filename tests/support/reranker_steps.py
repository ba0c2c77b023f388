"""One training step of a reranker on rows of texts, as its Trainer runs it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sightline.losses.base import Loss
from sightline.models.reranker import Reranker
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.pairing import pair_reader
from sightline.training.rows import choose_columns
from sightline.training.step import Step


def step(reranker: Reranker, loss: Loss, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """The loss's parts; gradients are added. One graph is kept, the other pairs are scored twice."""
    chosen = choose_columns(tuple(rows[0]))
    builder = BatchBuilder(
        reranker.preprocessor, reranker.collate, chosen, ("text",), Limits(80),
        reader=pair_reader(chosen, loss, modalities=("text",)),
    )  # fmt: skip
    batch = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    return Step(kept=1).run(reranker, batch, loss)
