"""Data that does not fit the loss, or whose rows do not fit each other: named before the first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import DataError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, EmbeddingDistillation, MarginMSE
from sightline.losses.joint import FalseNegatives
from sightline.losses.pairwise import CoSENT, CosineSimilarity
from sightline.losses.regularization import OrthogonalRegularization
from sightline.losses.triplets import BatchTriplet, Triplet
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer

PAIR = {"first": "a pump", "second": "a valve"}
TRIPLE = PAIR | {"third": "a table"}


def train(encoder: Any, loss: Any, rows: Any, folder: Path, **options: Any) -> Trainer:
    args = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, max_steps=1, save_strategy="no",
        dataloader_num_workers=0, disable_tqdm=True, **options,
    )  # fmt: skip
    trainer = Trainer(encoder, loss, train_dataset=rows, args=args)
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("loss", "row", "message"),
    [
        (
            CoSENT(),
            PAIR,
            r"CoSENT needs a label column, but the training dataset has none, only 'first', 'second'",
        ),
        (Matryoshka(CosineSimilarity(), (16, 8)), PAIR, "CosineSimilarity needs a label column"),
        (Sum([InfoNCE(), BatchTriplet()]), PAIR, "BatchTriplet needs a label column"),
        (
            CoSENT(),
            PAIR | {"label": 1, "score": 0.5},
            "CoSENT takes one label column, .* has 'label', 'score'",
        ),
        (Triplet(), PAIR, "Triplet compares 3 columns, but the training dataset has only 'first', 'second'"),
        (InfoNCE(), {"first": "a", "label": 1}, "InfoNCE compares 2 columns, .* has only 'first' to embed"),
        (MarginMSE(), PAIR | {"score": 1.0}, "MarginMSE compares 3 columns"),
        (
            CoSENT(),
            PAIR | {"score": [1.0, 2.0]},
            "CoSENT needs one number per row, but row 0 .* has 2 numbers in",
        ),
        (
            DistillKL(),
            TRIPLE | {"score": 1.0},
            "DistillKL needs a list of numbers per row, .* one number in column 's",
        ),
        (
            EmbeddingDistillation(),
            PAIR | {"label": 1.0},
            "needs a list of numbers or a list of vectors per row",
        ),
        (InfoNCE(false_negatives=FalseNegatives()), PAIR, r"by a guide; give Trainer\(guide=an Encoder\)"),
    ],
)
def test_what_a_loss_needs_is_missing(
    make_encoder: Callable, tmp_path: Path, loss: Loss, row: dict, message: str
) -> None:
    encoder = make_encoder()
    before = encoder.out[3].weight.clone()
    with pytest.raises(DataError, match=message):
        train(encoder, loss, [row] * 8, tmp_path)
    assert torch.equal(encoder.out[3].weight, before)


def test_the_dataset_is_named(make_encoder: Callable, tmp_path: Path) -> None:
    losses = {"pairs": InfoNCE(), "scored": CoSENT()}
    with pytest.raises(DataError, match="but the training dataset 'scored' has none"):
        train(make_encoder(), losses, {"pairs": [PAIR] * 8, "scored": [PAIR] * 8}, tmp_path)


@pytest.mark.parametrize(
    ("loss", "row"),
    [
        (CoSENT(), PAIR | {"score": [0.5]}),
        (MarginMSE(), TRIPLE | {"score": [0.5, 0.1]}),
        (OrthogonalRegularization(), PAIR),
        (InfoNCE(), PAIR | {"label": 1}),
    ],
)
def test_what_fits_is_trained(make_encoder: Callable, tmp_path: Path, loss: Loss, row: dict) -> None:
    rows = [row | {"first": f"pump {n}", "second": f"valve {n}"} for n in range(8)]
    assert train(make_encoder(), loss, rows, tmp_path).state.global_step == 1


def test_ragged_lists_are_named_before_the_first_step(make_encoder: Callable, tmp_path: Path) -> None:
    rows = [TRIPLE | {"scores": [0.5, 0.1]} for _ in range(8)]
    rows[6] = TRIPLE | {"scores": [0.5]}
    rows[7] = TRIPLE | {"scores": [0.5, [0.1]]}
    with pytest.raises(DataError) as caught:
        train(make_encoder(), MarginMSE(), rows, tmp_path)
    message = str(caught.value)
    assert message.startswith("2 of 8 rows of the training dataset cannot be used:")
    assert "row 6, column 'scores': 1 numbers, where row 0 has 2 numbers; every row needs as many" in message
    assert "row 7, column 'scores': expected a number or a list of numbers" in message
    trainer = train(make_encoder(), MarginMSE(), rows, tmp_path, on_bad_row="skip")
    assert [bad.row for bad in trainer.skipped] == [6, 7]


def test_rows_with_other_columns_are_named(make_encoder: Callable, tmp_path: Path) -> None:
    rows = [dict(TRIPLE) for _ in range(8)]
    rows[3]["fourth"] = "more"
    del rows[5]["third"]
    with pytest.raises(DataError) as caught:
        train(make_encoder(), InfoNCE(), rows, tmp_path)
    message = str(caught.value)
    assert (
        "row 3: it has the column 'fourth', which row 0 has not; give every row the same columns" in message
    )
    assert "row 5, column 'third': the row has no such column, only first, second" in message
    # Columns that are left out on purpose may be anything.
    chosen = train(make_encoder(), InfoNCE(), rows, tmp_path, columns=["first", "second"])
    assert chosen.state.global_step == 1
