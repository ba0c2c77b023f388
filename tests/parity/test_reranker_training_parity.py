"""Loss and every weight's gradient of a training step on a reranker equal those of ST's CrossEncoder losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import losses as st
from torch import Tensor

from sightline.losses.base import Loss
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.lambda_loss import Lambda
from sightline.losses.listwise import ListNet, PListMLE
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from support.reranker_rows import lists, triplets
from support.reranker_steps import step
from support.tiny_rerankers import bert_scores

ROWS = triplets(6, seed=3)
LISTS = lists(ROWS)
PAIRS = [
    {"query": row["query"], "docs": doc, "label": n % 2}
    for n, row in enumerate(ROWS)
    for doc in [row["positive"]]
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_scores(tmp_path_factory.mktemp("bert"))


def columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[list[Any]]:
    return [[row[name] for row in rows] for name in names]


def listwise(loss: Any) -> Tensor:
    return loss(columns(LISTS, ("query", "docs")), [torch.tensor(row["labels"]) for row in LISTS])


CASES: list[tuple[str, Loss, list[dict[str, Any]], Callable[[CrossEncoder], Tensor]]] = [
    ("lambda", Lambda(), LISTS, lambda model: listwise(st.LambdaLoss(model))),
    ("listnet", ListNet(), LISTS, lambda model: listwise(st.ListNetLoss(model))),
    ("plistmle", PListMLE(), LISTS, lambda model: listwise(st.PListMLELoss(model))),
    (
        "binary cross-entropy",
        BinaryCrossEntropy(2.0),
        PAIRS,
        lambda model: st.BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(2.0))(
            columns(PAIRS, ("query", "docs")), torch.tensor([row["label"] for row in PAIRS])
        ),
    ),
    (
        "in-batch ranking",
        InBatchRanking(None),
        ROWS,
        lambda model: st.MultipleNegativesRankingLoss(model, num_negatives=None)(
            columns(ROWS, tuple(ROWS[0])), torch.zeros(0)
        ),
    ),
]


@pytest.mark.parametrize(("name", "loss", "rows", "theirs"), CASES, ids=[case[0] for case in CASES])
def test_a_step_equals_that_of_sentence_transformers(
    name: str, loss: Loss, rows: list[dict[str, Any]], theirs: Callable[[CrossEncoder], Tensor], folder: Path
) -> None:
    model = CrossEncoder(str(folder), device="cpu").eval()
    value = theirs(model)
    value.backward()
    wanted = {_plain(name): p.grad for name, p in model.named_parameters() if p.grad is not None}

    reranker = Reranker.from_pretrained(folder, device="cpu")
    parts = step(reranker, loss, rows)
    found = {_plain(name): p.grad for name, p in reranker.named_parameters() if p.grad is not None}
    assert float(sum(parts.values())) == pytest.approx(float(value.detach()), abs=1e-5)
    assert set(found) == set(wanted)
    assert len(found) > 30
    for weight, gradient in wanted.items():
        torch.testing.assert_close(
            found[weight], gradient, atol=1e-5, rtol=0, msg=lambda text, weight=weight: f"{weight}: {text}"
        )


def _plain(name: str) -> str:
    """A weight's name inside the transformers model, the same in both libraries."""
    return name[name.index("bert.") :] if "bert." in name else name[name.index("classifier.") :]
