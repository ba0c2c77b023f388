"""Losses on token vectors: against the scores written out in full, gradients, blocks, parity with ST's scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sightline.errors import ConfigError
from sightline.losses import late
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, MarginMSE
from sightline.modules import maxsim
from sightline.training.memory import LiveBytes
from sightline.types import Batch, Embeddings

ITEMS, TOKENS, DIM = 14, 7, 6
# A positive of two rows, an anchor twice, a negative that is another row's positive, absent cells.
COLUMNS = [[0, 5, 8], [1, 6, 5], [0, 7, -1], [2, 5, 9], [3, 10, 11], [4, -1, 8], [3, 12, 13]]
KEYS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 12, 2]


def make_batch(columns: list[list[int]] = COLUMNS, **facts: object) -> Batch:
    return Batch(
        micro_batches=[],
        keys_N=torch.tensor(KEYS),
        columns_BC=torch.tensor(columns),
        roles=("query", *["document"] * (len(columns[0]) - 1)),
        **facts,  # type: ignore[arg-type]
    )


def token_vectors(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Vectors, and masks with padding behind, in front, and holes within."""
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(ITEMS, TOKENS, DIM, generator=generator, dtype=torch.float64).to(dtype)
    mask = torch.rand(ITEMS, TOKENS, generator=generator) > 0.4
    mask[:, 3] = True
    return values, mask


def scores(values: Tensor, mask: Tensor, mean: bool) -> Tensor:
    """(N, N) MaxSim of every item, as a query, with every item, as a document; all products at once."""
    products = torch.einsum("asd,btd->abst", values, values).masked_fill(~mask[None, :, None], -torch.inf)
    found = (products.amax(3) * mask[:, None]).sum(2)
    return found / mask.sum(1)[:, None] if mean else found


def written_out(values: Tensor, mask: Tensor, batch: Batch, loss: InfoNCE) -> Tensor:
    """InfoNCE by its definition on the whole matrix, differentiable."""
    compared = normalize(values, dim=-1) if loss.similarity == "cosine" else values
    matrix = scores(compared, mask, loss.similarity == "meanmaxsim") / loss.temperature
    cells, keys = batch.columns_BC.tolist(), batch.keys_N.tolist()
    rows = [(a, p) for a, p, *_ in cells if a >= 0 and p >= 0]
    documents = {cell for row in cells for cell in row[1:] if cell >= 0}
    directions = [(rows, documents, matrix)]
    if loss.symmetric:
        directions.append(([(p, a) for a, p in rows], {a for a, _ in rows}, matrix.t()))
    terms = []
    for pairs, candidates, table in directions:
        for left, target in pairs:
            answers = {keys[b] for a, b in pairs if keys[a] == keys[left]} | {keys[left]}
            chosen = [c for c in candidates if c == target or keys[c] not in answers]
            terms.append((torch.logsumexp(table[left, chosen], 0) - table[left, target]) / len(pairs))
    return torch.stack(terms).sum() / len(directions)


LOSSES = [
    InfoNCE(temperature=1.0, similarity="maxsim"),
    InfoNCE(temperature=0.5, symmetric=True),
    InfoNCE(temperature=0.3, symmetric=True, similarity="meanmaxsim"),
    InfoNCE(temperature=2.0, similarity="dot"),
]


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_infonce_equals_the_scores_written_out(
    loss: InfoNCE, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:  # blocks of few rows and few documents
        monkeypatch.setattr(maxsim, "CPU_PRODUCTS", 60)
        monkeypatch.setattr(late, "QUERY_TOKENS", 9)
        monkeypatch.setattr(late, "_MATCHES", 50)
    values, mask = token_vectors()
    batch = make_batch()
    expected_at = values.clone().requires_grad_()
    expected = written_out(expected_at, mask, batch, loss)
    expected.backward()
    found_at = values.clone().requires_grad_()
    found = loss(Embeddings(found_at, mask), batch)["infonce"]
    found.backward()
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(found_at.grad, expected_at.grad, atol=1e-12, rtol=0)
    torch.testing.assert_close(loss(Embeddings(values, mask), batch)["infonce"], expected.detach())


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss: InfoNCE) -> None:
    values, mask = token_vectors()
    batch = make_batch()
    assert torch.autograd.gradcheck(
        lambda given: loss(Embeddings(given, mask), batch)["infonce"], values.requires_grad_()
    )


def test_a_second_backward_pass_computes_the_gradient_again() -> None:
    """The one that came along with the value is handed out once."""
    values, mask = token_vectors()
    batch, loss = make_batch(), LOSSES[1]
    one, two = values.clone().requires_grad_(), values.clone().requires_grad_()
    found = loss(Embeddings(one, mask), batch)["infonce"]
    (3.0 * found).backward(retain_graph=True)
    (2.0 * found).backward()
    (5.0 * written_out(two, mask, batch, loss)).backward()
    torch.testing.assert_close(one.grad, two.grad)


