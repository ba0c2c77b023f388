"""Losses over vectors against their definitions: plain loops over pairs, value and gradient, in float64.

The batches of `support.loss_cases`: items and contents repeat, cells are absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, EmbeddingDistillation
from sightline.losses.layers import AdaptiveLayers
from sightline.losses.pairwise import AnglE, Contrastive, CoSENT, OnlineContrastive
from sightline.losses.regularization import OrthogonalRegularization
from sightline.losses.triplets import BatchTriplet, Triplet
from sightline.types import Batch, Embeddings
from support.loss_cases import DIM, TEACHER, VECTORS, LossCase, draws


class Table:
    """A batch as its definition sees it.

    Attributes:
        values: item -> its vector.
        rows: of items, -1 for an absent cell.
        targets: one per row.
        batch: for contents and a guide.
    """

    def __init__(self, values: Tensor, batch: Batch, beside: Tensor | None = None) -> None:
        self.values = list(values)
        self.beside = None if beside is None else list(beside)
        self.rows: list[list[int]] = batch.columns_BC.tolist()
        self.targets: Any = (
            list(batch.targets["label"].double()) if batch.targets else [None] * len(self.rows)
        )
        self.batch = batch

    def whole(self, columns: int) -> list[tuple[list[Tensor], Any]]:
        """Vectors and target of the rows without an absent cell among the first columns."""
        return [
            ([self.values[item] for item in row[:columns]], target)
            for row, target in zip(self.rows, self.targets, strict=True)
            if min(row[:columns]) >= 0
        ]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return a @ b / (a.norm() * b.norm())


def product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


def sigmoid_product(a: Tensor, b: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a @ b))


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": lambda a, b: 1 - cosine(a, b),
    "euclidean": lambda a, b: (a - b).norm(),
    "manhattan": lambda a, b: (a - b).abs().sum(),
}


def mean(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean()


def positive(value: Tensor) -> Tensor:
    return value if value > 0 else value * 0


def cosine_similarity(table: Table, loss: Any) -> Tensor:
    return mean([(cosine(a, b) - score) ** 2 for (a, b), score in table.whole(2)])


def contrastive(table: Table, loss: Contrastive) -> Tensor:
    terms = []
    for (a, b), label in table.whole(2):
        d = DISTANCES[loss.distance](a, b)
        terms.append((label * d**2 + (1 - label) * positive(loss.margin - d) ** 2) / 2)
    return mean(terms)


def online_contrastive(table: Table, loss: OnlineContrastive) -> Tensor:
    distances = [(DISTANCES[loss.distance](a, b), float(label)) for (a, b), label in table.whole(2)]
    equal = [d for d, label in distances if label == 1]
    unequal = [d for d, label in distances if label == 0]
    furthest = max(equal) if equal else mean(unequal)
    nearest = min(unequal) if unequal else mean(equal)
    terms = [d**2 for d in equal if d > nearest]
    terms += [positive(loss.margin - d) ** 2 for d in unequal if d < furthest]
    return torch.stack(terms).sum()


def ranked(scored: Sequence[tuple[Tensor, Any]]) -> Tensor:
    terms = [torch.exp(low - high) for low, x in scored for high, y in scored if x < y]
    return torch.log(1 + torch.stack(terms).sum())


def cosent(table: Table, loss: CoSENT) -> Tensor:
    return ranked([(cosine(a, b) / loss.temperature, score) for (a, b), score in table.whole(2)])


def angle(table: Table, loss: AnglE) -> Tensor:
    """Component by component: (a + bi) / (c + di), where the divisor's square is that of the whole vector."""
    scored = []
    for (left, right), score in table.whole(2):
        half, parts = len(left) // 2, []
        square = sum(x**2 for x in right)
        for k in range(half):
            a, b, c, d = left[k], left[half + k], right[k], right[half + k]
            parts += [(a * c + b * d) / square, (b * c - a * d) / square]
        scored.append((abs(sum(parts) / (left.norm() / right.norm())) / loss.temperature, score))
    return ranked(scored)


def triplet(table: Table, loss: Triplet) -> Tensor:
    d = DISTANCES[loss.distance]
    return mean([positive(d(a, p) - d(a, n) + loss.margin) for (a, p, n), _ in table.whole(3)])


def batch_triplet(table: Table, loss: BatchTriplet) -> Tensor:
    items = [(vector, int(label)) for (vector,), label in table.whole(1)]
    d = [[DISTANCES[loss.distance](a, b) for b, _ in items] for a, _ in items]
    terms, everyone = [], range(len(items))
    for i in everyone:
        positives = [j for j in everyone if j != i and items[j][1] == items[i][1]]
        negatives = [k for k in everyone if items[k][1] != items[i][1]]
        if loss.mining == "hard":
            furthest = max((d[i][j] for j in positives), default=d[i][i] * 0)
            apart = furthest - min(d[i][k] for k in negatives)
            soft = loss.margin is None
            terms.append(torch.log(1 + torch.exp(apart)) if soft else positive(apart + loss.margin))
        elif loss.mining == "semi-hard":
            for j in positives:
                beyond = [d[i][k] for k in negatives if d[i][k] > d[i][j]]
                negative = min(beyond) if beyond else max(d[i][k] for k in negatives)
                terms.append(positive(d[i][j] - negative + loss.margin))
        else:
            found = [d[i][j] - d[i][k] + loss.margin for j in positives for k in negatives]
            terms += [term for term in found if term > 0]
    return mean(terms)


