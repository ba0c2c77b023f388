"""Batches grouped by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError, DataError
from sightline.losses.triplets import BatchTriplet
from sightline.training.arguments import TrainingArguments
from sightline.training.labels import LabelOrder
from sightline.training.trainer import Trainer


@given(
    counts=st.lists(st.integers(1, 15), min_size=2, max_size=6).filter(
        lambda counts: sum(count > 1 for count in counts) > 1
    ),
    half=st.integers(2, 5),
    seed=st.integers(0, 2**32),
    drop_last=st.booleans(),
)
def test_every_batch_has_two_labels_of_two_rows(
    counts: list[int], half: int, seed: int, drop_last: bool
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    order = LabelOrder(range(len(labels)), labels, 2 * half, seed=seed, drop_last=drop_last)
    batches = list(order)
    assert len(batches) == len(order)
    assert batches == list(order)
    drawn = [row for batch in batches for row in batch]
    assert len(set(drawn)) == len(drawn), "no row twice"
    assert all(len(batch) == 2 * half for batch in batches[:-1])
    for batch in batches:
        found = Counter(labels[row] for row in batch)
        assert len(found) > 1
        assert min(found.values()) > 1


def test_epochs_differ_and_reach_the_odd_rows() -> None:
    labels = [0] * 5 + [1] * 5
    order = LabelOrder(range(10), labels, 4, seed=1)
    seen: set[int] = set()
    epochs = []
    for epoch in range(8):
        order.set_epoch(epoch)
        epochs.append(list(order))
        seen |= {row for batch in epochs[-1] for row in batch}
    assert len({str(one) for one in epochs}) > 4
    assert seen == set(range(10))


def train(encoder: Any, rows: Any, folder: Path, **options: Any) -> tuple[Trainer, list[list[int]]]:
    seen: list[list[int]] = []

    def loss(embeddings: Any, batch: Any) -> Any:
        seen.append(batch.targets["label"].tolist())
        return BatchTriplet(margin=1.0)(embeddings, batch)

    args = TrainingArguments(
        output_dir=str(folder), num_train_epochs=1, save_strategy="no", dataloader_num_workers=0, disable_tqdm=True,
        **({"per_device_train_batch_size": 6, "batch_sampler": "group_by_label"} | options),
    )  # fmt: skip
    trainer = Trainer(encoder, loss, train_dataset=rows, args=args)
    trainer.train()
    return trainer, seen


def test_a_run_has_such_batches(make_encoder: Callable, tmp_path: Path) -> None:
    rows = [{"text": f"pump number {n}", "label": n % 8} for n in range(48)]
    _, seen = train(make_encoder(), rows, tmp_path)
    assert len(seen) == 8
    assert all(min(Counter(labels).values()) > 1 for labels in seen)


def test_what_cannot_be_grouped_is_named(make_encoder: Callable, tmp_path: Path) -> None:
    rows = [{"text": f"pump number {n}", "label": n % 8} for n in range(48)]
    with pytest.raises(ConfigError, match="an even batch size of at least 4, not 5"):
        train(make_encoder(), rows, tmp_path, per_device_train_batch_size=5)
    with pytest.raises(DataError, match="needs two labels with two rows each, but only 0 of 48"):
        train(make_encoder(), [row | {"label": n} for n, row in enumerate(rows)], tmp_path)
    with pytest.raises(DataError, match="needs a label column of whole numbers"):
        train(make_encoder(), [row | {"label": 0.5} for row in rows], tmp_path)
    with pytest.raises(ConfigError, match="batch_sampler must be one of"):
        train(make_encoder(), rows, tmp_path, batch_sampler="largest")
