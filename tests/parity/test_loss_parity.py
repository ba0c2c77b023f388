"""Loss value and every parameter's gradient equal sentence-transformers' gradient-cached loss inside MatryoshkaLoss.

Both libraries load all-MiniLM-L6-v2, see the same distinct texts, without dropout, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from support.fixtures import MINILM

ROWS = [
    {
        "anchor": f"How many {thing} were counted in {1990 + number}?",
        "positive": f"In {1990 + number} the survey counted {number * 37 + 5} {thing} "
        + "in the region " * (number % 5),
        "negative": f"A note on {thing} without any figures, part {number}.",
        "second": f"Chapter {number}: the history of counting, from stones to machines "
        + "and back " * number,
    }
    for number, thing in enumerate(
        ["pumps", "valves", "trees", "ships", "letters", "bridges", "wells", "towers", "looms", "mills"]
    )
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_pretrained(MINILM, device="cpu")


def theirs(
    columns: Sequence[str], make_loss: Callable[[Any, Any], nn.Module]
) -> tuple[float, dict[str, Tensor]]:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses

    model = SentenceTransformer(str(MINILM), device="cpu").eval()
    features = [model.preprocess([row[column] for row in ROWS]) for column in columns]
    loss = make_loss(model, losses)(features, None)
    loss.backward()
    found = {_plain(name): p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return float(loss.detach()), found


def ours(
    encoder: Encoder, columns: Sequence[str], loss: Loss, *, kept: int | None, budget: int | None
) -> tuple[float, dict[str, Tensor]]:
    builder = BatchBuilder(
        encoder.preprocessor, encoder.collate, choose_columns(columns), encoder.modalities, Limits(budget)
    )
    batch = builder([(number, {c: row[c] for c in columns}) for number, row in enumerate(ROWS)])["batch"]
    assert batch is not None
    parts = Step(kept).run(encoder.eval(), batch, loss)
    found = {_plain(name): p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
    encoder.zero_grad()
    return float(torch.stack(list(parts.values())).sum()), found


def _plain(name: str) -> str:
    """A parameter's name inside the backbone, the same in both libraries."""
    return (
        name[name.index("embeddings.") :] if "embeddings." in name else name[name.index("encoder.layer.") :]
    )


def assert_same(got: tuple[float, dict[str, Tensor]], expected: tuple[float, dict[str, Tensor]]) -> None:
    assert got[0] == pytest.approx(expected[0], abs=1e-5)
    assert len(expected[1]) > 90
    assert set(got[1]) == set(expected[1])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(
            got[1][name], gradient, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("columns", [("anchor", "positive"), ("anchor", "positive", "negative", "second")])
def test_cached_multiple_negatives_ranking_in_matryoshka(encoder: Encoder, columns: Sequence[str]) -> None:
    dims = (384, 256, 128, 64, 32)
    expected = theirs(
        columns,
        lambda model, losses: losses.MatryoshkaLoss(
            model, losses.CachedMultipleNegativesRankingLoss(model, mini_batch_size=1), list(dims)
        ),
    )
    loss = Matryoshka(InfoNCE(temperature=0.05), dims)
    for kept, budget in ((0, 1), (None, None), (2, 200)):
        assert_same(ours(encoder, columns, loss, kept=kept, budget=budget), expected)


def test_both_directions_and_weights(encoder: Encoder) -> None:
    dims, weights = (384, 64), (1.0, 0.3)
    expected = theirs(
        ("anchor", "positive", "negative"),
        lambda model, losses: losses.MatryoshkaLoss(
            model,
            losses.MultipleNegativesRankingLoss(
                model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
            ),
            list(dims),
            list(weights),
        ),
    )
    loss = Matryoshka(InfoNCE(symmetric=True), dims, weights)
    assert_same(ours(encoder, ("anchor", "positive", "negative"), loss, kept=None, budget=300), expected)
