"""Training on streams: read as they come, shuffled in a buffer, resumed by skipping."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image

from sightline.errors import ConfigError, DataError
from sightline.losses.contrastive import InfoNCE
from sightline.losses.pairwise import CoSENT
from sightline.training.arguments import TrainingArguments
from sightline.training.mixing import STRIDE, MixedOrder
from sightline.training.streams import Stream, StreamSettings, is_stream
from sightline.training.trainer import Trainer
from support.run_arguments import run_arguments

ROWS = [{"q": f"what about pump {n}", "d": f"all of pump {n}"} for n in range(30)]
SCORED = [{"a": f"valve {n}", "b": f"valve {n % 3} report", "score": (n % 3) / 2} for n in range(10)]
IN_ORDER = StreamSettings(buffer=1)


class Counting:
    """An iterable of a person's own that counts how often it was begun and how many rows were taken."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.begun = self.taken = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.begun += 1
        for row in self.rows:
            self.taken += 1
            yield row


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    usual = {"per_device_train_batch_size": 4, "max_steps": 6, "learning_rate": 1e-2}
    return run_arguments(folder, **(usual | options))


def test_what_is_a_stream() -> None:
    dataset = datasets.Dataset.from_list(ROWS)
    assert is_stream(dataset.to_iterable_dataset())
    assert is_stream(Counting(ROWS))
    assert is_stream(row for row in ROWS)
    for other in (dataset, ROWS, {"q": ["a"], "d": ["b"]}, None):
        assert not is_stream(other)


@pytest.mark.parametrize("kind", ["iterable", "datasets"])
def test_rows_in_order_once_and_again(kind: str) -> None:
    source = Counting(ROWS) if kind == "iterable" else datasets.Dataset.from_list(ROWS).to_iterable_dataset()
    stream = Stream(source, IN_ORDER)
    assert stream.column_names == ("q", "d")
    assert [stream[number] for number in range(70)] == [(n, ROWS[n % 30]) for n in range(70)]
    if isinstance(source, Counting):
        assert (source.begun, source.taken) == (3, 70)


@pytest.mark.parametrize("kind", ["iterable", "datasets"])
def test_the_shuffle_buffer_is_seeded_and_differs_from_pass_to_pass(kind: str) -> None:
    def read(seed: int) -> list[str]:
        source = (
            Counting(ROWS) if kind == "iterable" else datasets.Dataset.from_list(ROWS).to_iterable_dataset()
        )
        stream = Stream(source, StreamSettings(seed=seed, buffer=8))
        return [stream[number][1]["q"] for number in range(60)]

    first = read(1)
    assert first == read(1) != read(2)
    assert sorted(first[:30]) == sorted(first[30:]) == sorted(row["q"] for row in ROWS)
    assert first[:30] != first[30:]
    assert first[:30] != [row["q"] for row in ROWS]


def test_rows_that_are_forgotten_are_read_again() -> None:
    source = Counting(ROWS)
    stream = Stream(source, StreamSettings(seed=3, buffer=8, keep=5))
    seen = [stream[number][1] for number in range(40)]
    begun = source.begun
    assert [stream[number][1] for number in range(36, 40)] == seen[36:]
    assert source.begun == begun, "what is remembered is not read again"
    assert stream[3] == (3, seen[3])
    assert source.begun > begun
    assert [stream[number][1] for number in range(20, 40)] == seen[20:]


def test_media_stay_files(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "page.png")
    features = datasets.Features({"q": datasets.Value("string"), "page": datasets.Image()})
    dataset = datasets.Dataset.from_dict({"q": ["x"], "page": [str(tmp_path / "page.png")]}, features)
    row = Stream(dataset.to_iterable_dataset(), IN_ORDER)[0][1]
    assert isinstance(row["page"], dict)
    assert set(row["page"]) == {"bytes", "path"}


def test_workers_do_not_get_the_stream() -> None:
    stream = Stream(Counting(ROWS), IN_ORDER)
    again = pickle.loads(pickle.dumps(stream))
    assert again.column_names == stream.column_names
    assert again._source is None


