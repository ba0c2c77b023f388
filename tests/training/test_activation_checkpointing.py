"""Recomputed activations give the gradients of kept ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sightline import Encoder, InfoNCE, Trainer, TrainingArguments
from support import tiny_models

ROWS = [{"anchor": f"How many plants in {year}?", "positive": f"The report of {year} counts {year % 7} plants."}
        for year in range(2010, 2018)]  # fmt: skip


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_checkpointing_changes_no_weight(tmp_path: Path) -> None:
    # Without dropout: a model that recomputes draws its masks with torch's own operators, others with ours.
    source = tiny_models.bert(tmp_path / "bert", dropout=0.0)
    trained = []
    for checkpointing in (False, True):
        encoder = Encoder.from_pretrained(source, device="cpu")
        arguments = TrainingArguments(
            output_dir=str(tmp_path / f"run-{checkpointing}"),
            max_steps=2,
            gradient_checkpointing=checkpointing,
            disable_tqdm=True,
            save_strategy="no",
            seed=1,
        )
        Trainer(encoder, InfoNCE(), train_dataset=ROWS, args=arguments).train()
        assert encoder.backbones()[""].model.is_activation_checkpointing is checkpointing
        trained.append(dict(encoder.named_parameters()))
    for name, kept in trained[0].items():
        torch.testing.assert_close(trained[1][name], kept, rtol=1e-5, atol=1e-6, msg=name)
