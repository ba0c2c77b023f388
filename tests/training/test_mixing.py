"""Several datasets in one run: which comes when, what each is trained with, and what is said of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError, DataError
from sightline.losses.compose import ByDataset
from sightline.losses.contrastive import InfoNCE
from sightline.losses.pairwise import CoSENT
from sightline.training.arguments import TrainingArguments
from sightline.training.distributed import Ranks
from sightline.training.mixing import STRIDE, MixedOrder, MixedRows, setting_of
from sightline.training.rows import as_rows, named_rows, training_set
from sightline.training.sampling import BatchOrder
from sightline.training.trainer import Trainer
from support.run_arguments import run_arguments

PAIRS = [{"question": f"what about pump {n}", "answer": f"all of pump {n}"} for n in range(12)]
SCORED = [{"first": f"valve {n}", "second": f"valve {n % 3} report", "score": (n % 3) / 2} for n in range(20)]


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    usual = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 1e-2}
    return run_arguments(folder, **(usual | options))


def which(batch: list[int]) -> int:
    found = {number // STRIDE for number in batch}
    assert len(found) == 1, "a batch is of one dataset"
    return found.pop()


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    size=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 3),
)
def test_proportional_gives_every_row_once(counts: list[int], size: int, seed: int, epoch: int) -> None:
    order = MixedOrder({str(n): range(count) for n, count in enumerate(counts)}, size, seed=seed)
    order.set_epoch(epoch)
    batches = list(order)
    assert len(batches) == len(order)
    assert batches == list(order)
    assert {which(batch) for batch in batches} == set(range(len(counts)))
    drawn = sorted(number for batch in batches for number in batch)
    assert drawn == [n * STRIDE + row for n, count in enumerate(counts) for row in range(count)]


def test_one_dataset_has_the_order_it_has_alone() -> None:
    alone, mixed = BatchOrder(range(30), 4, seed=7), MixedOrder({"": range(30)}, 4, seed=7)
    for epoch in range(2):
        alone.set_epoch(epoch)
        mixed.set_epoch(epoch)
        assert list(alone) == list(mixed)


def test_proportional_mixes_the_datasets() -> None:
    order = MixedOrder({"large": range(90), "small": range(30)}, 3, seed=1)
    turns = [which(batch) for batch in order]
    assert Counter(turns) == {0: 30, 1: 10}
    assert turns != sorted(turns)
    order.set_epoch(1)
    assert turns != [which(batch) for batch in order]


def test_round_robin_ends_with_the_shortest() -> None:
    order = MixedOrder({"a": range(20), "b": range(7), "c": range(50)}, 4, strategy="round_robin")
    assert [which(batch) for batch in order] == [0, 1, 2, 0, 1, 2]
    assert len(order) == 6


def test_weights_decide_how_often() -> None:
    rows = {"a": range(40), "b": range(4000)}
    order = MixedOrder(rows, 4, strategy={"a": 3.0, "b": 1.0}, seed=3)
    batches = list(order)
    assert len(batches) == len(order) == 1010
    seen = Counter(which(batch) for batch in batches)
    # 1010 draws of probability 3/4: 757.5 expected, standard deviation 13.8.
    assert abs(seen[0] - 757.5) < 5 * 13.8
    # Ten batches of "a" are one pass over it; each pass has every row once, in another order.
    passes = [batch for batch in batches if which(batch) == 0]
    first, second = passes[:10], passes[10:20]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(40))
    assert first != second


def test_ranks_share_each_batch_and_train_on_the_same_dataset() -> None:
    rows = {"a": range(21), "b": range(10)}
    whole = list(MixedOrder(rows, 4, seed=5))
    shares = [list(MixedOrder(rows, 4, seed=5, ranks=Ranks(rank, 3))) for rank in range(3)]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"strategy": "largest"},
            "must be 'proportional', 'round_robin' or a weight per dataset, not 'largest'",
        ),
        ({"strategy": {"a": 1.0}}, "gives weights to 'a', but the training datasets are 'a', 'b'"),
        ({"strategy": {"a": 1.0, "b": 0}}, "the weight of dataset 'b' must be above 0, not 0"),
        ({"drop_last": True}, "dataset 'b': 2 rows do not fill one batch of 4"),
    ],
)
def test_what_cannot_be_mixed_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MixedOrder({"a": range(8), "b": range(2)}, 4, **options)


def test_what_counts_as_several_datasets() -> None:
    dataset = datasets.Dataset.from_list(PAIRS)

    def names(value: Any) -> list[str]:
        return list(named_rows(value, training_set))

    assert names({"a": PAIRS, "b": SCORED}) == ["a", "b"]
    assert names({"a": dataset, "b": {"x": ["one"], "y": ["two"]}}) == ["a", "b"]
    assert names(datasets.DatasetDict(a=dataset, b=dataset)) == ["a", "b"]
    assert names({"x": ["one"], "y": ["two"]}) == [""]
    assert names({"x": ["one"], "y": [{"text": "two", "image": None}]}) == [""]
    assert names({"x": [{"text": "one"}], "y": [{"text": "two", "image": None}]}) == [""]
    assert names({"x": [[{"role": "user", "content": "one"}]]}) == [""]
    assert names(dataset) == names(PAIRS) == [""]
    with pytest.raises(ConfigError, match=r"choose one, e.g. dataset\['train'\]"):
        names(datasets.DatasetDict(train=dataset, test=dataset))
    with pytest.raises(DataError, match="the training dataset 'b' has no rows"):
        named_rows({"a": PAIRS, "b": {}}, training_set)


def test_rows_by_number() -> None:
    rows = MixedRows({"a": as_rows(PAIRS, key="a"), "b": as_rows(SCORED, key="b")})
    assert len(rows) == 32
    assert rows[STRIDE + 3] == (STRIDE + 3, SCORED[3])
    assert rows.numbers("b", [0, 3]) == [STRIDE, STRIDE + 3]
    assert rows.row_name(STRIDE + 3) == "row 3 of 'b'"
    assert rows.column_names == ("question", "answer", "first", "second", "score")


def test_arguments_for_all_for_one_or_by_column() -> None:
    columns = {"a": ("q", "d"), "b": ("q", "page")}
    assert setting_of("x: ", "a", columns, "prompts") == "x: "
    assert setting_of({"q": "x: ", "page": "y: "}, "a", columns, "prompts") == {"q": "x: "}
    assert setting_of({"q": "x: ", "page": "y: "}, "b", columns, "prompts") == {"q": "x: ", "page": "y: "}
    assert setting_of({"a": "x: "}, "a", columns, "prompts") == "x: "
    assert setting_of({"a": "x: "}, "b", columns, "prompts") is None
    assert setting_of({"a": {"d": "x: "}, "q": "y: "}, "b", columns, "prompts") == {"q": "y: "}
    assert setting_of({"a": ["q"]}, "a", columns, "columns") == ["q"]
    with pytest.raises(DataError, match=r"prompts names .title., which is no dataset \(a, b\) and no column"):
        setting_of({"title": "x: "}, "a", columns, "prompts")


class Seen:
    """A loss that remembers which dataset and columns it was called with."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def __call__(self, embeddings: Any, batch: Any) -> dict[str, torch.Tensor]:
        self.calls.append((batch.dataset, batch.column_names))
        return self.loss(embeddings, batch)