def margin_mse(similarity: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Table, Any], Tensor]:
    def loop(table: Table, loss: Any) -> Tensor:
        terms = []
        for (q, p, n), teacher in table.whole(3):
            wanted = teacher if teacher.ndim == 0 else teacher[0] - teacher[1]
            terms.append((similarity(q, p) - similarity(q, n) - wanted) ** 2)
        return mean(terms)

    return loop


def distill_kl(table: Table, loss: DistillKL) -> Tensor:
    similarity = cosine if loss.similarity == "cosine" else product
    t_s = loss.temperature
    t_t = loss.teacher_temperature or t_s
    terms = []
    for (query, *documents), teacher in table.whole(3):
        exps = [torch.exp(similarity(query, one) / t_s) for one in documents]
        wanted = [math.exp(float(score) / t_t) for score in teacher]
        terms.append(
            sum(
                w / sum(wanted) * (math.log(w / sum(wanted)) - torch.log(e / sum(exps)))
                for w, e in zip(wanted, exps, strict=True)
            )
        )
    return t_s**2 * mean(terms)


def embedding_distillation(table: Table, loss: EmbeddingDistillation) -> Tensor:
    terms = []
    for row, target in zip(table.rows, table.targets, strict=True):
        if min(row) < 0:
            continue
        for column, item in enumerate(row):
            teacher = target if target.ndim == 1 else target[column]
            x = table.values[item] if loss.projection is None else table.beside[item]
            if loss.comparison == "cosine":
                terms.append(1 - cosine(x, teacher))
            else:
                squares = sum((a - b) ** 2 for a, b in zip(x, teacher, strict=True))
                terms.append(squares / len(x) if loss.comparison == "mse" else squares**0.5)
    return mean(terms)


def orthogonal(table: Table, loss: OrthogonalRegularization) -> Tensor:
    means, moments = [], []
    for column in range(len(table.rows[0])):
        items = [row[column] for row in table.rows if row[column] >= 0]
        cosines = [
            cosine(table.values[a], table.values[b])
            for i, a in enumerate(items)
            for j, b in enumerate(items)
            if i != j
        ]
        means.append(mean(cosines) ** 2)
        moments.append(positive(mean([one**2 for one in cosines]) - 1 / DIM))
    return loss.mean_weight * mean(means) + loss.second_moment_weight * mean(moments)


def infonce(table: Table, loss: InfoNCE) -> Tensor:
    """Of an anchor with the documents; and of a positive with the anchors, if symmetric."""
    rows = [row for row in table.rows if row[0] >= 0 and row[1] >= 0]
    documents = {item for row in table.rows for item in row[1:] if item >= 0}
    forwards = [(row[0], row[1], row[1:]) for row in rows]
    value = softmax_rows(table, loss, forwards, documents, weighted=True)
    if not loss.symmetric:
        return value
    backwards = [(row[1], row[0], [row[0]]) for row in rows]
    return (value + softmax_rows(table, loss, backwards, {row[0] for row in rows}, weighted=False)) / 2


def softmax_rows(
    table: Table,
    loss: InfoNCE,
    rows: Sequence[tuple[int, int, Sequence[int]]],
    candidates: set[int],
    *,
    weighted: bool,
) -> Tensor:
    keys, guide, rule = table.batch.keys_N.tolist(), table.batch.guide_NG, loss.false_negatives
    similarity = product if loss.similarity == "dot" else cosine
    terms = []
    for query, target, own in rows:
        answers = {keys[t] for q, t, _ in rows if keys[q] == keys[query]} | {keys[query]}
        logits = []
        judged = table.values if guide is None else list(guide.double())
        for one in candidates:
            score = similarity(table.values[query], table.values[one])
            logit = score / loss.temperature
            if one != target:
                if keys[one] in answers:
                    continue
                if rule and cosine(judged[query], judged[one]) > rule.limit(
                    cosine(judged[query], judged[target])
                ):
                    continue
                hard = one in own
                if weighted and loss.hardness in (
                    "all_negatives",
                    f"{'hard' if hard else 'in_batch'}_negatives",
                ):
                    logit = logit + loss.hardness_strength * score.detach()
            logits.append((logit, one))
        total = torch.stack([torch.exp(logit) for logit, _ in logits]).sum()
        terms.append(torch.log(total) - next(logit for logit, one in logits if one == target))
    return mean(terms)