def test_what_is_masked_does_not_matter() -> None:
    values, mask = token_vectors()
    other = torch.where(mask[..., None], values, torch.randn_like(values) * 9)
    one, two = (
        LOSSES[0](Embeddings(given.requires_grad_(), mask), make_batch()) for given in (values, other)
    )
    torch.testing.assert_close(one, two)
    one["infonce"].backward()
    assert values.grad is not None
    assert (values.grad[~mask] == 0).all()


def test_order_and_padding_do_not_matter() -> None:
    values, mask = token_vectors()
    expected = LOSSES[2](Embeddings(values, mask), make_batch())
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(1))
    place = torch.argsort(order)
    batch = make_batch()
    cells = batch.columns_BC
    batch.columns_BC = torch.where(cells >= 0, place[cells.clamp_min(0)], -1)
    batch.keys_N = batch.keys_N[order]
    found = LOSSES[2](Embeddings(values[order], mask[order]).compact(), batch)
    torch.testing.assert_close(found, expected)


def test_a_document_without_tokens_is_last_and_gets_no_gradient() -> None:
    values, mask = token_vectors()
    mask[8] = False
    values.requires_grad_()
    found = LOSSES[0](Embeddings(values, mask), make_batch())["infonce"]
    found.backward()
    assert torch.isfinite(found)
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    assert (values.grad[8] == 0).all()
    mask[:] = False
    assert torch.isfinite(LOSSES[0](Embeddings(values.detach(), mask), make_batch())["infonce"])


def test_matryoshka_compares_prefixes_of_tokens_at_unit_length() -> None:
    values, mask = token_vectors()
    loss = InfoNCE(temperature=1.0, similarity="maxsim")
    found = Matryoshka(loss, (6, 3), (1.0, 0.5))(Embeddings(values, mask), make_batch())
    for dim, weight in ((6, 1.0), (3, 0.5)):
        cut = normalize(values[..., :dim], dim=-1)
        expected = weight * written_out(cut, mask, make_batch(), loss)
        torch.testing.assert_close(found[f"infonce_dim{dim}"], expected)


def test_rows_of_several_processes_add_up() -> None:
    values, mask = token_vectors()
    batch = make_batch()
    whole = LOSSES[1](Embeddings(values, mask), batch)["infonce"]
    shares = []
    for rows in (slice(0, 3), slice(3, 7)):
        batch.scored = rows
        shares.append(LOSSES[1](Embeddings(values, mask), batch)["infonce"])
    torch.testing.assert_close(sum(shares), whole)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MarginMSE(similarity="maxsim"),
        lambda: DistillKL("meanmaxsim", 0.7),
        lambda: MarginMSE("cosine"),
    ],
)
def test_distillation_equals_the_scores_written_out(make: Callable[[], Loss]) -> None:
    loss = make()
    assert isinstance(loss, (MarginMSE, DistillKL))
    values, mask = token_vectors()
    targets = torch.randn(len(COLUMNS), 2, generator=torch.Generator().manual_seed(5))
    batch = make_batch(targets={"scores": targets})
    rows = [number for number, row in enumerate(COLUMNS) if min(row) >= 0]
    one, two = values.clone().requires_grad_(), values.clone().requires_grad_()
    compared = normalize(two, dim=-1) if loss.similarity == "cosine" else two
    matrix = scores(compared, mask, loss.similarity == "meanmaxsim")
    student = torch.stack([matrix[COLUMNS[row][0], COLUMNS[row][1:]] for row in rows])
    teacher = targets[rows].double()
    if isinstance(loss, MarginMSE):
        expected = (student[:, 0] - student[:, 1] - teacher[:, 0] + teacher[:, 1]).square().mean()
    else:
        t = loss.temperature
        log_student, soft = (student / t).log_softmax(1), (teacher / t).softmax(1)
        expected = t**2 * (soft * (soft.log() - log_student)).sum() / len(rows)
    found = sum(loss(Embeddings(one, mask), batch).values())
    assert isinstance(found, Tensor)
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    torch.testing.assert_close(one.grad, two.grad)


def test_maxsim_of_one_vector_per_item_is_refused() -> None:
    values = torch.randn(ITEMS, DIM)
    with pytest.raises(ConfigError, match="one vector per item"):
        InfoNCE(similarity="maxsim")(Embeddings(values), make_batch())
    with pytest.raises(ConfigError, match="one vector per item"):
        MarginMSE(similarity="meanmaxsim")(
            Embeddings(values), make_batch(targets={"scores": torch.zeros(len(COLUMNS), 2)})
        )


def test_the_products_of_all_tokens_never_exist() -> None:
    """96 queries and 96 documents of 64 tokens: 151 MB of products; the vectors are 3 MB."""
    rows, tokens, dim = 96, 64, 64
    values = torch.randn(2 * rows, tokens, dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    cells = torch.stack([torch.arange(rows), torch.arange(rows) + rows], 1)
    batch = Batch([], torch.arange(2 * rows), cells, roles=("query", "document"))
    mask = torch.ones(2 * rows, tokens, dtype=torch.bool)
    with LiveBytes([values, mask]) as live:
        InfoNCE(temperature=1.0, symmetric=True, similarity="maxsim")(Embeddings(values, mask), batch)[
            "infonce"
        ].backward()
    assert values.grad is not None
    assert live.peak < 40e6
