"""What the trainer does about evaluations and random states, and about losses that are not finite."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.errors import ConfigError, TrainingError
from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.random_state import undisturbed
from sightline.training.seeds import seeded
from sightline.training.trainer import Trainer
from sightline.types import Batch, Embeddings
from support.run_arguments import maker


@pytest.fixture
def make_arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    return maker(tmp_path, num_train_epochs=1, per_device_train_batch_size=4, learning_rate=5e-3)


class DrawingEvaluator:
    """Draws from every generator; dies at its ``dies_at``-th call."""

    primary_metric = "made-up"
    greater_is_better = True

    def __init__(self, dies_at: int = 0) -> None:
        self.dies_at = dies_at
        self.steps: list[int | None] = []

    def __call__(self, encoder: Any, *, output_dir: Any = None, epoch: Any = None, steps: Any = None) -> dict:
        self.steps.append(steps)
        if len(self.steps) == self.dies_at:
            raise KeyboardInterrupt
        torch.rand(3), np.random.rand(3), random.random()
        return {"made-up": -abs(7 - (steps or 0))}


@dataclass(frozen=True)
class Poisoned:
    """InfoNCE, but not finite (or with gradients that are not) for batches that have a certain row."""

    row: int
    only_gradients: bool = False

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, torch.Tensor]:
        part = InfoNCE()(embeddings, batch)["infonce"]
        if self.row in batch.rows:
            part = part + torch.sqrt(0 * part) if self.only_gradients else part * torch.inf
        return {"infonce": part}


def test_evaluations_do_not_change_what_is_trained(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    weights = []
    for options in ({}, {"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True}):
        encoder = make_encoder()
        Trainer(
            encoder,
            InfoNCE(),
            train_dataset=text_rows,
            eval_dataset=text_rows[:5],
            evaluator=DrawingEvaluator(),
            args=make_arguments(**options),
        ).train()
        weights.append(encoder.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("strategy", ["steps", "best"])
def test_an_evaluation_that_died_is_caught_up_on(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, strategy: str
) -> None:
    """The process dies in the evaluation at the end of the first epoch, after that step's checkpoint."""
    options = {
        "num_train_epochs": 2, "eval_strategy": "epoch", "save_steps": 3, "metric_for_best_model": "made-up",
        "save_strategy": "steps",
    }  # fmt: skip

    def trainer(evaluator: DrawingEvaluator, folder: str) -> Trainer:
        return Trainer(
            make_encoder(),
            InfoNCE(),
            train_dataset=text_rows,
            evaluator=evaluator,
            args=make_arguments(folder, **options),
        )

    whole = trainer(DrawingEvaluator(), "whole")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        trainer(DrawingEvaluator(dies_at=1), "dead").train()
    options["save_strategy"] = strategy
    evaluator = DrawingEvaluator()
    resumed = trainer(evaluator, "dead")
    resumed.train(resume_from_checkpoint=True)
    assert evaluator.steps == [6, 12]
    assert resumed.state.best_metric == whole.state.best_metric == -1
    assert resumed.state.best_global_step == 6
    assert resumed.state.best_model_checkpoint.endswith("dead/checkpoint-6")
    assert all(
        torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    )


def test_the_memory_plan_goes_on(make_encoder: Callable, make_arguments: Callable, text_rows: list) -> None:
    options = {"save_strategy": "steps", "save_steps": 3}
    first = Trainer(
        make_encoder(), InfoNCE(), train_dataset=text_rows, args=make_arguments(token_budget=40, **options)
    )
    first.train()
    second = Trainer(make_encoder(), InfoNCE(), train_dataset=text_rows, args=make_arguments(**options))
    second.train(resume_from_checkpoint=str(second.output_dir / "checkpoint-3"))
    assert second._engine.state() == first._engine.state()
    assert all(
        torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True)
    )


def test_rows_left_out_are_remembered(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    """What was found broken stays out, though it could be read by now: the order of the others depends on it."""
    broken = [*text_rows, {"anchor": 3.5, "positive": "x", "negative": "y"}]
    options = {"save_strategy": "steps", "save_steps": 3, "on_bad_row": "skip"}
    first = Trainer(make_encoder(), InfoNCE(), train_dataset=broken, args=make_arguments(**options))
    first.train()
    mended = [*text_rows, {"anchor": "3.5", "positive": "x", "negative": "y"}]
    second = Trainer(make_encoder(), InfoNCE(), train_dataset=mended, args=make_arguments(**options))
    second.train(resume_from_checkpoint=str(second.output_dir / "checkpoint-3"))
    assert [bad.row for bad in second.skipped] == [24]
    assert all(
        torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True)
    )


