"""InfoNCE: value against a naive loop, gradients, masks, permutations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses.base import Loss, ScoreLoss
from sightline.losses.contrastive import InfoNCE
from sightline.types import Batch, Embeddings

# Rows with what real data contains: a positive of two rows, an anchor that occurs twice with different
# positives, a hard negative that is another row's positive, absent cells, a document that equals an anchor.
COLUMNS = [[0, 5, 8], [1, 6, 5], [0, 7, -1], [2, 5, 9], [3, 10, 11], [4, -1, 8], [3, 12, 13]]
# Item 11 has the content of item 10 (the row's own positive), item 13 that of item 2 (another row's anchor).
KEYS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 12, 2]


def make_batch(columns: list[list[int]] = COLUMNS, keys: list[int] = KEYS) -> Batch:
    return Batch(
        micro_batches=[],
        keys_N=torch.tensor(keys),
        columns_BC=torch.tensor(columns),
        roles=("query", *["document"] * (len(columns[0]) - 1)),
    )


def vectors(count: int = 14, dim: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def naive(values: Tensor, columns: list[list[int]], keys: list[int], t: float, *, backwards: bool) -> float:
    """The definition, one pair at a time."""
    rows = [(row[0], row[1]) for row in columns if row[0] >= 0 and row[1] >= 0]
    documents = {cell for row in columns for cell in row[1:] if cell >= 0}
    if backwards:
        documents, rows = {a for a, _ in rows}, [(p, a) for a, p in rows]
    total = 0.0
    for query, target in rows:
        answers = {keys[p] for q, p in rows if keys[q] == keys[query]} | {keys[query]}
        candidates = [d for d in documents if d == target or keys[d] not in answers]
        exps = {d: math.exp(cosine(values[query], values[d]) / t) for d in candidates}
        total -= math.log(exps[target] / sum(exps.values()))
    return total / len(rows)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_value_equals_the_naive_loop(temperature: float) -> None:
    values = vectors()
    forwards = naive(values, COLUMNS, KEYS, temperature, backwards=False)
    backwards = naive(values, COLUMNS, KEYS, temperature, backwards=True)
    batch = make_batch()
    assert float(InfoNCE(temperature)(Embeddings(values), batch)["infonce"]) == pytest.approx(
        forwards, abs=1e-12
    )
    both = InfoNCE(temperature, symmetric=True)(Embeddings(values), batch)["infonce"]
    assert float(both) == pytest.approx((forwards + backwards) / 2, abs=1e-12)


@pytest.mark.parametrize("loss", [InfoNCE(), InfoNCE(symmetric=True), InfoNCE(1.0, similarity="dot")])
def test_gradcheck(loss: InfoNCE) -> None:
    batch = make_batch()
    values = vectors(dim=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: loss(Embeddings(v), batch)["infonce"], (values,))


def test_dot_scores_are_not_normalised() -> None:
    values, batch = vectors(4), make_batch([[0, 2], [1, 3]], [0, 1, 2, 3])
    expected = torch.nn.functional.cross_entropy(values[:2] @ values[2:].T / 0.5, torch.arange(2))
    got = InfoNCE(0.5, similarity="dot")(Embeddings(values), batch)["infonce"]
    torch.testing.assert_close(got, expected)


def test_rows_items_and_hard_negative_columns_may_be_permuted() -> None:
    values, loss = vectors(), InfoNCE(symmetric=True)
    expected = loss(Embeddings(values), make_batch())["infonce"]
    order = torch.randperm(14, generator=torch.Generator().manual_seed(0))
    place = torch.argsort(order).tolist()
    columns = [[place[c] if c >= 0 else -1 for c in row] for row in reversed(COLUMNS)]
    keys = [KEYS[i] for i in order.tolist()]
    torch.testing.assert_close(
        loss(Embeddings(values[order]), make_batch(columns, keys))["infonce"], expected
    )
    with_empty_column = [[a, p, -1, n] for a, p, n in COLUMNS]
    torch.testing.assert_close(loss(Embeddings(values), make_batch(with_empty_column))["infonce"], expected)


def test_masked_pairs_do_not_touch_the_value() -> None:
    """Two positives of one anchor, and a hard negative equal to the positive, never push each other away."""
    values = vectors().requires_grad_()
    columns, keys = [[0, 2, 4], [0, 3, 2]], [0, 1, 2, 3, 2]
    loss = InfoNCE()(Embeddings(values), make_batch(columns, keys))["infonce"]
    # Row 0 may compare only its own positive (3 answers the same anchor, 4 is the positive's content again).
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    loss.backward()
    assert values.grad is not None
    assert torch.equal(values.grad, torch.zeros_like(values))


def test_an_item_in_many_cells_counts_once() -> None:
    values = vectors(5)
    once = InfoNCE()(Embeddings(values), make_batch([[0, 2, 4], [1, 3, -1]], [0, 1, 2, 3, 4]))["infonce"]
    often = InfoNCE()(Embeddings(values), make_batch([[0, 2, 4], [1, 3, 4]], [0, 1, 2, 3, 4]))["infonce"]
    torch.testing.assert_close(once, often)


def test_a_positive_with_its_anchors_own_content_stays_a_target() -> None:
    values = vectors(4)
    loss = InfoNCE()(Embeddings(values), make_batch([[0, 1], [2, 3]], [7, 7, 8, 8]))["infonce"]
    assert float(loss) > 0


def test_zero_vectors_and_incomplete_batches_give_finite_gradients() -> None:
    values = vectors()
    values[[0, 5]] = 0.0
    values.requires_grad_()
    InfoNCE(symmetric=True)(Embeddings(values), make_batch())["infonce"].backward()
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    empty = InfoNCE()(Embeddings(values), make_batch([[0, -1], [-1, 3]], KEYS))["infonce"]
    assert empty.item() == 0.0
    empty.backward()


def test_low_precision_vectors_are_scored_in_float32() -> None:
    values = vectors(dtype=torch.bfloat16)
    low = InfoNCE()(Embeddings(values), make_batch())["infonce"]
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, InfoNCE()(Embeddings(values.float()), make_batch())["infonce"])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ConfigError, match="temperature above 0"):
        InfoNCE(temperature=0)
    with pytest.raises(ConfigError, match="euclidean"):
        InfoNCE(similarity="euclidean")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one document column"):
        InfoNCE()(Embeddings(vectors()), make_batch([[0], [1]]))
    with pytest.raises(ConfigError, match="one vector per item"):
        InfoNCE()(Embeddings(torch.zeros(14, 2, 3)), make_batch())


def test_it_is_a_loss_and_a_score_loss() -> None:
    assert isinstance(InfoNCE(), Loss)
    assert isinstance(InfoNCE(), ScoreLoss)
