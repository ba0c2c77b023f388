"""Labels, batches and streams that a loss cannot be trained on: told before the first step, with row and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka, Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import DistillKL, EmbeddingDistillation, MarginMSE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.listwise import ListNet
from sightline.losses.needs import needs_of
from sightline.losses.pairwise import Contrastive, CoSENT, CosineSimilarity
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy, ScoreMSE
from sightline.losses.triplets import BatchTriplet
from sightline.training.label_check import LabelCheck
from sightline.training.source import RowSource
from support.refusing import PAIR, TRIPLE, Stream, refused, trainer

# Labels


@pytest.mark.parametrize(
    ("labels", "loss", "good", "bad", "message"),
    [
        (1, BinaryCrossEntropy(), 1, 3.0, "row 2, column 'label': 3, and BinaryCrossEntropy takes labels from 0 to 1; "
            "ScoreMSE takes any"),
        (1, BinaryCrossEntropy(), 0.5, -1, "row 2, column 'label': -1, and BinaryCrossEntropy takes"),
        (1, Sum([ScoreMSE(), BinaryCrossEntropy()]), 1, 2, "row 2, column 'label': 2, and BinaryCrossEntropy"),
        (3, CrossEntropy(), 2, 3, "row 2, column 'label': 3, and CrossEntropy takes whole numbers from 0 to 2; the "
            "model has 3 classes"),
        (3, CrossEntropy(), 0, -1, "row 2, column 'label': -1, and CrossEntropy takes"),
        (3, CrossEntropy(), 1, 0.5, "row 2, column 'label': 0.5, and CrossEntropy takes whole numbers"),
        (3, CrossEntropy(), [0.2, 0.3, 0.5], [2.0, 0.0, 0.0], "row 2, column 'label': 2 at place 0 of the list, and"),
    ],
)  # fmt: skip
def test_labels_out_of_range(
    rerankers: Callable,
    tmp_path: Path,
    labels: int,
    loss: Loss,
    good: Any,
    bad: Any,
    message: str,
) -> None:
    rows = [PAIR | {"label": good} for _ in range(8)]
    rows[2] = PAIR | {"label": bad}
    assert message in refused(rerankers(labels), loss, rows, tmp_path)


def test_labels_out_of_range_in_a_stream_and_left_out(rerankers: Callable, tmp_path: Path) -> None:
    rows = [PAIR | {"label": 2 if number == 2 else 1} for number in range(8)]
    model, loss = rerankers(1), BinaryCrossEntropy()
    assert "row 2, column 'label': 2, and BinaryCrossEntropy" in refused(model, loss, Stream(rows), tmp_path)
    done = trainer(model, loss, rows, tmp_path, on_bad_row="skip", max_steps=1)
    done.train()
    assert [one.row for one in done.skipped] == [2]


@pytest.mark.parametrize(
    ("labels", "loss", "row", "message"),
    [
        (1, BinaryCrossEntropy(), TRIPLE | {"label": 1}, "row 0, column 'label': one number for 2 documents; "
            "BinaryCrossEntropy needs one label per document"),
        (1, ListNet(), TRIPLE | {"label": [1, 0, 0]}, "row 0, column 'label': 3 numbers for 2 documents; ListNet"),
        (1, ScoreMSE(), PAIR | {"label": [1, 0]}, "row 0, column 'label': 2 numbers for one document; ScoreMSE"),
        (1, MarginMSE(), TRIPLE | {"label": [1, 0, 0]}, "needs a label per negative, or one per document"),
        (1, MarginMSE(), PAIR | {"label": 1}, "MarginMSE compares a query's documents, but the rows of the training "
            "dataset have one, in column 'd'"),
        (1, InBatchRanking(0), PAIR, "InBatchRanking compares a query's documents, but"),
        (1, ScoreMSE(), PAIR | {"label": 1, "score": 0.5}, "ScoreMSE takes one label column, but the training dataset "
            "has 'label', 'score'; choose one"),
        (3, CrossEntropy(), TRIPLE, "CrossEntropy needs rows of one pair with its class, but the training dataset has "
            "the documents d, n; labelled_pairs makes such rows"),
        (3, CrossEntropy(), {"q": "a", "d": ["b", "c"], "label": [1, 0]}, "a class for 2 documents together"),
        (3, CrossEntropy(), PAIR | {"label": [0.5, 0.5]}, "2 numbers; CrossEntropy needs the number of a class, or 3 "
            "probabilities"),
    ],
)  # fmt: skip
def test_as_many_labels_as_documents(
    rerankers: Callable, tmp_path: Path, labels: int, loss: Loss, row: dict[str, Any], message: str
) -> None:
    assert message in refused(rerankers(labels), loss, [row] * 8, tmp_path)


@pytest.mark.parametrize(
    ("loss", "row", "message"),
    [
        (CosineSimilarity(), PAIR | {"score": 4.2}, "row 2, column 'score': 4.2, and CosineSimilarity takes labels "
            "from -1 to 1; divide scores of a larger scale by its top"),
        (Contrastive(), PAIR | {"score": 2}, "row 2, column 'score': 2, and Contrastive takes labels from 0 to 1"),
        (Matryoshka(BatchTriplet(), (8,)), PAIR | {"score": 0.5}, "row 2, column 'score': 0.5, and BatchTriplet takes "
            "whole numbers"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
def test_labels_of_embedding_losses(
    make_encoder: Callable, tmp_path: Path, loss: Loss, row: dict[str, Any], message: str, streamed: bool
) -> None:
    rows = [PAIR | {"score": n % 2} for n in range(8)]
    rows[2] = row
    assert message in refused(make_encoder(), loss, Stream(rows) if streamed else rows, tmp_path)


@pytest.mark.parametrize(
    ("loss", "row", "message"),
    [
        (MarginMSE("cosine"), TRIPLE | {"score": [1.0, 0.5, 0.1]}, "3 numbers for 2 documents; MarginMSE needs a"),
        (DistillKL("cosine"), TRIPLE | {"score": [1.0]}, "1 numbers for 2 documents; DistillKL needs one label"),
        (EmbeddingDistillation(), PAIR | {"label": [0.1] * 5}, "compares vectors of 16 components, but those of row 0 "
            "of the training dataset have 5 in column 'label'; use projection=5"),
        (EmbeddingDistillation(), PAIR | {"label": [[0.1] * 16] * 3}, "one for each of its 2 columns, but row 0"),
    ],
)  # fmt: skip
def test_targets_of_a_teacher(
    make_encoder: Callable, tmp_path: Path, loss: Loss, row: dict[str, Any], message: str
) -> None:
    assert message in refused(make_encoder(), loss, [row] * 8, tmp_path)


def test_what_a_loss_takes_is_taken() -> None:
    check = LabelCheck(needs_of(Sum([BinaryCrossEntropy(), ListNet()])))
    check(0, {"label": np.array([True, False])}, 2)
    check(1, {"label": np.array(1.0)}, 1)
    check(2, {"label": np.array([0.25])}, 1)
    LabelCheck(needs_of(MarginMSE()))(3, {"score": np.array(7.5)}, 2)
    LabelCheck(needs_of(MarginMSE()))(3, {"score": np.array([7.5, 1.0, -2.0])}, 3)
    LabelCheck(needs_of(CrossEntropy()), 3)(4, {"label": np.array([2])}, 1)
    LabelCheck(needs_of(CrossEntropy()))(4, {"label": np.array(12)}, 1)
    LabelCheck(needs_of(InfoNCE()))(5, {"label": np.array([3.0, 4.0, 5.0])}, 1)


# Batches and streams


@pytest.mark.parametrize("loss", [InfoNCE(), CoSENT(), BatchTriplet()])
def test_a_batch_of_one_row_has_nothing_to_compare(
    make_encoder: Callable, tmp_path: Path, loss: Loss
) -> None:
    rows = [PAIR | {"label": n} for n in range(4)]
    message = refused(make_encoder(), loss, rows, tmp_path, per_device_train_batch_size=1)
    assert "compares the rows of a batch with each other, and a batch has one; set per_device" in message


def test_a_batch_of_one_row_with_negatives(make_encoder: Callable, tmp_path: Path) -> None:
    done = trainer(make_encoder(), InfoNCE(), [TRIPLE] * 4, tmp_path, per_device_train_batch_size=1)
    assert done.train().global_step == 2


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"q": 3.5, "d": "x", "score": 1}, "row 0, column 'q'"),
        (PAIR | {"score": "much"}, "row 0, column 'score': expected a number"),
        (PAIR | {"score": 4.0}, "row 0, column 'score': 4, and CosineSimilarity takes"),
        (PAIR | {"score": float("nan")}, "row 0, column 'score': not a finite number"),
    ],
)
def test_the_first_row_of_a_stream_is_looked_at(
    make_encoder: Callable, tmp_path: Path, first: dict[str, Any], message: str
) -> None:
    """Before anything is measured or prepared, so before the worker processes have it."""
    rows = [first, *[PAIR | {"score": 1}] * 7]
    made = trainer(make_encoder(), CosineSimilarity(), Stream(rows), tmp_path)
    with pytest.raises(DataError, match=message):
        made._source.check_needs(made._rows.by_name[""])
    skipping = trainer(make_encoder(), CosineSimilarity(), Stream(rows), tmp_path, on_bad_row="skip")
    skipping.train()
    assert [one.row for one in skipping.skipped] == [0]


def test_rows_of_a_stream_are_as_the_first(make_encoder: Callable, tmp_path: Path) -> None:
    rows = [TRIPLE | {"score": [1.0, 0.0]} for _ in range(8)]
    rows[5] = rows[5] | {"score": [1.0]}
    message = refused(make_encoder(), MarginMSE("cosine"), Stream(rows[4:]), tmp_path)
    assert "row 1, column 'score': 1 numbers, where row 0 has 2 numbers; every row needs as many" in message
    rows[5] = rows[0] | {"more": "text"}
    message = refused(make_encoder(), MarginMSE("cosine"), Stream(rows[4:]), tmp_path)
    assert "row 1: it has the column 'more', which row 0 has not" in message


def test_evaluating_other_rows_keeps_nothing_of_them(make_encoder: Callable, tmp_path: Path) -> None:
    rows = [PAIR | {"d": f"valve {n}"} for n in range(4)]
    made = trainer(make_encoder(), InfoNCE(), rows, tmp_path)
    source: RowSource = made._source
    first = made.evaluate(rows)
    kept = len(source._usable)
    for _ in range(3):
        assert made.evaluate(rows)["eval_loss"] == first["eval_loss"]
    assert len(source._usable) == kept
    made.train()
    assert len(source._usable) == kept + 1
