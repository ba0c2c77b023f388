"""Runs that are killed anywhere go on from a whole checkpoint and end with the weights of one that was not."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from sightline.training.plan import LEAST_TOKENS
from sightline.training.resume import STATE
from sightline.training.saving import Checkpoints, problem
from support.fault_runs import (
    LESS,
    STEPS,
    Run,
    probe,
    replace_a_model,
    train_on_a_full_disk,
    train_until_the_disk_is_full,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support import tiny_models

    return tiny_models.bert(tmp_path_factory.mktemp("model") / "bert")


@pytest.fixture(scope="module")
def reference(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbs."""
    run = Run(tmp_path_factory.mktemp("reference"), model)
    assert run.start() == 0, run.said
    return run


def same_weights(run: Run, reference: Run) -> bool:
    weights, expected = run.weights(), reference.weights()
    return weights.keys() == expected.keys() and all(torch.equal(weights[n], expected[n]) for n in expected)


def test_a_run_that_is_killed_again_and_again(model: Path, reference: Run, tmp_path: Path) -> None:
    """Each process dies at another of the trainer's events; none of them lives for more than a few steps.

    Those that go on have more memory than the first, and less: what shares a micro-batch stands in the checkpoint.
    """
    run = Run(tmp_path, model)
    for at, left in ((8, []), (20, ["checkpoint-2"]), (21, ["checkpoint-2", "checkpoint-4"])):
        # In the first step, before the second checkpoint, and in the step after it.
        resume = bool(Checkpoints(tmp_path).all())
        going_on = run.again(resume=resume, at=at, options={"memory_budget": None} if resume else {})
        assert going_on.start() == -signal.SIGKILL, going_on.said
        assert [path.name for path in Checkpoints(tmp_path).all()] == left
    assert run.again(options={"memory_budget": LESS}).start() == 0, run.said
    assert same_weights(run, reference)
    for checkpoint in Checkpoints(tmp_path).all():
        state = json.loads((checkpoint / STATE).read_text())
        limits = state["engine"]["token_budget"], state["engine"]["max_items"]
        assert limits == (LEAST_TOKENS, None), "measured, by the first"


def test_a_save_that_is_killed_at_any_operation(model: Path, reference: Run, tmp_path: Path) -> None:
    """The second of two saves, with the first one to delete; after each death there is a whole checkpoint."""
    run = Run(tmp_path / "run", model, options={"save_total_limit": 1, "dataloader_num_workers": 0})
    assert run.start(probe) == 0, run.said
    tries = sorted((tmp_path / "run-tries").glob("[0-9]*"), key=lambda path: int(path.name))
    assert len(tries) > 30
    left: dict[str, list[Path]] = {}
    for one in tries:
        for path in Checkpoints(one).all():
            assert problem(path) is None, path
        newest = Checkpoints(one).newest()
        assert newest is not None, one
        left.setdefault(newest.name, []).append(one)
    assert left.keys() == {"checkpoint-2", "checkpoint-4"}
    # From the last that found the old checkpoint, and the first that found the new one.
    for output in (left["checkpoint-2"][-1], left["checkpoint-4"][0]):
        going_on = run.again(output=output)
        assert going_on.start() == 0, going_on.said
        assert same_weights(going_on, reference)


def test_a_model_is_replaced_or_as_it_was(model: Path, tmp_path: Path) -> None:
    """`save_pretrained` over another model, killed at any operation: what can be loaded is one of the two."""
    run = Run(tmp_path, model)
    assert run.start(replace_a_model) == 0, run.said


@pytest.mark.parametrize(
    ("at", "group", "step"),
    [(27, False, 4), (23, True, 3)],
    ids=["in a step", "in an evaluation, workers too"],
)
def test_sigterm_saves_and_stops(
    model: Path, reference: Run, tmp_path: Path, at: int, group: bool, step: int
) -> None:
    run = Run(tmp_path, model, at=at, signal=signal.SIGTERM, group=group)
    assert run.start() == 143, run.said
    assert "SIGTERM: saving a checkpoint" in run.said
    assert f"stopped by SIGTERM after step {step} of {STEPS}, which is saved" in run.said
    assert not run.final.exists()
    assert Checkpoints(tmp_path).newest() == tmp_path / f"checkpoint-{step}"
    going_on = run.again(group=False)
    assert going_on.start() == 0, going_on.said
    assert same_weights(going_on, reference)
    # The evaluation that was cut off has been caught up on.
    state = json.loads((tmp_path / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    assert {entry["step"] for entry in state["log_history"] if "eval_loss" in entry} == {3}


def test_a_full_disk_is_said_and_costs_no_checkpoint(model: Path, reference: Run, tmp_path: Path) -> None:
    small = Run(tmp_path / "small", model)
    assert small.start(train_on_a_full_disk) == 1
    assert "the checkpoint of step 2 could not be saved" in small.said
    assert not Checkpoints(small.output).all()
    full = Run(tmp_path / "full", model)
    assert full.start(train_until_the_disk_is_full) == 1
    assert "the checkpoint of step 4 could not be saved" in full.said
    assert "No space left on device; the newest whole one is checkpoint-2" in full.said
    assert not (full.output / ".unfinished").exists()
    going_on = full.again()
    assert going_on.start() == 0, going_on.said
    assert same_weights(going_on, reference)
