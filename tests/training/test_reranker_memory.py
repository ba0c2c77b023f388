"""A reranker at the end of its memory: planned for, survived, and the pair that cannot fit is named."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sightline.checkpoint.language_heads import Head
from sightline.errors import TrainingError
from sightline.losses.base import Loss
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.lambda_loss import Lambda
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.check import check_rows
from sightline.training.memory import positions
from sightline.training.pairing import pair_reader
from sightline.training.plan import MemoryPlan
from sightline.training.rows import as_rows, choose_columns
from sightline.training.samples import take_samples
from sightline.training.trainer import Trainer
from sightline.types import MicroBatch
from support.reranker_rows import lists, triplets
from support.run_arguments import run_arguments
from support.tiny_answers import qwen3_answers
from support.tiny_rerankers import bert_scores

ROWS = triplets(12, seed=1)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier without dropout: a step done again is the same step."""
    folder = tmp_path_factory.mktemp("steady")
    return bert_scores(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that knows yes and no."""
    return qwen3_answers(tmp_path_factory.mktemp("answers") / "model")


class Room:
    """A device's memory: for the graphs of so many positions, and no more."""

    def __init__(self, model: Reranker, size: int) -> None:
        self.size, self.held = size, 0
        model.register_forward_hook(self._after)

    def _after(self, model: Reranker, given: tuple[MicroBatch], scores: Tensor) -> None:
        if not scores.requires_grad:
            return
        count = positions(given[0])
        if self.held + count > self.size:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.held += count
        weakref.finalize(scores, self._freed, count)

    def _freed(self, count: int) -> None:
        self.held -= count


def run(
    folder: Path, head: Head | None, loss: Loss, rows: list[dict[str, Any]], work: Path, room: int | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights after two steps, and what was told."""
    reranker = Reranker.from_pretrained(folder, device="cpu", head=head)
    if room is not None:
        Room(reranker, room)
    told: list[str] = []
    args = run_arguments(
        work, per_device_train_batch_size=6, max_steps=2, optim="sgd", learning_rate=0.05, seed=3
    )
    Trainer(reranker, loss, train_dataset=rows, args=args, tell=told.append).train()
    return dict(reranker.state_dict()), told


@pytest.mark.parametrize(
    ("head", "loss", "rows", "room"),
    [
        (None, BinaryCrossEntropy(), ROWS, 200),
        (None, Lambda(), lists(ROWS), 70),
        (None, InBatchRanking(3), ROWS, 200),
        ("answer", BinaryCrossEntropy(), ROWS, 500),
    ],
    ids=["labelled pairs", "lists of unlike length", "in-batch negatives", "a language model's answer"],
)
def test_a_run_that_runs_out_of_memory_ends_with_the_same_weights(
    head: Head | None,
    loss: Loss,
    rows: list[dict[str, Any]],
    room: int,
    steady: Path,
    answers: Path,
    tmp_path: Path,
) -> None:
    folder = steady if head is None else answers
    free, quiet = run(folder, head, loss, rows, tmp_path / "free", None)
    limited, told = run(folder, head, loss, rows, tmp_path / "limited", room)
    assert not any(line.startswith("Out of memory") for line in quiet)
    assert any("The step is done again" in line for line in told)
    torch.testing.assert_close(limited, free, atol=1e-5, rtol=1e-5)
    start = Reranker.from_pretrained(folder, device="cpu", head=head).state_dict()
    assert max(float((weight - start[name]).abs().max()) for name, weight in free.items()) > 1e-3


def test_a_pair_that_does_not_fit_is_named(steady: Path, tmp_path: Path) -> None:
    rows = lists(ROWS)
    rows[7]["docs"][1] = "table " * 70
    with pytest.raises(TrainingError, match=r"row 7, column 'docs' \(64 tokens\) does not fit"):
        run(steady, None, Lambda(), rows, tmp_path, 40)


@pytest.fixture
def make_plan(steady: Path, tmp_path: Path) -> Callable[..., tuple[Reranker, BatchBuilder, MemoryPlan]]:
    """A plan made for the reranker on lists of pairs."""

    def make(**options: Any) -> tuple[Reranker, BatchBuilder, MemoryPlan]:
        reranker = Reranker.from_pretrained(steady, device="cpu").train()
        args = TrainingArguments(output_dir=str(tmp_path), dataloader_num_workers=0, **options)
        plan, rows = MemoryPlan(args, args.limits), as_rows(lists(ROWS))
        columns = choose_columns(rows.column_names)
        builder = BatchBuilder(
            reranker.preprocessor, reranker.collate, columns, ("text",), args.limits,
            reader=pair_reader(columns, Lambda(), modalities=("text",)),
        )  # fmt: skip
        report = check_rows(rows, builder, show_progress=False)
        plan.prepare(reranker, reranker.collate, take_samples(rows, builder, report.good, report.sizes), 36)
        return reranker, builder, plan

    return make


def test_the_plan_keeps_as_many_pairs_as_there_is_room_for(make_plan: Callable) -> None:
    reranker, builder, plan = make_plan(token_budget=60)
    batch = builder(list(enumerate(lists(ROWS))))["batch"]
    assert batch is not None
    count = len(batch.micro_batches)
    assert count > 5
    assert plan.kept(reranker, batch) == count, "there is room for all"
    assert plan.line(batch, count).startswith(
        f"Memory plan: {batch.num_items} items per step in {count} micro-"
    )
    graphs = [plan._graph(one) for one in batch.micro_batches]
    working = plan._working(list(batch.micro_batches))
    for share in (0.8, 0.3):
        plan.room = working + share * sum(graphs)
        kept = plan.kept(reranker, batch)
        assert 0 < kept < count
        assert sum(graphs[:kept]) <= share * sum(graphs) < sum(graphs[: kept + 1])
    plan.room = 0
    assert plan.kept(reranker, batch) == 0


def test_what_pairs_take_is_near_what_the_plan_expects(make_plan: Callable) -> None:
    """The whole batch in one piece, measured, against the curve through a few small pieces."""
    from sightline.training.memory import measure

    reranker, builder, plan = make_plan()
    batch = builder(list(enumerate(lists(ROWS))))["batch"]
    assert batch is not None
    largest = max(batch.micro_batches, key=positions)
    assert measure(reranker, largest).graph == pytest.approx(plan._graph(largest), rel=0.3)
