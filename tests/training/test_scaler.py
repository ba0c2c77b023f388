"""fp16's scaler of the loss: a checkpoint holds what it has found out, and a run that goes on starts from that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.saving import problem
from sightline.training.trainer import Trainer
from support.run_arguments import maker


class Scaled(Trainer):
    """Scales the loss on the CPU, which accelerate itself does on GPUs only; starts with a scale that overflows."""

    overflows = 0

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=4)

    def training_step(self, *arguments: Any, **options: Any) -> Any:
        loss = super().training_step(*arguments, **options)
        gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
        self.overflows += not all(bool(gradient.isfinite().all()) for gradient in gradients)
        return loss

    @property
    def scaler(self) -> dict[str, Any]:
        return self.accelerator.scaler.state_dict()


@pytest.fixture
def make_arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    return maker(
        tmp_path, num_train_epochs=2, per_device_train_batch_size=4, learning_rate=5e-3, max_grad_norm=0,
        save_strategy="steps", save_steps=3,
    )  # fmt: skip


def test_the_scaler_goes_on(make_encoder: Callable, make_arguments: Callable, text_rows: list) -> None:
    def trainer() -> Scaled:
        return Scaled(make_encoder(), InfoNCE(0.01), train_dataset=text_rows, args=make_arguments())

    whole, resumed = trainer(), trainer()
    whole.train()
    checkpoint = whole.output_dir / "checkpoint-3"
    assert problem(checkpoint) is None
    saved = torch.load(checkpoint / "scaler.pt")
    assert saved["scale"] < 2.0**127, "the first steps have overflowed, and halved it"
    first = whole.overflows
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert first, "the run met what the scaler is for"
    assert resumed.overflows < first, "what was found out before the checkpoint is not found out again"
    assert resumed.scaler == whole.scaler
    assert resumed.scaler["scale"] not in (2.0**127, saved["scale"]), (
        "it went on changing after the checkpoint"
    )
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all(bool(weight.isfinite().all()) for weight in resumed.model.parameters())


def test_a_damaged_scaler_is_a_damaged_checkpoint(
    make_encoder: Callable, make_arguments: Callable, text_rows: list
) -> None:
    trainer = Scaled(make_encoder(), InfoNCE(), train_dataset=text_rows, args=make_arguments(max_steps=3))
    trainer.train()
    path = trainer.output_dir / "checkpoint-3" / "scaler.pt"
    path.write_bytes(path.read_bytes()[:-1])
    wrong = problem(path.parent)
    assert wrong is not None
    assert "scaler.pt has" in wrong
