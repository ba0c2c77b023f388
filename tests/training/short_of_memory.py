"""Trains for three steps, with the process's memory limited by the system after the model is loaded.

Run as ``python -m training.short_of_memory MODEL MEGABYTES WEIGHTS [WORDS]``: 0 megabytes for no limit; the weights
are written at the end; WORDS is the length of one item that is longer than the others.
"""

from __future__ import annotations

import logging
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import TrainerCallback

from sightline.errors import TrainingError
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer


def held() -> int:
    """Bytes of data the process has mapped; what the limit is about."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


class Limit(TrainerCallback):
    """Allows so much more than is held when the first step begins."""

    def __init__(self, megabytes: int) -> None:
        self.megabytes = megabytes

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            limit = held() + self.megabytes * 10**6
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(model: str, megabytes: int, weights: str, words: int = 0) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    torch.set_num_threads(1)
    encoder = Encoder.from_pretrained(model, device="cpu", model_kwargs={"attn_implementation": "eager"})
    rows = [
        {"anchor": f"pump {number} of " + "report " * 40, "positive": f"table {number} with " + "valve " * 40}
        for number in range(96)
    ]
    if words:
        rows[7]["positive"] = "table " * words
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=96, max_steps=3, dataloader_num_workers=1,
            optim="sgd", learning_rate=0.05, save_strategy="no", logging_steps=1, disable_tqdm=True, seed=3,
            token_budget=4096, check_data=False,
        )  # fmt: skip
        callbacks = [Limit(megabytes)] if megabytes else []
        trainer = Trainer(
            encoder, InfoNCE(temperature=0.5), train_dataset=rows, args=args, callbacks=callbacks
        )
        try:
            trainer.train()
        except TrainingError as error:
            print("TrainingError:", error)
            sys.exit(3)
    save_file(encoder.state_dict(), weights)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:]))
