"""Blocks of rows against the whole score matrix written out with autograd."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sightline.losses.blockwise import prefix_parts
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.losses.similarity import prefix_inverse_norms
from sightline.types import Batch, Embeddings

DIMS = (24, 5, 16, 9)
ITEMS = 61


def make_batch(rows: int = 23, *, by_column: bool) -> Batch:
    """Repeated anchors, two hard negative columns, absent cells, equal contents; items numbered either way."""
    order = torch.arange(ITEMS) if by_column else torch.randperm(ITEMS, generator=seeded(1))
    anchor, positive = torch.arange(rows) % 19, torch.arange(rows) % 21 + 19
    first = torch.randint(40, ITEMS, (rows,), generator=seeded(2))
    second = torch.where(
        torch.arange(rows) % 3 == 0, -1, torch.randint(19, ITEMS, (rows,), generator=seeded(3))
    )
    columns = torch.stack([anchor, positive, first, second], 1)
    columns[4, 0] = columns[7, 1] = -1
    keys = torch.arange(ITEMS)
    keys[45], keys[50], keys[3] = keys[20], keys[0], keys[2]
    place = torch.argsort(order)
    return Batch(
        micro_batches=[],
        keys_N=keys[order],
        columns_BC=torch.where(columns >= 0, place[columns.clamp_min(0)], -1),
        roles=("query", "document", "document", "document"),
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vectors(dtype: torch.dtype = torch.float64) -> Tensor:
    values = torch.randn(ITEMS, 24, generator=seeded(5), dtype=torch.float64)
    values[6, :5] = 0.0  # a prefix without length
    values[30] = 0.0
    return values.to(dtype)


def written_out(values: Tensor, batch: Batch, t: float, symmetric: bool) -> Tensor:
    """The definition on the whole matrix, differentiable."""
    rows = [(a, p) for a, p, *_ in batch.columns_BC.tolist() if a >= 0 and p >= 0]
    keys = batch.keys_N.tolist()

    def direction(pairs: list[tuple[int, int]], candidates: list[int]) -> Tensor:
        total = values.new_zeros(())
        for query, target in pairs:
            answers = {keys[p] for q, p in pairs if keys[q] == keys[query]} | {keys[query]}
            kept = [c for c in candidates if c == target or keys[c] not in answers]
            scores = (
                normalize(values[kept], dim=1, eps=1e-12) @ normalize(values[query], dim=0, eps=1e-12) / t
            )
            total = total + scores.logsumexp(0) - scores[kept.index(target)]
        return total / len(pairs)

    documents = sorted({c for row in batch.columns_BC.tolist() for c in row[1:] if c >= 0})
    loss = direction(rows, documents)
    if symmetric:
        back = direction([(p, a) for a, p in rows], sorted({a for a, _ in rows}))
        loss = (loss + back) / 2
    return loss


def parts_and_gradient(
    loss: InfoNCE, batch: Batch, memory: int | None, scales: Tensor, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    values = vectors(dtype).requires_grad_()
    weights = (1.0, 0.5, 2.0, 0.25)
    parts = prefix_parts(
        values, loss.plan(batch), DIMS, similarity=loss.similarity, weights=weights, memory=memory
    )["infonce"]
    (gradient,) = torch.autograd.grad((parts * scales.to(dtype)).sum(), values)
    return parts.detach(), gradient


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("scales", [(3.0, 3.0, 3.0, 3.0), (1.0, 0.0, -2.0, 0.5)])
def test_value_and_gradient_of_every_prefix(by_column: bool, symmetric: bool, scales: tuple) -> None:
    batch = make_batch(by_column=by_column)
    parts, gradient = parts_and_gradient(
        InfoNCE(0.05, symmetric=symmetric), batch, None, torch.tensor(scales)
    )
    values = vectors().requires_grad_()
    expected = torch.stack(
        [
            weight * written_out(values[:, :dim], batch, 0.05, symmetric)
            for dim, weight in zip(DIMS, (1.0, 0.5, 2.0, 0.25), strict=True)
        ]
    )
    torch.testing.assert_close(parts, expected.detach())
    (wanted,) = torch.autograd.grad((expected * torch.tensor(scales)).sum(), values)
    # normalize lets a slope of 1e12 through at a prefix of zeros; here it has none.
    compared = [number for number in range(ITEMS) if number not in (6, 30)]
    torch.testing.assert_close(gradient[compared], wanted[compared])
    assert torch.equal(gradient[30], torch.zeros(24, dtype=torch.float64))
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("by_column", [True, False])
@pytest.mark.parametrize("loss", [InfoNCE(symmetric=True), InfoNCE(0.5, similarity="dot")])
def test_any_block_size_gives_the_same(loss: InfoNCE, by_column: bool) -> None:
    batch, scales = make_batch(by_column=by_column), torch.ones(4)
    whole = parts_and_gradient(loss, batch, 2**26, scales)
    # One row at a time, odd pieces, and chunks of one candidate.
    for memory in (1, 9_000, 17_001, 40_000):
        torch.testing.assert_close(parts_and_gradient(loss, batch, memory, scales), whole)


def test_float32_stays_close_to_float64() -> None:
    batch, scales = make_batch(by_column=False), torch.ones(4)
    exact = parts_and_gradient(InfoNCE(), batch, None, scales)
    single = parts_and_gradient(InfoNCE(), batch, 9_000, scales, torch.float32)
    assert single[1].dtype == torch.float32
    torch.testing.assert_close(single[0].double(), exact[0], rtol=1e-5, atol=0)
    assert float((single[1].double() - exact[1]).norm() / exact[1].norm()) < 1e-5


@pytest.mark.parametrize("temperature", [1e-4, 0.003])
def test_a_very_small_temperature_neither_overflows_nor_underflows(temperature: float) -> None:
    batch = make_batch(by_column=True)
    exact = parts_and_gradient(InfoNCE(temperature), batch, None, torch.ones(4))
    single = parts_and_gradient(InfoNCE(temperature), batch, None, torch.ones(4), torch.float32)
    torch.testing.assert_close(single[0].double(), exact[0], rtol=1e-4, atol=0)
    assert torch.isfinite(single[1]).all()


def test_gradcheck() -> None:
    columns = torch.tensor([[0, 4, 8], [1, 5, 4], [0, 6, -1], [3, 7, 9]])
    batch = Batch(
        [], torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 4, 9]), columns, ("query", "document", "document")
    )
    values = torch.randn(10, 6, generator=seeded(0), dtype=torch.float64).requires_grad_()
    for loss in (InfoNCE(0.2, symmetric=True), InfoNCE(1.0, similarity="dot")):
        plan = loss.plan(batch)
        # Each part on its own, and so with unequal scales.
        assert torch.autograd.gradcheck(
            lambda v, plan=plan, loss=loss: prefix_parts(
                v, plan, (6, 2), similarity=loss.similarity, memory=600
            )["infonce"],
            (values,),
        )


def test_parts_may_be_sent_back_twice_and_one_by_one() -> None:
    values, batch = vectors().requires_grad_(), make_batch(by_column=True)
    parts = Matryoshka(InfoNCE(), DIMS)(Embeddings(values), batch)
    total = torch.stack(list(parts.values())).sum()
    (whole,) = torch.autograd.grad(total * 3, values, retain_graph=True)
    (again,) = torch.autograd.grad(total, values, retain_graph=True)
    torch.testing.assert_close(whole, 3 * again)
    single = [torch.autograd.grad(part, values, retain_graph=True)[0] for part in parts.values()]
    torch.testing.assert_close(torch.stack(single).sum(0), again)
    assert float(single[1][:, 5:].abs().max()) == 0.0, "the part of 5 dimensions reaches no further"


def test_without_gradient_only_values_are_computed() -> None:
    batch = make_batch(by_column=True)
    expected = InfoNCE()(Embeddings(vectors().requires_grad_()), batch)["infonce"]
    assert expected.requires_grad
    with torch.no_grad():
        value = InfoNCE()(Embeddings(vectors().requires_grad_()), batch)["infonce"]
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach())


@dataclass(frozen=True)
class SquaredScores:
    """Another term, to show that terms of several names go side by side."""

    name: str
    left: Tensor
    right: Tensor
    scale: float = 2.0
    weight: float = 0.5

    def rows(self, scores_lR: Tensor, begin: int, gradient_lR: Tensor | None) -> Tensor:
        if gradient_lR is not None:
            torch.mul(scores_lR, 2, out=gradient_lR)
        return scores_lR.square().sum(1)


def test_any_terms_under_several_names() -> None:
    left, right = torch.tensor([3, 0, 3]), torch.tensor([1, 2, 5, 8])
    terms = [SquaredScores("one", left, right), SquaredScores("two", right, left.unique(), 1.0, 3.0)]
    values = vectors().requires_grad_()
    parts = prefix_parts(values, [*terms, terms[0]], (7, 24), similarity="cosine", memory=1)
    assert list(parts) == ["one", "two"]
    for number, dim in enumerate((7, 24)):
        unit = normalize(values[:, :dim], dim=1)
        one = 2 * 0.5 * (2.0 * unit[left] @ unit[right].T).square().sum()
        two = 3.0 * (unit[right] @ unit[left.unique()].T).square().sum()
        torch.testing.assert_close(parts["one"][number], one)
        torch.testing.assert_close(parts["two"][number], two)
        got = torch.autograd.grad(parts["one"][number] + 5 * parts["two"][number], values, retain_graph=True)
        torch.testing.assert_close(got, torch.autograd.grad(one + 5 * two, values))


def test_shares_of_the_rows_add_up_to_the_whole() -> None:
    """What several processes do with a gathered batch."""
    loss, batch = Matryoshka(InfoNCE(symmetric=True), DIMS, (1, 2, 3, 4)), make_batch(by_column=False)
    values = vectors().requires_grad_()
    whole = loss(Embeddings(values), batch)
    wanted = torch.autograd.grad(sum(whole.values()), values)[0]
    total, gradient = dict.fromkeys(whole, 0.0), torch.zeros_like(values)
    for scored in (slice(0, 6), slice(6, 6), slice(6, 23)):
        batch.scored = scored
        share = loss(Embeddings(values), batch)
        gradient += torch.autograd.grad(sum(share.values()), values)[0]
        for name, part in share.items():
            total[name] += part.item()
    assert total == pytest.approx({name: part.item() for name, part in whole.items()}, rel=1e-12)
    torch.testing.assert_close(gradient, wanted)


def test_lengths_of_prefixes() -> None:
    values = torch.tensor([[3.0, 4.0, 0.0, 12.0], [0.0, 0.0, 2.0, 0.0]])
    expected = torch.tensor([[0.2, 0.0], [1 / 13, 0.5]])
    torch.testing.assert_close(prefix_inverse_norms(values, ((0, 2), (2, 4))), expected)


def test_memory_stays_within_its_bound() -> None:
    """6,000 rows: one score matrix takes 144 MB, its seven prefixes and their gradients 2 GB."""
    script = """
        import torch
        from pathlib import Path
        from sightline.losses.blockwise import prefix_parts
        from sightline.losses.contrastive import InfoNCE
        from sightline.types import Batch

        def status(name):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024

        def run(rows):
            values = torch.randn(2 * rows, 14).requires_grad_()
            columns = torch.arange(2 * rows).view(rows, 2)
            plan = InfoNCE().plan(Batch([], torch.arange(2 * rows), columns, ("query", "document")))
            parts = prefix_parts(values, plan, (2, 4, 6, 8, 10, 12, 14), similarity="cosine", memory=2**25)
            parts["infonce"].sum().backward()

        torch.set_num_threads(1)
        run(64)
        before = status("VmRSS")
        run(6000)
        print(status("VmHWM") - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2**25 + 40e6
