"""Losses with targets: value against the definition, gradients, absent cells, permutations, parity with ST."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as st
from sentence_transformers.sentence_transformer.losses.batch_hard_triplet import (
    BatchHardTripletLossDistanceFunction as StDistance,
)
from sentence_transformers.util import pairwise_cos_sim
from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, EmbeddingDistillation, MarginMSE
from sightline.losses.pairwise import AnglE, Contrastive, CoSENT, CosineSimilarity, OnlineContrastive
from sightline.losses.regularization import OrthogonalRegularization
from sightline.losses.triplets import BatchTriplet, Triplet
from sightline.types import Batch, Embeddings

ROWS, DIM = 7, 6
COSINE = lambda x, y: 1 - torch.nn.functional.cosine_similarity(x, y)  # noqa: E731


def vectors(columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """(columns, rows, dim), some of them near each other."""
    generator = torch.Generator().manual_seed(columns)
    base = torch.randn(1, ROWS, DIM, generator=generator, dtype=torch.float64)
    noise = torch.randn(columns, ROWS, DIM, generator=generator, dtype=torch.float64)
    return (base + 0.8 * noise).to(dtype)


def batch_of(columns: int, target: Tensor | None = None, *, absent: tuple[int, ...] = ()) -> Batch:
    """Row r, column c is item ``c * ROWS + r``; rows named in ``absent`` lose their last cell."""
    cells = torch.arange(columns * ROWS).view(columns, ROWS).t().clone()
    cells[list(absent), -1] = -1
    return Batch(
        micro_batches=[],
        keys_N=torch.arange(columns * ROWS),
        columns_BC=cells,
        roles=("query", *["document"] * (columns - 1)),
        column_names=("anchor", "positive", "negative", "other")[:columns],
        targets={} if target is None else {"label": target},
    )


BINARY = torch.tensor([1, 0, 1, 0, 1, 0, 0])
SCORES = torch.tensor([0.1, 0.9, 0.4, 0.4, 1.0, 0.0, 0.7])
CLASSES = torch.tensor([0, 1, 0, 2, 1, 0, 2])
TEACHER_1 = torch.tensor([0.5, 1.0, -0.3, 2.0, 0.1, 0.0, 1.4])
TEACHER_2 = torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(5))
TEACHER_3 = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(6))
TEACHER_D = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(7))
TEACHER_CD = torch.randn(ROWS, 3, DIM, generator=torch.Generator().manual_seed(8))

# Ours, ST's, number of columns, targets.
CASES: list[tuple[str, Loss, Callable[[], Any], int, Tensor | None]] = [
    ("cosine similarity", CosineSimilarity(), lambda: st.CosineSimilarityLoss(None), 2, SCORES),
    ("contrastive", Contrastive(), lambda: st.ContrastiveLoss(None), 2, BINARY),
    (
        "contrastive euclidean",
        Contrastive(2.0, "euclidean"),
        lambda: st.ContrastiveLoss(None, lambda x, y: torch.nn.functional.pairwise_distance(x, y, eps=0.0), 2.0),
        2,
        SCORES,
    ),
    ("online contrastive", OnlineContrastive(), lambda: st.OnlineContrastiveLoss(None), 2, BINARY),
    ("online, one label", OnlineContrastive(1.0), lambda: st.OnlineContrastiveLoss(None, margin=1.0), 2, BINARY * 0),
    ("cosent", CoSENT(), lambda: st.CoSENTLoss(None), 2, SCORES),
    ("angle", AnglE(0.1), lambda: st.AnglELoss(None, scale=10.0), 2, SCORES),
    (
        "triplet",
        Triplet(),
        lambda: st.TripletLoss(None, lambda x, y: torch.nn.functional.pairwise_distance(x, y, eps=0.0)),
        3,
        None,
    ),
    ("triplet cosine", Triplet(0.2, "cosine"), lambda: st.TripletLoss(None, COSINE, 0.2), 3, None),
    ("batch hard", BatchTriplet(), lambda: st.BatchHardTripletLoss(None), 1, CLASSES),
    (
        "batch hard cosine",
        BatchTriplet("hard", 0.3, "cosine"),
        lambda: st.BatchHardTripletLoss(None, StDistance.cosine_distance, 0.3),
        1,
        CLASSES,
    ),
    (
        "batch hard soft",
        BatchTriplet("hard", None),
        lambda: st.BatchHardSoftMarginTripletLoss(None),
        1,
        CLASSES,
    ),
    ("batch semi-hard", BatchTriplet("semi-hard"), lambda: st.BatchSemiHardTripletLoss(None), 1, CLASSES),
    ("batch all", BatchTriplet("all", 0.5), lambda: st.BatchAllTripletLoss(None, margin=0.5), 1, CLASSES),
    ("margin mse", MarginMSE(), lambda: st.MarginMSELoss(None), 3, TEACHER_1),
    ("margin mse scores", MarginMSE(), lambda: st.MarginMSELoss(None), 4, TEACHER_3),
    (
        "margin mse cosine",
        MarginMSE("cosine"),
        lambda: st.MarginMSELoss(None, similarity_fct=pairwise_cos_sim),
        3,
        TEACHER_2,
    ),
    ("kl", DistillKL(), lambda: st.DistillKLDivLoss(None), 3, TEACHER_2),
    (
        "kl temperatures",
        DistillKL("cosine", 0.1, 2.0),
        lambda: st.DistillKLDivLoss(
            None, pairwise_cos_sim, student_temperature=0.1, teacher_temperature=2.0
        ),
        4,
        TEACHER_3,
    ),
    ("gor", OrthogonalRegularization(), lambda: st.GlobalOrthogonalRegularizationLoss(None), 3, None),
    (
        "gor weights",
        OrthogonalRegularization(0.0, 3.0),
        lambda: st.GlobalOrthogonalRegularizationLoss(None, mean_weight=0.0, second_moment_weight=3.0),
        2,
        None,
    ),
]  # fmt: skip
NAMES = [case[0] for case in CASES]
DISTILLED = [
    (comparison, teacher)
    for comparison in ("cosine", "mse", "l2")
    for teacher in (TEACHER_D, TEACHER_CD)
]  # fmt: skip


def total(loss: Loss, values: Tensor, batch: Batch) -> Tensor:
    return torch.stack(list(loss(Embeddings(values), batch).values())).sum()


def st_total(loss: Any, columns: Tensor, target: Tensor | None) -> Tensor:
    found = loss.compute_loss_from_embeddings(list(columns), target)
    return torch.stack(list(found.values())).sum() if isinstance(found, dict) else found


@pytest.mark.parametrize(("name", "ours", "theirs", "columns", "target"), CASES, ids=NAMES)
def test_value_and_gradient_equal_those_of_sentence_transformers(
    name: str, ours: Loss, theirs: Callable[[], Any], columns: int, target: Tensor | None
) -> None:
    leaf = vectors(columns, torch.float32).requires_grad_()
    wanted = st_total(theirs(), leaf, target)
    (wanted_gradient,) = torch.autograd.grad(wanted, leaf)
    found = total(ours, leaf.flatten(0, 1), batch_of(columns, target))
    (gradient,) = torch.autograd.grad(found, leaf)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradient, wanted_gradient, atol=1e-6, rtol=1e-4)
    assert gradient.abs().max() > 1e-4, "nothing was learnt, so nothing was compared"


@pytest.mark.parametrize(("comparison", "teacher"), DISTILLED)
def test_embedding_distillation_equals_sentence_transformers(comparison: Any, teacher: Tensor) -> None:
    leaf = vectors(3, torch.float32).requires_grad_()
    theirs = st.EmbedDistillLoss(None, distance_metric=comparison)
    by_column = [teacher if teacher.ndim == 2 else teacher[:, number] for number in range(3)]
    wanted = theirs.compute_loss_from_embeddings(list(leaf), by_column)
    found = total(EmbeddingDistillation(comparison), leaf.flatten(0, 1), batch_of(3, teacher))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaf)[0], torch.autograd.grad(wanted, leaf)[0], atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize(("name", "ours", "theirs", "columns", "target"), CASES, ids=NAMES)
def test_gradcheck_permutation_and_absent_cells(
    name: str, ours: Loss, theirs: Callable[[], Any], columns: int, target: Tensor | None
) -> None:
    values = vectors(columns).flatten(0, 1)
    batch = batch_of(columns, target)
    assert torch.autograd.gradcheck(lambda v: total(ours, v, batch), (values.clone().requires_grad_(),))

    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))
    shuffled = batch_of(columns, None if target is None else target[order])
    cells = vectors(columns)[:, order].flatten(0, 1)
    torch.testing.assert_close(total(ours, cells, shuffled), total(ours, values, batch))

    # Rows that lack a cell count as if they were not there; the regulariser works on each column by itself.
    if isinstance(ours, OrthogonalRegularization):
        return
    kept = torch.tensor([0, 2, 3, 5, 6])
    fewer = Batch(
        micro_batches=[],
        keys_N=batch.keys_N,
        columns_BC=batch.columns_BC[kept],
        roles=batch.roles,
        targets={} if target is None else {"label": target[kept]},
    )
    incomplete = batch_of(columns, target, absent=(1, 4))
    torch.testing.assert_close(total(ours, values, incomplete), total(ours, values, fewer))


@pytest.mark.parametrize(("name", "ours", "theirs", "columns", "target"), CASES, ids=NAMES)
def test_nothing_to_compare_and_equal_vectors_have_finite_gradients(
    name: str, ours: Loss, theirs: Callable[[], Any], columns: int, target: Tensor | None
) -> None:
    for values, absent in ((vectors(columns), tuple(range(ROWS))), (torch.ones(columns, ROWS, DIM), ())):
        leaf = values.clone().requires_grad_()
        total(ours, leaf.flatten(0, 1), batch_of(columns, target, absent=absent)).backward()
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_cosent_by_its_definition() -> None:
    values = vectors(2)
    cosines = torch.nn.functional.cosine_similarity(values[0], values[1]).tolist()
    terms = [
        math.exp((cosines[i] - cosines[j]) / 0.05)
        for i in range(ROWS)
        for j in range(ROWS)
        if SCORES[i] < SCORES[j]
    ]
    found = total(CoSENT(), values.flatten(0, 1), batch_of(2, SCORES))
    assert float(found) == pytest.approx(math.log(1 + sum(terms)), rel=1e-9)


def test_under_matryoshka_every_prefix_has_its_part() -> None:
    parts = Matryoshka(CoSENT(), (6, 2))(Embeddings(vectors(2).flatten(0, 1)), batch_of(2, SCORES))
    assert list(parts) == ["cosent_dim6", "cosent_dim2"]
    alone = CoSENT()(Embeddings(vectors(2).flatten(0, 1)[:, :2]), batch_of(2, SCORES))["cosent"]
    torch.testing.assert_close(parts["cosent_dim2"], alone)


def test_a_sum_has_the_parts_of_all_its_losses() -> None:
    values, batch = vectors(2).flatten(0, 1), batch_of(2)
    both = Sum([InfoNCE(), OrthogonalRegularization()], [1.0, 0.5])
    parts = both(Embeddings(values), batch)
    assert set(parts) == {"infonce", "gor_mean", "gor_second_moment"}
    alone = OrthogonalRegularization()(Embeddings(values), batch)
    torch.testing.assert_close(parts["gor_mean"], 0.5 * alone["gor_mean"])
    assert not both.by_rows
    assert Sum([InfoNCE()]).by_rows
    with pytest.raises(ConfigError, match="two losses of the Sum have a part 'infonce'"):
        Sum([InfoNCE(), InfoNCE(0.1)])(Embeddings(values), batch)


def test_wrong_targets_and_columns_are_named() -> None:
    values = Embeddings(vectors(3).flatten(0, 1))
    with pytest.raises(ConfigError, match=r"CoSENT needs exactly one target column .* the data has none"):
        CoSENT()(values, batch_of(2))
    with pytest.raises(ConfigError, match=r"one number per row in column 'label'.*shape \(2,\)"):
        CoSENT()(values, batch_of(2, TEACHER_2))
    with pytest.raises(
        ConfigError, match="Triplet compares 3 columns, but the batch has only anchor, positive"
    ):
        Triplet()(values, batch_of(2))
    with pytest.raises(ConfigError, match="needs 1 margins or 2 scores per row"):
        MarginMSE()(values, batch_of(3, TEACHER_3))
    with pytest.raises(ConfigError, match="needs 2 teacher scores per row"):
        DistillKL()(values, batch_of(3, TEACHER_3))
    with pytest.raises(ConfigError, match="teacher's vectors have 2 dimensions"):
        EmbeddingDistillation()(values, batch_of(3, TEACHER_2))
    with pytest.raises(ConfigError, match="even number of dimensions"):
        AnglE()(Embeddings(torch.zeros(14, 5)), batch_of(2, SCORES))
    with pytest.raises(ConfigError, match="one vector per item"):
        Triplet()(Embeddings(torch.zeros(21, 2, 3)), batch_of(3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Contrastive(margin=0), "margin above 0"),
        (lambda: Contrastive(distance="dot"), "distances cosine, euclidean, manhattan"),  # type: ignore[arg-type]
        (lambda: CoSENT(temperature=-1), "temperature above 0"),
        (lambda: BatchTriplet("easy"), "minings hard, semi-hard, all"),  # type: ignore[arg-type]
        (lambda: BatchTriplet("all", None), "needs mining='hard'"),
        (lambda: MarginMSE("euclidean"), "similarities cosine, dot"),  # type: ignore[arg-type]
        (lambda: DistillKL(temperature=0), "temperatures above 0"),
        (lambda: EmbeddingDistillation("kl"), "knows cosine, mse, l2"),  # type: ignore[arg-type]
        (lambda: OrthogonalRegularization(0, 0), "one of them above 0"),
        (lambda: Sum([]), "at least one loss"),
        (lambda: Sum([InfoNCE()], [1, 2]), "1 losses but 2 weights"),
    ],
)
def test_wrong_arguments_are_named(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
