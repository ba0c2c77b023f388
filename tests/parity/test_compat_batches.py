"""Runs through `sightline.compat` see the batches that they see under ST, epoch after epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import sentence_transformers
from sentence_transformers.cross_encoder import losses as pair_losses
from sentence_transformers.cross_encoder.trainer import CrossEncoderTrainer
from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

from sightline import compat
from support.reranker_rows import TOPICS, samples, triplets
from support.tiny_models import bert
from support.tiny_rerankers import bert_scores

# Dropout draws in the order in which a model runs, which is the planner's affair.
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
THEIRS = SimpleNamespace(
    SentenceTransformer=sentence_transformers.SentenceTransformer,
    SentenceTransformerTrainer=SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments=SentenceTransformerTrainingArguments,
    CrossEncoder=sentence_transformers.CrossEncoder,
    CrossEncoderTrainer=CrossEncoderTrainer,
    CrossEncoderTrainingArguments=CrossEncoderTrainingArguments,
    MultipleNegativesRankingLoss=losses.MultipleNegativesRankingLoss,
    BatchHardTripletLoss=losses.BatchHardTripletLoss,
    BinaryCrossEntropyLoss=pair_losses.BinaryCrossEntropyLoss,
)


def repeating(count: int, distinct: int) -> datasets.Dataset:
    """Queries and documents of which some stand in several rows."""
    draw = np.random.default_rng(count)
    words = [f"{TOPICS[n % len(TOPICS)]} {n}" for n in range(distinct)]
    numbers = draw.integers(distinct, size=(2, count))
    return datasets.Dataset.from_dict(
        {"query": [words[n] for n in numbers[0]], "page": [f"page of {words[n]}" for n in numbers[1]]}
    )


def unlike(count: int, word: str) -> datasets.Dataset:
    """Rows without repetition."""
    return datasets.Dataset.from_dict(
        {
            "query": [f"{TOPICS[n % len(TOPICS)]} {word} {n}" for n in range(count)],
            "page": [f"{word} page {n} of the {TOPICS[n % len(TOPICS)]}" for n in range(count)],
        }
    )


def labelled(count: int) -> datasets.Dataset:
    topics = np.random.default_rng(0).integers(4, size=count)
    return datasets.Dataset.from_dict(
        {"text": [f"{TOPICS[topic]} {n}" for n, topic in enumerate(topics)], "label": topics.tolist()}
    )


def arguments(room: Any, folder: Path, kind: str = "SentenceTransformer", **options: Any) -> Any:
    usual = {
        "num_train_epochs": 2, "learning_rate": 2e-3, "logging_steps": 1, "save_strategy": "no", "seed": 7,
        "report_to": "none", "use_cpu": True, "disable_tqdm": True, "dataloader_num_workers": 0,
    }  # fmt: skip
    return getattr(room, f"{kind}TrainingArguments")(output_dir=str(folder), **(usual | options))


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(bert(tmp_path_factory.mktemp("still") / "bert", dropout=0.0))


# Which rows


def steps_of(order: Any, epochs: int = 3) -> list[list[list[int]]]:
    """The batches of some epochs as a run takes them: at most as many as the order promises."""
    found = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        found.append([list(batch) for batch, _ in zip(order, range(len(order)), strict=False)])
    return found


def places(batches: list[list[list[int]]], sizes: list[int]) -> list[list[list[int]]]:
    """Row numbers of ours as ST counts them: through all datasets."""
    begin = np.concatenate([[0], np.cumsum(sizes)])
    return [
        [[int(begin[number >> 40]) + number % (1 << 40) for number in batch] for batch in epoch]
        for epoch in batches
    ]


TABLES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "plain": (lambda: repeating(29, 8), {}),
    "a seed for the data": (lambda: repeating(29, 8), {"data_seed": 3, "dataloader_drop_last": True}),
    "no duplicates": (lambda: repeating(41, 20), {"batch_sampler": "no_duplicates", "data_seed": 3}),
    "more batches than promised": (lambda: repeating(31, 9), {"batch_sampler": "no_duplicates"}),
    "hashed, rows drawn again": (
        lambda: repeating(31, 9), {"batch_sampler": "no_duplicates_hashed", "dataloader_drop_last": True},
    ),
    "by label": (lambda: labelled(39), {"batch_sampler": "group_by_label"}),
    "by label, full batches": (
        lambda: labelled(39), {"batch_sampler": "group_by_label", "dataloader_drop_last": True},
    ),
    "proportional": (lambda: {"a": unlike(13, "left"), "b": repeating(30, 9)}, {}),
    "proportional, no duplicates": (
        lambda: {"a": unlike(13, "left"), "b": repeating(30, 9)}, {"batch_sampler": "no_duplicates"},
    ),
    "in turn": (
        lambda: {"a": unlike(30, "left"), "b": repeating(13, 9), "c": unlike(16, "right")},
        {"multi_dataset_batch_sampler": "round_robin", "data_seed": 3},
    ),
    "in turn, no duplicates": (
        lambda: {"a": repeating(30, 9), "b": unlike(16, "right")},
        {"multi_dataset_batch_sampler": "round_robin", "batch_sampler": "no_duplicates"},
    ),
    "a name of its own": (lambda: {"a": unlike(30, "left")}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_the_batches_are_st_s(case: str, still: str, tmp_path: Path) -> None:
    make, options = TABLES[case]
    table = make()
    tables = list(table.values()) if isinstance(table, dict) else [table]
    found = []
    for room in (compat, THEIRS):
        model = room.SentenceTransformer(still, device="cpu")
        loss = (room.BatchHardTripletLoss if "label" in case else room.MultipleNegativesRankingLoss)(model)
        args = arguments(room, tmp_path, per_device_train_batch_size=6, **options)
        found.append(room.SentenceTransformerTrainer(model, args, table, loss=loss))
    ours, theirs = (trainer.get_train_dataloader() for trainer in found)
    assert len(ours) == len(theirs)
    assert len(ours) > 2
    # As transformers' loop asks: through the loader, which passes the epoch on.
    wanted = []
    for epoch in range(3):
        theirs.set_epoch(epoch)
        wanted.append(
            [list(batch) for batch, _ in zip(theirs.batch_sampler, range(len(theirs)), strict=False)]
        )
    assert places(steps_of(ours.batch_sampler), [len(one) for one in tables]) == wanted
    assert wanted[0] != wanted[1]
    # A second reader of an order changes nothing, as the loader that works ahead is one.
    pairs = list(zip(ours.batch_sampler, ours.batch_sampler, strict=True))
    assert all(first == second for first, second in pairs)
    assert len(pairs) >= len(ours)


@pytest.mark.parametrize("case", ["batch_sampler", "no_duplicates", "no_duplicates, repeating"])
def test_evaluation_batches_are_st_s(case: str, still: str, tmp_path: Path) -> None:
    sampler, *repeats = case.split(", ")
    table, held_out = unlike(12, "left"), repeating(23, 9) if repeats else unlike(23, "right")
    found = []
    for room in (compat, THEIRS):
        model = room.SentenceTransformer(still, device="cpu")
        args = arguments(room, tmp_path, per_device_eval_batch_size=8, batch_sampler=sampler)
        trainer = room.SentenceTransformerTrainer(
            model, args, table, held_out, loss=room.MultipleNegativesRankingLoss(model)
        )
        found.append((trainer.evaluate()["eval_loss"], list(trainer.get_eval_dataloader().batch_sampler)))
    (loss, batches), (their_loss, their_batches) = found
    assert batches == their_batches
    if not repeats:  # there, a batch that is not full counts as if it were, unless it is the last
        assert loss == pytest.approx(their_loss, abs=1e-5)


# What they lead to


def logged(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def judge(room: Any, table: datasets.Dataset) -> Any:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    kind = compat.InformationRetrievalEvaluator if room is compat else InformationRetrievalEvaluator
    numbers = range(len(table))
    return kind(dict(zip(numbers, table["query"], strict=True)), dict(zip(numbers, table["page"], strict=True)),
                {n: {n} for n in numbers})  # fmt: skip


RUNS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "no duplicates": (lambda: repeating(23, 12), {"batch_sampler": "no_duplicates"}),
    "accumulated": (lambda: unlike(29, "left"), {"gradient_accumulation_steps": 2}),
    "proportional": (
        lambda: {"a": unlike(8, "left"), "b": repeating(18, 12)}, {"batch_sampler": "no_duplicates"},
    ),
    "in turn": (
        lambda: {"a": unlike(12, "left"), "b": unlike(16, "right")},
        {"multi_dataset_batch_sampler": "round_robin"},
    ),
    "a prompt for a column": (lambda: unlike(29, "left"), {"prompts": {"query": "find: "}}),
    "a prompt for a dataset": (
        lambda: {"a": unlike(12, "left"), "b": unlike(16, "right")}, {"prompts": {"a": "find: "}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RUNS)
def test_every_step_of_an_encoder_s_run(case: str, still: str, tmp_path: Path) -> None:
    make, options = RUNS[case]
    found = []
    for room in (compat, THEIRS):
        # A model's own prompts are for those who search.
        model = room.SentenceTransformer(
            still, device="cpu", prompts={"query": "ask: ", "document": "page: "}
        )
        args = arguments(room, tmp_path, per_device_train_batch_size=6, **options)
        loss = room.MultipleNegativesRankingLoss(model)
        trainer = room.SentenceTransformerTrainer(model, args, make(), loss=loss)
        before = judge(room, unlike(24, "test"))(model)
        trainer.train()
        found.append((logged(trainer), before, judge(room, unlike(24, "test"))(model)))
    ours, theirs = found
    assert len(theirs[0]) >= 6  # steps, of two epochs
    assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
    assert ours[2] == pytest.approx(theirs[2], abs=1e-5)
    assert ours[2] != pytest.approx(ours[1], abs=1e-2)


def test_every_step_of_a_reranker_s_run(tmp_path: Path) -> None:
    folder = str(bert_scores(tmp_path / "bert", **STILL))
    rows = [
        {"query": row["query"], "document": row[name], "label": float(name == "positive")}
        for row in triplets(7, seed=1)
        for name in row
        if name != "query"
    ]
    held_out = samples(triplets(12, seed=2))
    evaluate = compat.CrossEncoderRerankingEvaluator(held_out)
    found = []
    for room in (compat, THEIRS):
        model = room.CrossEncoder(folder, device="cpu")
        args = arguments(room, tmp_path / "run", "CrossEncoder", per_device_train_batch_size=8)
        trainer = room.CrossEncoderTrainer(
            model, args, datasets.Dataset.from_list(rows), loss=room.BinaryCrossEntropyLoss(model)
        )
        trainer.train()
        pairs = [(one["query"], other) for one in held_out for other in (*one["positive"], *one["negative"])]
        found.append((logged(trainer), model.predict(pairs), model))
    ours, theirs = found
    assert len(ours[0]) == 8
    assert ours[0] == pytest.approx(theirs[0], abs=1e-4)
    assert np.abs(ours[1] - theirs[1]).max() < 1e-4
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

    wanted = CrossEncoderRerankingEvaluator(held_out)(theirs[2])
    assert evaluate(ours[2]) == pytest.approx(wanted, abs=1e-5)


def test_a_resumed_run_goes_on_with_the_same_batches(still: str, tmp_path: Path) -> None:
    table = {"a": unlike(8, "left"), "b": repeating(18, 12)}
    options = {"batch_sampler": "no_duplicates", "per_device_train_batch_size": 6}

    def trainer(name: str, **more: Any) -> Any:
        model = compat.SentenceTransformer(still, device="cpu")
        args = arguments(compat, tmp_path / name, **(options | more))
        loss = compat.MultipleNegativesRankingLoss(model)
        return compat.SentenceTransformerTrainer(model, args, table, loss=loss)

    whole = trainer("whole", save_strategy="steps", save_steps=4)
    whole.train()
    assert whole.state.max_steps == 10
    for place in (4, 8):  # in the first epoch and in the second
        again = trainer("again")
        again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{place}"))
        assert logged(again)[place:] == logged(whole)[place:]
        for name, weight in again.model.state_dict().items():
            assert weight.equal(whole.model.state_dict()[name]), name