@pytest.mark.parametrize("workers", [0, 2])
def test_each_dataset_has_its_loss_columns_and_log(
    make_encoder: Callable, tmp_path: Path, workers: int
) -> None:
    pairs, scored = Seen(InfoNCE()), Seen(CoSENT())
    trainer = Trainer(
        make_encoder(),
        {"pairs": pairs, "scored": scored},
        train_dataset={"pairs": PAIRS, "scored": SCORED},
        args=arguments(tmp_path, logging_steps=8, dataloader_num_workers=workers),
    )
    assert trainer.train().global_step == 2 * (3 + 5)
    assert pairs.calls == [("pairs", ("question", "answer"))] * 6
    assert scored.calls == [("scored", ("first", "second"))] * 10
    first, second = trainer.state.log_history[:2]
    for entry in (first, second):
        assert (entry["pairs_batches"], entry["scored_batches"]) == (3, 5)
        assert entry["loss"] == pytest.approx(
            (3 * entry["pairs_loss"] + 5 * entry["scored_loss"]) / 8, rel=1e-3
        )
        assert entry["pairs_loss"] == entry["pairs_infonce"]
        assert "infonce" not in entry


def test_one_dataset_under_a_name_is_trained_as_without(make_encoder: Callable, tmp_path: Path) -> None:
    weights = []
    for rows in (PAIRS, {"pairs": PAIRS}):
        encoder = make_encoder()
        Trainer(encoder, InfoNCE(), train_dataset=rows, args=arguments(tmp_path)).train()
        weights.append(encoder.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("sampler", ["proportional", "round_robin", {"pairs": 1.0, "scored": 2.0}])
def test_resuming_ends_where_the_whole_run_ends(make_encoder: Callable, tmp_path: Path, sampler: Any) -> None:
    def trainer(encoder: Any, folder: str) -> Trainer:
        options = {"save_strategy": "steps", "save_steps": 4, "multi_dataset_batch_sampler": sampler}
        return Trainer(
            encoder,
            {"pairs": InfoNCE(), "scored": CoSENT()},
            train_dataset={"pairs": PAIRS, "scored": SCORED},
            args=arguments(tmp_path / folder, dataloader_num_workers=2, **options),
        )

    whole, again = make_encoder(), make_encoder(5)
    trainer(whole, "whole").train()
    resumed = trainer(again, "again")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_rows_left_out_are_told_apart(make_encoder: Callable, tmp_path: Path) -> None:
    broken = [*PAIRS[:3], {"question": 3.5, "answer": "x"}]
    sets = {"pairs": PAIRS, "more": broken}
    with pytest.raises(
        DataError, match=r"1 of 4 rows of the training dataset 'more' cannot be used:\n  row 3, "
    ):
        Trainer(make_encoder(), InfoNCE(), train_dataset=sets, args=arguments(tmp_path)).train()
    options = {"on_bad_row": "skip", "save_strategy": "steps", "save_steps": 4}
    trainer = Trainer(make_encoder(), InfoNCE(), train_dataset=sets, args=arguments(tmp_path, **options))
    trainer.train()
    assert [(bad.dataset, bad.row) for bad in trainer.skipped] == [("more", 3)]
    mended = {"pairs": PAIRS, "more": PAIRS[:4]}
    again = Trainer(make_encoder(), InfoNCE(), train_dataset=mended, args=arguments(tmp_path, **options))
    again.train(resume_from_checkpoint=True)
    assert [(bad.dataset, bad.row) for bad in again.skipped] == [("more", 3)]


def test_a_row_that_turns_bad_names_its_dataset(make_encoder: Callable, tmp_path: Path) -> None:
    sets = {"pairs": PAIRS, "more": [*PAIRS[:3], {"question": 3.5, "answer": "x"}]}
    args = arguments(tmp_path, check_data=False)
    with pytest.raises(
        DataError, match=r"1 of 4 rows of the training dataset 'more' .*\n  row 3, column 'question'"
    ):
        Trainer(make_encoder(), InfoNCE(), train_dataset=sets, args=args).train()


def test_prompts_by_dataset_are_told_in_the_log(
    make_encoder: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = make_encoder()
    encoder.prompts = {"query": "ask: "}
    trainer = Trainer(
        encoder,
        {"pairs": InfoNCE(), "scored": CoSENT()},
        train_dataset={"pairs": PAIRS, "scored": SCORED},
        args=arguments(tmp_path, prompts={"scored": {"first": "compare: ", "second": "compare: "}}),
    )
    with caplog.at_level(logging.INFO, "sightline"):
        trainer.get_train_dataloader()
    lines = [record.getMessage() for record in caplog.records if "Prompts in" in record.getMessage()]
    assert lines == [
        "Prompts in the training dataset 'pairs': question (query): 'ask: ', answer (document): no prompt",
        "Prompts in the training dataset 'scored': first (query): 'compare: ', second (document): 'compare: '",
    ]


def test_losses_and_datasets_must_fit(make_encoder: Callable, tmp_path: Path) -> None:
    losses, args = {"pairs": InfoNCE()}, arguments(tmp_path)
    with pytest.raises(ConfigError, match="no loss for the dataset 'scored'; there are losses for 'pairs'"):
        Trainer(make_encoder(), losses, train_dataset={"pairs": PAIRS, "scored": SCORED}, args=args)
    with pytest.raises(
        ConfigError, match=r"but train_dataset has no names; give it as \{.pairs.: rows, \.\.\.\}"
    ):
        Trainer(make_encoder(), losses, train_dataset=PAIRS, args=args)
    with pytest.raises(ConfigError, match="but eval_dataset has no names"):
        Trainer(make_encoder(), losses, train_dataset={"pairs": PAIRS}, eval_dataset=PAIRS, args=args)
    weights = arguments(tmp_path, multi_dataset_batch_sampler={"pears": 1.0})
    with pytest.raises(ConfigError, match="gives weights to 'pears'"):
        Trainer(make_encoder(), InfoNCE(), train_dataset={"a": PAIRS, "b": PAIRS}, args=weights)


def test_evaluation_sets_have_the_loss_of_their_name(make_encoder: Callable, tmp_path: Path) -> None:
    losses = {"pairs": InfoNCE(), "scored": CoSENT()}
    sets = {"pairs": PAIRS, "scored": SCORED}
    metrics = Trainer(make_encoder(), losses, eval_dataset=sets, args=arguments(tmp_path)).evaluate()
    assert metrics["eval_pairs_infonce"] == metrics["eval_pairs_loss"]
    assert metrics["eval_scored_cosent"] == metrics["eval_scored_loss"]


def test_a_loss_by_dataset(make_batch: Callable) -> None:
    loss = ByDataset({"a": InfoNCE(), "b": CoSENT()})
    assert not loss.by_rows
    assert ByDataset({"a": InfoNCE()}).by_rows
    with pytest.raises(ConfigError, match="a loss for the datasets 'a', 'b', but none for ''"):
        loss.of("")
