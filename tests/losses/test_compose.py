"""Matryoshka over score losses and over any other loss."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sightline.errors import ConfigError
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.types import Batch, Embeddings

DIMS = (12, 3, 7)


def make_batch() -> Batch:
    return Batch(
        micro_batches=[],
        keys_N=torch.arange(9),
        columns_BC=torch.tensor([[0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, -1]]),
        roles=("query", "document", "document"),
    )


def vectors(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(9, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)


@dataclass(frozen=True)
class AnyLoss:
    """The same loss without its scores on show, so that Matryoshka has to cut the vectors."""

    inner: InfoNCE

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        return self.inner(embeddings, batch)


def test_a_prefix_of_zeros_is_finite() -> None:
    values = vectors(torch.float32)
    values[:, :3] = 0.0
    values.requires_grad_()
    parts = Matryoshka(InfoNCE(), DIMS)(Embeddings(values), make_batch())
    sum(parts.values()).backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("inner", [InfoNCE(), InfoNCE(0.1, symmetric=True), InfoNCE(similarity="dot")])
def test_the_cumulative_and_the_cut_path_agree(inner: InfoNCE) -> None:
    weights = (1.0, 0.25, 2.0)
    values = {kind: vectors().requires_grad_() for kind in ("scores", "cut", "by hand")}
    batch = make_batch()
    parts = Matryoshka(inner, DIMS, weights)(Embeddings(values["scores"]), batch)
    cut = Matryoshka(AnyLoss(inner), DIMS, weights)(Embeddings(values["cut"]), batch)
    hand = {
        f"infonce_dim{dim}": weight
        * inner(Embeddings(normalize(values["by hand"][:, :dim], dim=-1)), batch)["infonce"]
        for dim, weight in zip(DIMS, weights, strict=True)
    }
    assert list(parts) == list(cut) == ["infonce_dim12", "infonce_dim3", "infonce_dim7"]
    for result in (parts, cut, hand):
        sum(result.values()).backward()
    for name, expected in hand.items():
        torch.testing.assert_close(parts[name], expected)
        torch.testing.assert_close(cut[name], expected)
    torch.testing.assert_close(values["scores"].grad, values["by hand"].grad)
    torch.testing.assert_close(values["cut"].grad, values["by hand"].grad)


def test_gradcheck() -> None:
    loss, batch = Matryoshka(InfoNCE(symmetric=True), DIMS, (1, 2, 3)), make_batch()
    values = vectors().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: sum(loss(Embeddings(v), batch).values()), (values,))


@pytest.mark.parametrize(
    ("dims", "weights", "message"),
    [
        ((), None, "at least one"),
        ((0, 4), None, "above 0"),
        ((-1,), None, "above 0"),
        ((2.5,), None, "whole numbers"),
        ((4, 4), None, "differ"),
        ((4, 2), (1.0,), "2 dims but 1 weights"),
        ((4,), (-1.0,), "not be negative"),
    ],
)
def test_wrong_dims_are_refused(dims: tuple, weights: tuple | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Matryoshka(InfoNCE(), dims, weights)


def test_dims_beyond_the_model_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot cut to 13 dimensions.*have 12"):
        Matryoshka(InfoNCE(), (13, 4))(Embeddings(vectors()), make_batch())
