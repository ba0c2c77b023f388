"""One training step of a tiny model: what it is given, and that it goes downhill."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sightline.losses.base import Loss
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.pairing import pair_reader
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from sightline.types import Batch
from support.fixtures import make_pictures
from support.zoo.inputs import SIZES, TEXTS, inputs_for

LENGTH = 0.002  # of the step, in weights


def pairs_of(inputs: tuple[str, ...], kind: str) -> list[dict[str, Any]]:
    """Rows whose anchors are of ``kind``, for a model that takes ``inputs``."""
    anchors = inputs_for(kind)
    positives: list[Any] = [f"{text}, said in other words" for text in TEXTS]
    if "text" not in inputs:
        positives = [
            {"text": text, "image": image} for text, image in zip(positives, make_pictures(SIZES, seed=1))
        ]
    return [{"anchor": anchor, "positive": positive} for anchor, positive in zip(anchors, positives)]


def batch_of(encoder: Encoder, rows: list[dict[str, Any]]) -> Batch:
    builder = BatchBuilder(
        preprocess=encoder.preprocessor,
        collate=encoder.collate,
        columns=choose_columns(("anchor", "positive")),
        modalities=encoder.modalities,
        limits=Limits(token_budget=4096),
    )
    batch: Batch | None = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    return batch


def pair_batch_of(reranker: Reranker, rows: list[dict[str, Any]], loss: Loss) -> Batch:
    columns = choose_columns(tuple(rows[0]))
    builder = BatchBuilder(
        preprocess=reranker.preprocessor,
        collate=reranker.collate,
        columns=columns,
        modalities=reranker.modalities,
        limits=Limits(token_budget=4096),
        reader=pair_reader(columns, loss, modalities=reranker.modalities),
    )
    batch: Batch | None = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    return batch


def goes_down(model: Encoder | Reranker, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """Takes a short step down the slope, checks that the loss falls, and gives the gradients by name."""
    before = _value(model, batch, loss)
    gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert norm > 1e-4
    with torch.no_grad():
        for one in model.parameters():
            if one.grad is not None:
                one -= LENGTH / norm * one.grad
    assert _value(model, batch, loss) < before
    return gradients


def _value(model: Encoder | Reranker, batch: Batch, loss: Loss) -> float:
    model.zero_grad()
    return float(sum(Step().run(model, batch, loss).values()))


def sees(gradients: dict[str, Tensor]) -> bool:
    """Whether gradients reach the vision tower."""
    return reaches(gradients, "vision", "visual")


def reaches(gradients: dict[str, Tensor], *parts: str) -> bool:
    """Whether gradients reach the weights whose names have one of some parts."""
    return any(
        float(one.norm()) > 0 for name, one in gradients.items() if any(part in name for part in parts)
    )
