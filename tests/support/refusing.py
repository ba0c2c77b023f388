"""Trainers over data, losses and models that do not go together, and what they say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import ConfigError, DataError, InputError
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer

PAIR = {"q": "a pump", "d": "a valve"}
TRIPLE = PAIR | {"n": "a table"}


class Stream:
    """Rows without a length."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


def trainer(model: Any, loss: Any, rows: Any, folder: Path, guide: Any = None, **options: Any) -> Trainer:
    args = TrainingArguments(
        output_dir=str(folder), save_strategy="no", dataloader_num_workers=0, disable_tqdm=True,
        **{"per_device_train_batch_size": 4, "max_steps": 2, "stream_buffer": 1, "on_bad_row": "stop"} | options,
    )  # fmt: skip
    return Trainer(model, loss, train_dataset=rows, args=args, guide=guide)


def refused(model: Any, loss: Any, rows: Any, folder: Path, **options: Any) -> str:
    """The message of the error that comes before the first step."""
    made = trainer(model, loss, rows, folder, **options)
    before = [weight.clone() for weight in model.parameters()]
    with pytest.raises((DataError, ConfigError, InputError)) as caught:
        made.train()
    assert made.state.global_step == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    return str(caught.value)
