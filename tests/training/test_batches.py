"""Rows to batches, in this process and through worker processes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.errors import DataError
from sightline.training.batches import BadRow, BatchBuilder
from sightline.training.check import bad_rows_error, check_rows
from sightline.training.feeding import make_loader
from sightline.training.limits import Limits
from sightline.training.rows import as_rows, choose_columns
from sightline.training.sampling import BatchOrder
from sightline.training.transport import PackedMicroBatches
from sightline.types import Batch


@pytest.fixture
def make_builder(make_encoder: Callable) -> Callable[..., BatchBuilder]:
    def make(
        *names: str, token_budget: int | None = 40, max_items: int | None = None, **options: object
    ) -> BatchBuilder:
        encoder = make_encoder()
        return BatchBuilder(
            encoder.preprocessor, encoder.collate, choose_columns(names, **options), encoder.modalities,
            Limits(token_budget, max_items),
        )  # fmt: skip

    return make


def items_of(batch: Batch) -> dict[int, list[int]]:
    """Token ids per item index."""
    return {
        int(index): [int(t) for t, there in zip(ids, mask) if there]
        for mb in batch.micro_batches
        for index, ids, mask in zip(mb.indices, mb.features["input_ids"], mb.features["mask"], strict=True)
    }


def test_distinct_items_and_absent_cells(make_builder: Callable) -> None:
    rows = [
        (4, {"q": "one", "d": "two words", "n": None, "label": 1}),
        (9, {"q": "three", "d": "two words", "n": "one", "label": 0}),
    ]
    delivery = make_builder("q", "d", "n", "label")(rows)
    batch = delivery["batch"]
    assert delivery["bad"] == ()
    # "one" as a query and "one" as a document are two items: role and prompt decide the vector too.
    assert batch.columns_BC.tolist() == [[0, 1, -1], [2, 1, 3]]
    assert batch.keys_N[0] == batch.keys_N[3]
    assert len(set(batch.keys_N.tolist())) == 3
    assert batch.roles == ("query", "document", "document")
    assert batch.column_names == ("q", "d", "n")
    assert batch.targets["label"].tolist() == [1, 0]
    assert batch.rows == (4, 9)
    assert sorted(items_of(batch)) == [0, 1, 2, 3]


def test_prompts_make_other_items(make_builder: Callable) -> None:
    builder = make_builder(
        "a", "b", "c", prompts={"a": "x:", "b": "y:"}, roles={"a": "document", "b": "document"}
    )
    batch = builder([(0, {"a": "t", "b": "t", "c": "t"})])["batch"]
    assert batch.columns_BC.tolist() == [[0, 1, 2]]
    assert len(set(batch.keys_N.tolist())) == 1
    assert [len(tokens) for _, tokens in sorted(items_of(batch).items())] == [2, 2, 1]


def test_micro_batches_hold_every_item_once_within_the_budget(
    make_builder: Callable, text_rows: list
) -> None:
    batch = make_builder("anchor", "positive", "negative")(list(enumerate(text_rows)))["batch"]
    assert sorted(i for mb in batch.micro_batches for i in mb.indices.tolist()) == list(
        range(batch.num_items)
    )
    assert all(mb.features["input_ids"].numel() <= 40 for mb in batch.micro_batches)
    singles = make_builder("anchor", "positive", token_budget=None, max_items=1)(list(enumerate(text_rows)))
    assert all(len(mb) == 1 for mb in singles["batch"].micro_batches)


def test_images_and_text_go_into_micro_batches_of_their_own(make_builder: Callable, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)).save(path)
    rows = [
        (0, {"q": "what", "page": str(path)}),
        (1, {"q": "who", "page": {"text": "caption", "image": path}}),
    ]
    batch = make_builder("q", "page")(rows)["batch"]
    assert [mb.features["group"] for mb in batch.micro_batches] == ["image", "text"]
    assert batch.num_items == 4


def test_bad_rows_are_left_out_and_named(make_builder: Callable, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    Image.new("RGB", (50, 50), "blue").save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    rows = [
        (0, {"q": "only here", "page": broken}),
        (1, {"q": "fine", "page": "text"}),
        (2, {"q": 5.0, "page": "text"}),
        (3, {"q": "no page"}),
    ]
    delivery = make_builder("q", "page")(rows)
    assert delivery["batch"].rows == (1,)
    assert delivery["batch"].num_items == 2, "an item that only a bad row has is not embedded"
    assert [bad.row for bad in delivery["bad"]] == [0, 2, 3]
    reasons = [bad.reason for bad in delivery["bad"]]
    assert "row 0, column 'page'" in reasons[0]
    assert "broken.png" in reasons[0]
    assert "row 2, column 'q'" in reasons[1]
    assert "row 3, column 'page'" in reasons[2]
    assert make_builder("q", "page")(rows[2:])["batch"] is None


def test_targets_must_be_numbers(make_builder: Callable) -> None:
    rows = [(0, {"a": "x", "score": 0.5}), (1, {"a": "y", "score": "high"}), (2, {"a": "z"})]
    delivery = make_builder("a", "score")(rows)
    assert delivery["batch"].targets["score"].tolist() == [0.5]
    assert [bad.row for bad in delivery["bad"]] == [1, 2]
    assert "column 'score': expected a number or a list of numbers, got 'high'" in delivery["bad"][0].reason
    uneven = [(0, {"a": "x", "scores": [1, 2]}), (1, {"a": "y", "scores": [1]})]
    with pytest.raises(DataError, match="row 1, column 'scores': 1 numbers, where row 0 has 2"):
        make_builder("a", "scores")(uneven)


def test_packing_keeps_everything(make_batch: Callable) -> None:
    micro_batches = make_batch(per_group=7).micro_batches
    micro_batches[0].features |= {
        "half": torch.randn(3, 2).half(), "bytes": torch.arange(5, dtype=torch.uint8),
        "empty": torch.zeros(0, 4), "scalar": torch.tensor(3), "fused": False,
    }  # fmt: skip
    packed = pickle.loads(pickle.dumps(PackedMicroBatches.pack(micro_batches)))
    assert len(packed) == len(micro_batches)
    assert packed.nbytes > 0
    for got, expected in zip(packed, micro_batches, strict=True):
        assert (got.cost, got.padded_tokens) == (expected.cost, expected.padded_tokens)
        assert torch.equal(got.indices, expected.indices)
        assert set(got.features) == set(expected.features)
        for name, value in expected.features.items():
            if isinstance(value, torch.Tensor):
                assert got.features[name].dtype == value.dtype
                assert torch.equal(got.features[name], value)
            else:
                assert got.features[name] == value
    assert [len(mb) for mb in packed[1:3]] == [7, 7]
    one = packed[1].features["input_ids"]
    assert one.untyped_storage().data_ptr() == packed[2].features["input_ids"].untyped_storage().data_ptr()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_worker_processes(make_builder: Callable, text_rows: list, num_workers: int) -> None:
    builder, rows = make_builder("anchor", "positive", "negative"), as_rows(text_rows)
    loader = make_loader(rows, builder, BatchOrder(range(24), 10, seed=1), num_workers=num_workers)
    seen = []
    for delivery, numbers in zip(loader, BatchOrder(range(24), 10, seed=1), strict=True):
        batch = delivery["batch"]
        here = builder([rows[number] for number in numbers])["batch"]
        assert batch.rows == tuple(numbers)
        assert torch.equal(batch.columns_BC, here.columns_BC)
        assert items_of(batch) == items_of(here)
        seen += numbers
    assert sorted(seen) == list(range(24))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_one_corrupt_image_among_a_thousand(make_builder: Callable, tmp_path: Path, num_workers: int) -> None:
    for number in range(1000):
        Image.new("RGB", (8, 8), (number % 256, number // 256, 90)).save(tmp_path / f"{number}.png")
    corrupt = tmp_path / "617.png"
    corrupt.write_bytes(corrupt.read_bytes()[:-30])
    rows = [{"q": f"question {n}", "page": tmp_path / f"{n}.png"} for n in range(1000)]
    report = check_rows(
        as_rows(rows), make_builder("q", "page"), num_workers=num_workers, show_progress=False
    )
    assert [bad.row for bad in report.bad] == [617]
    assert "row 617, column 'page'" in report.bad[0].reason
    assert str(corrupt) in report.bad[0].reason
    assert len(report.good) == 999


def test_the_list_of_bad_rows_ends_somewhere() -> None:
    bad = [BadRow(number, f"row {number}, column 'page': broken") for number in range(50)]
    text = str(bad_rows_error(bad, 1000))
    assert text.startswith("50 of 1000 rows of the training dataset cannot be used:\n  row 0, column 'page'")
    assert "... and 30 more" in text
    assert 'on_bad_row="skip"' in text