def layers(table: Table, loss: AdaptiveLayers) -> Tensor:
    """The mean squared cosine differences of three layers, and how far two of them are from the last."""
    value = loss.last_weight * cosine_similarity(table, None)
    for number, layer in enumerate(table.batch.layers):
        prior = Table(torch.stack(table.beside)[:, number * DIM : (number + 1) * DIM], table.batch)
        factor = loss.prior_weight / len(table.batch.layers) / (1 + math.log(1 + layer))
        value = value + factor * cosine_similarity(prior, None)
        terms = []
        for last, one in zip(table.values, prior.values, strict=True):
            wanted = [torch.exp(x / loss.kl_temperature).detach() for x in last]
            found = [torch.exp(x / loss.kl_temperature) for x in one]
            shares = zip([x / sum(wanted) for x in wanted], [x / sum(found) for x in found], strict=True)
            terms.append(sum(w * torch.log(w / f) for w, f in shares))
        value = value + loss.kl_weight * loss.kl_temperature * mean(terms)
    return value


LOOPS: dict[str, Callable[[Table, Any], Tensor]] = {
    "infonce": infonce,
    "infonce, dot, symmetric": infonce,
    "infonce, false negatives by a guide": infonce,
    "infonce, false negatives by the model": infonce,
    "infonce, by the model, symmetric": infonce,
    "infonce, hardness of in_batch_negatives": infonce,
    "infonce, hardness of hard_negatives": infonce,
    "infonce, hardness of all_negatives": infonce,
    "cosine similarity": cosine_similarity,
    "contrastive": contrastive,
    "contrastive, euclidean": contrastive,
    "contrastive, manhattan": contrastive,
    "online contrastive": online_contrastive,
    "online contrastive, one label": online_contrastive,
    "cosent": cosent,
    "angle": angle,
    "triplet": triplet,
    "triplet, cosine": triplet,
    "triplet, manhattan": triplet,
    "batch hard, euclidean": batch_triplet,
    "batch hard, cosine": batch_triplet,
    "batch hard, manhattan": batch_triplet,
    "batch semi-hard, euclidean": batch_triplet,
    "batch semi-hard, cosine": batch_triplet,
    "batch semi-hard, manhattan": batch_triplet,
    "batch all, euclidean": batch_triplet,
    "batch all, cosine": batch_triplet,
    "batch all, manhattan": batch_triplet,
    "batch hard, without a margin": batch_triplet,
    "margin mse, margins": margin_mse(product),
    "margin mse, scores, cosine": margin_mse(cosine),
    "margin mse, sigmoid": margin_mse(sigmoid_product),
    "distill kl": distill_kl,
    "distill kl, temperatures": distill_kl,
    "embedding distillation, cosine": embedding_distillation,
    "embedding distillation, mse": embedding_distillation,
    "embedding distillation, l2": embedding_distillation,
    "embedding distillation, by column": embedding_distillation,
    "embedding distillation, projected": embedding_distillation,
    "orthogonal regularization": orthogonal,
    "layers": layers,
}
# Several directions in one softmax have their loop in test_joint.py; these are made of others.
ELSEWHERE = {"infonce, by a guide, directions", "matryoshka", "sum"}


@pytest.mark.parametrize("case", [case for case in VECTORS if case.name in LOOPS], ids=lambda case: case.name)
def test_value_and_gradient_equal_those_of_the_naive_loop(case: LossCase) -> None:
    batch = case.batch(case.rows)
    width = DIM * (1 + len(case.layers)) + (TEACHER if case.projected else 0)
    leaf = draws(7, batch.num_items, width).double().requires_grad_()
    values, beside = leaf[:, :DIM], leaf[:, DIM:]
    wanted = LOOPS[case.name](Table(values, batch, beside), case.loss)
    embeddings = Embeddings(values, beside=beside if beside.shape[1] else None)
    found = torch.stack(list(case.loss(embeddings, batch).values())).sum()
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    (wanted_gradient,) = torch.autograd.grad(wanted, leaf)
    (gradient,) = torch.autograd.grad(found, leaf)
    assert wanted_gradient.abs().max() > 1e-3, "there is something to compare"
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-8, atol=1e-10)


def test_every_case_has_its_loop() -> None:
    assert {case.name for case in VECTORS} == LOOPS.keys() | ELSEWHERE


@pytest.mark.parametrize("name", [name for name in LOOPS if "false negatives" in name or "hardness" in name])
def test_what_the_cases_ask_for_matters(name: str) -> None:
    """Negatives are left out, or weigh more: otherwise nothing was tested."""
    (case,) = (case for case in VECTORS if case.name == name)
    batch = case.batch(case.rows)
    table = Table(draws(7, batch.num_items, DIM).double(), batch)
    assert abs(float(infonce(table, case.loss)) - float(infonce(table, InfoNCE(0.5)))) > 1e-3
