"""Checkpoint folders: damage is found, named and left out; nothing whole is lost."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from sightline.errors import TrainingError
from sightline.training.resume import RunState, checkpoint_to_resume
from sightline.training.saving import MANIFEST, UNFINISHED, Checkpoints, problem, seal


def save(checkpoints: Checkpoints, step: int, content: bytes = b"weights") -> Path:
    folder = checkpoints.begin(step)
    (folder / "0_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content * 100)
    (folder / "0_Pooling" / "config.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"moments")
    return checkpoints.publish(step)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path / "run")
    for step in (2, 4, 10):
        save(made, step)
    return made


def test_the_newest_goes_by_step(checkpoints: Checkpoints) -> None:
    assert checkpoints.newest() == checkpoints.path(10)
    assert [path.name for path in checkpoints.all()] == ["checkpoint-2", "checkpoint-4", "checkpoint-10"]
    assert Checkpoints(checkpoints.folder / "nowhere").newest() is None


def cut(folder: Path) -> None:
    with (folder / "model.safetensors").open("rb+") as file:
        file.truncate(50)


def flip(folder: Path) -> None:
    with (folder / "model.safetensors").open("rb+") as file:
        file.seek(300)
        file.write(b"X")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "model.safetensors has 50 bytes instead of 700"),
        (flip, "the content of model.safetensors has changed"),
        (lambda folder: (folder / "0_Pooling" / "config.json").unlink(), "0_Pooling/config.json is missing"),
        (lambda folder: (folder / MANIFEST).unlink(), f"it has no {MANIFEST}"),
        (lambda folder: (folder / MANIFEST).write_text("{"), f"its {MANIFEST} cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), f"its {MANIFEST} cannot be read"),
        (
            lambda folder: (folder / MANIFEST).write_text('{"files": {"a": 1}}'),
            f"its {MANIFEST} cannot be read",
        ),
    ],
)
def test_damage_is_named_and_left_out(
    checkpoints: Checkpoints, damage: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    newest = checkpoints.path(10)
    damage(newest)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING, "sightline"):
        assert checkpoint_to_resume(checkpoints, True) == checkpoints.path(4)
    assert f"{newest}: {reason}" in caplog.text
    with pytest.raises(
        TrainingError, match=f"cannot go on from {newest}: {reason}.*takes the newest whole one"
    ):
        checkpoint_to_resume(checkpoints, str(newest))
    # The run comes to that step again.
    save(checkpoints, 10)
    assert checkpoints.newest() == newest


def test_a_checkpoint_of_the_model_alone_is_no_run(checkpoints: Checkpoints) -> None:
    (checkpoints.path(10) / "optimizer.pt").unlink()
    seal(checkpoints.path(10), 10)
    with pytest.raises(TrainingError, match="holds the model alone"):
        checkpoint_to_resume(checkpoints, str(checkpoints.path(10)))
    assert checkpoints.newest() == checkpoints.path(4)


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"no whole checkpoint in {tmp_path}"):
        checkpoint_to_resume(Checkpoints(tmp_path), True)
    with pytest.raises(TrainingError, match="there is no such folder"):
        checkpoint_to_resume(Checkpoints(tmp_path), str(tmp_path / "checkpoint-3"))


def test_a_half_is_named_and_never_a_checkpoint(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    half = checkpoints.begin(12)
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"weig")
    with caplog.at_level(logging.WARNING, "sightline"):
        assert checkpoints.newest() == checkpoints.path(10)
    assert f"was being saved when the run ended: {half}: it has no {MANIFEST}" in caplog.text
    assert checkpoints.path(12) not in checkpoints.all()
    save(checkpoints, 12)
    assert not (checkpoints.folder / UNFINISHED).exists()


def test_a_rename_that_was_cut_off_is_finished_or_undone(checkpoints: Checkpoints) -> None:
    hidden = checkpoints.folder / UNFINISHED
    hidden.mkdir()
    os.rename(checkpoints.path(10), hidden / "replaced-checkpoint-10")
    assert checkpoints.newest() == checkpoints.path(10)
    hidden.mkdir(exist_ok=True)
    os.rename(checkpoints.path(10), hidden / "checkpoint-10")
    assert checkpoints.newest() == checkpoints.path(10)


def test_replacing_a_checkpoint_takes_the_new_one(checkpoints: Checkpoints) -> None:
    save(checkpoints, 10, b"others!")
    assert (checkpoints.path(10) / "model.safetensors").read_bytes().startswith(b"others!")
    assert problem(checkpoints.path(10)) is None


def test_rotation_keeps_the_best_and_the_newest(checkpoints: Checkpoints) -> None:
    checkpoints.rotate(None, keep=[])
    checkpoints.rotate(3, keep=[])
    assert len(checkpoints.all()) == 3
    checkpoints.rotate(1, keep=[checkpoints.path(10), checkpoints.path(2)])
    assert [path.name for path in checkpoints.all()] == ["checkpoint-2", "checkpoint-10"]
    assert not (checkpoints.folder / UNFINISHED).exists()


def test_the_state_of_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = RunState({"token_budget": 64}, 9, [(3, "broken", "nli")], 4, 1, {"seed": 1, "processes": 2})
    state.write(tmp_path)
    assert RunState.read(tmp_path) == state
    with caplog.at_level(logging.WARNING, "sightline"):
        state.warn_of_changes({"seed": 1, "processes": 2}, tmp_path)
        assert not caplog.records
        state.warn_of_changes({"seed": 1, "processes": 3}, tmp_path)
    assert "processes 2 -> 3" in caplog.text
    facts = json.loads((tmp_path / "sightline_state.json").read_text())
    (tmp_path / "sightline_state.json").write_text(json.dumps(facts | {"unknown": 1}))
    with pytest.raises(TrainingError, match="cannot be read"):
        RunState.read(tmp_path)