class DrawingRows:
    """A dataset of a person's own that varies its rows at random."""

    def __init__(self, rows: list) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, str]:
        draws = (random.random(), np.random.rand(), float(torch.rand(())))
        word = "pump" if sum(draws) > 1.5 else "valve"
        return self.rows[number] | {"anchor": f"{word} {draws[0]:.2f}"}


def test_rows_that_are_drawn_are_drawn_again(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    """The same in the main process, in workers, and after resuming in the middle of the second epoch."""
    options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 8}
    weights = []
    for workers, resume in ((0, False), (2, False), (2, True)):
        trainer = Trainer(
            make_encoder(),
            InfoNCE(),
            train_dataset=DrawingRows(text_rows),
            args=make_arguments(dataloader_num_workers=workers, **options),
        )
        trainer.train(resume_from_checkpoint=str(trainer.output_dir / "checkpoint-8") if resume else None)
        weights.append([weight.detach() for weight in trainer.model.parameters()])
    for others in weights[1:]:
        assert all(torch.equal(a, b) for a, b in zip(weights[0], others, strict=True))
    rows = DrawingRows(text_rows)
    assert rows[0] != rows[0]


@pytest.mark.parametrize("only_gradients", [False, True], ids=["loss", "gradients"])
def test_what_is_not_finite_stops_the_run(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, only_gradients: bool
) -> None:
    encoder = make_encoder()
    before = encoder.out[3].weight.clone()
    loss = Poisoned(17, only_gradients)
    args = make_arguments(learning_rate=1e-9, per_device_train_batch_size=24)
    with pytest.raises(TrainingError, match=r"step 1: .* in the batch of rows .*17") as caught:
        Trainer(encoder, loss, train_dataset=text_rows, args=args).train()
    assert ("norm of the gradients is nan" if only_gradients else "infonce is inf") in str(caught.value)
    assert "anchor 'what about" in str(caught.value)
    assert torch.equal(encoder.out[3].weight, before)


@pytest.mark.parametrize("only_gradients", [False, True], ids=["loss", "gradients"])
def test_what_is_not_finite_is_left_out(
    make_encoder: Callable, make_arguments: Callable, text_rows: list, only_gradients: bool
) -> None:
    """The same weights as a run that is given the other batches alone; weights do not even decay at the step."""
    trainer = Trainer(
        make_encoder(dropout=0.0),
        Poisoned(17, only_gradients),
        train_dataset=text_rows,
        args=make_arguments(on_bad_loss="skip", weight_decay=0.5),
    )
    seen: list[tuple[bool, torch.Tensor]] = []
    step = trainer.training_step

    def watched(model: Any, inputs: Any, *rest: Any) -> torch.Tensor:
        seen.append((17 in inputs["batch"].rows, trainer.model.out[3].weight.detach().clone()))
        return step(model, inputs, *rest)

    trainer.training_step = watched  # type: ignore[method-assign]
    trainer.train()
    weights = [weight for _, weight in seen] + [trainer.model.out[3].weight.detach()]
    unchanged = [torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    # The first step has a learning rate above 0, the last has too.
    assert unchanged == [bad for bad, _ in seen]
    assert sum(unchanged) == 1
    logs = [entry.get("bad_batches") for entry in trainer.state.log_history if "learning_rate" in entry]
    assert logs[-1] == 1


def test_only_the_bad_batch_of_a_step_is_left_out(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    norms = []
    for row in (17, None):
        trainer = Trainer(
            make_encoder(dropout=0.0),
            InfoNCE() if row is None else Poisoned(row),
            train_dataset=text_rows,
            args=make_arguments(on_bad_loss="skip", gradient_accumulation_steps=6, max_grad_norm=0.0),
        )
        trainer.train()
        norms.append([entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry])
    assert 0 < norms[0][0] != norms[1][0]


def test_random_states() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    with seeded(5):
        expected = draw()
    with seeded(6):
        assert draw() != expected
    with seeded(7):
        with undisturbed():
            draw()
        with seeded(5):
            assert draw() == expected
        after = draw()
    with seeded(7):
        assert draw() == after


def test_a_wrong_setting_is_named(make_arguments: Callable) -> None:
    with pytest.raises(ConfigError, match="on_bad_loss must be one of 'stop', 'skip', not 'ignore'"):
        make_arguments(on_bad_loss="ignore")
