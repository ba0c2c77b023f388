"""What a run tells experiment trackers: the same that stands in its own log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from sightline.training.window import LogWindow

LOSS = Matryoshka(InfoNCE(), (16, 8))


class SlowEvaluator:
    """Takes a while, and says what its evaluation found at two dimensions."""

    primary_metric = "made-up_ndcg@10"
    greater_is_better = True
    seconds = 0.0

    def __call__(self, encoder: Any, **_: Any) -> dict[str, float]:
        time.sleep(self.seconds)
        return {self.primary_metric: 0.5, "made-up_dim8_ndcg@10": 0.25}


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    given = {
        "num_train_epochs": 1, "per_device_train_batch_size": 8, "logging_steps": 1, "save_strategy": "no",
        "eval_strategy": "epoch", "disable_tqdm": True, "dataloader_num_workers": 0, "token_budget": 60,
    } | options  # fmt: skip
    return TrainingArguments(output_dir=str(folder), **given)


@pytest.mark.parametrize(("step_mode", "reembedded"), [("direct", 0.0), ("cached", 1.0)])
def test_tensorboard_gets_all_that_is_logged(
    make_encoder: Callable,
    text_rows: list,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step_mode: str,
    reembedded: float,
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = Trainer(
        make_encoder(),
        LOSS,
        train_dataset=text_rows,
        args=arguments(tmp_path / "run", report_to=["tensorboard"], step_mode=step_mode),
        evaluator=SlowEvaluator(),
    )
    trainer.train()

    (file,) = (tmp_path / "events").rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent))
    events.Reload()
    scalars = {tag: {one.step: one.value for one in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    steps = [entry for entry in trainer.state.log_history if "learning_rate" in entry]
    assert len(steps) == 3
    for entry in steps:
        for name, value in entry.items():
            if name != "step":
                assert scalars[f"train/{name}"][entry["step"]] == pytest.approx(value, rel=1e-5), name
        assert entry["reembedded"] == reembedded
        assert entry["items_per_second"] > 0
        assert entry["tokens_per_second"] > entry["items_per_second"]
        assert 0 < entry["rss_gb"] <= entry["peak_gb"] + 0.01
    assert {"infonce_dim16", "infonce_dim8", "grad_norm", "waiting", "padding"} <= steps[0].keys()
    assert scalars["eval/made-up_ndcg@10"] == {3: 0.5}
    assert scalars["eval/made-up_dim8_ndcg@10"] == {3: 0.25}
    # The arguments and the loss stand beside the curves.
    assert any(tag.startswith("args") for tag in events.Tags()["tensors"])


def test_throughput_leaves_evaluations_out(make_encoder: Callable, text_rows: list, tmp_path: Path) -> None:
    evaluator = SlowEvaluator()
    evaluator.seconds = 1.0
    trainer = Trainer(
        make_encoder(),
        LOSS,
        train_dataset=text_rows,
        args=arguments(tmp_path / "run", eval_strategy="steps", eval_steps=1, logging_steps=3),
        evaluator=evaluator,
    )
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "learning_rate" in entry]
    # 72 items in three steps, between which two evaluations took a second each.
    counted = 3 * entry["items"] / entry["items_per_second"]
    assert counted < trainer.state.log_history[-1]["train_runtime"] - 2


def test_rates_are_sums_over_seconds() -> None:
    window = LogWindow(steps=2.0, items=40, tokens=900, patches=80, passes=8, embedded_twice=2, seconds=4.0)
    means = window.means()
    assert (means["items"], means["items_per_second"]) == (20, 10)
    assert (means["tokens_per_second"], means["patches_per_second"]) == (225, 20)
    assert means["reembedded"] == 0.25
    assert "patches_per_second" not in LogWindow(steps=1.0, items=4, passes=1, seconds=1.0).means()