def test_what_cannot_be_streamed_is_named(make_encoder: Callable, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the training dataset has no rows"):
        Stream(Counting([]), IN_ORDER)
    with pytest.raises(DataError, match="row 0 of the training dataset is a str"):
        Stream(Counting(["a"]), IN_ORDER)  # type: ignore[list-item]
    once = Stream((row for row in ROWS), IN_ORDER)
    with pytest.raises(DataError, match="can be read once only"):
        once[30]
    with pytest.raises(ConfigError, match="a stream has no end at which training could stop; set max_steps"):
        Trainer(
            make_encoder(), InfoNCE(), train_dataset=Counting(ROWS), args=arguments(tmp_path, max_steps=-1)
        )
    with pytest.raises(ConfigError, match="is a stream; only training data may be"):
        Trainer(make_encoder(), InfoNCE(), eval_dataset=Counting(ROWS), args=arguments(tmp_path))
    sets = {"a": Counting(ROWS), "b": ROWS}
    with pytest.raises(ConfigError, match=r"a stream has no size .*'round_robin' or to a weight per dataset"):
        Trainer(make_encoder(), InfoNCE(), train_dataset=sets, args=arguments(tmp_path))
    with pytest.raises(ConfigError, match="stream_buffer must be at least 1"):
        arguments(tmp_path, stream_buffer=0)
    with pytest.raises(DataError, match="CoSENT needs a label column, but the training dataset has none"):
        Trainer(make_encoder(), CoSENT(), train_dataset=Counting(ROWS), args=arguments(tmp_path)).train()


def test_a_run_reads_no_further_than_it_has_to(make_encoder: Callable, tmp_path: Path) -> None:
    source = Counting(ROWS * 1000)
    trainer = Trainer(
        make_encoder(), InfoNCE(), train_dataset=source, args=arguments(tmp_path, stream_buffer=16)
    )
    assert trainer.train().global_step == 6
    assert source.begun == 1
    # 24 rows of batches, one batch that accelerate looks ahead, and the buffer.
    assert source.taken <= 24 + 4 + 16 + 1
    assert all(entry["items"] == 8 for entry in trainer.state.log_history[:-1])


def test_a_stream_in_order_trains_as_its_rows_in_order(make_encoder: Callable, tmp_path: Path) -> None:
    """The same batches by hand, one epoch of each: the weights agree."""
    weights = []
    for workers in (0, 2):
        encoder = make_encoder()
        args = arguments(tmp_path, stream_buffer=1, dataloader_num_workers=workers, max_steps=7)
        Trainer(encoder, InfoNCE(), train_dataset=Counting(ROWS[:28]), args=args).train()
        weights.append(encoder.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_ends_where_the_whole_run_ends(make_encoder: Callable, tmp_path: Path, workers: int) -> None:
    """In the second pass over the stream, with batches accumulated."""

    def trainer(encoder: Any, folder: str) -> Trainer:
        args = arguments(
            tmp_path / folder, max_steps=9, save_strategy="steps", save_steps=5, gradient_accumulation_steps=2,
            stream_buffer=8, dataloader_num_workers=workers,
        )  # fmt: skip
        source = datasets.Dataset.from_list(ROWS).to_iterable_dataset()
        return Trainer(encoder, InfoNCE(), train_dataset=source, args=args)

    whole, again = make_encoder(), make_encoder(5)
    trainer(whole, "whole").train()
    resumed = trainer(again, "again")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    assert resumed.state.global_step == 9
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("sampler", ["round_robin", {"stream": 2.0, "rows": 1.0}])
def test_a_stream_beside_rows(make_encoder: Callable, tmp_path: Path, sampler: Any) -> None:
    trainer = Trainer(
        make_encoder(),
        {"stream": InfoNCE(), "rows": CoSENT()},
        train_dataset={"stream": Counting(ROWS), "rows": SCORED},
        args=arguments(tmp_path, multi_dataset_batch_sampler=sampler, max_steps=12, logging_steps=12),
    )
    trainer.train()
    entry = trainer.state.log_history[0]
    assert entry["stream_batches"] + entry["rows_batches"] == 12
    if sampler == "round_robin":
        # Ten rows are three batches; the other three come from its next pass.
        assert entry["stream_batches"] == entry["rows_batches"] == 6


def test_the_order_beside_a_stream_has_the_length_it_is_told() -> None:
    order = MixedOrder({"s": None, "r": range(5)}, 2, strategy="round_robin", batches=7)
    batches = list(order)
    assert len(batches) == len(order) == 7
    assert batches[::2] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert sorted(number - STRIDE for batch in batches[1::2] for number in batch) == list(range(5))


def test_bad_rows_of_a_stream(make_encoder: Callable, tmp_path: Path) -> None:
    broken = [*ROWS[:6], {"q": 3.5, "d": "x"}, *ROWS[7:]]
    with pytest.raises(DataError, match=r"the training dataset cannot be used:\n  row 6, column 'q'"):
        Trainer(
            make_encoder(),
            InfoNCE(),
            train_dataset=Counting(broken),
            args=arguments(tmp_path, stream_buffer=1),
        ).train()
    trainer = Trainer(
        make_encoder(),
        InfoNCE(),
        train_dataset=Counting(broken),
        args=arguments(tmp_path, stream_buffer=1, on_bad_row="skip", save_strategy="steps", save_steps=3),
    )
    trainer.train()
    assert [bad.row for bad in trainer.skipped] == [6]
