"""Run as one or several ranks: three datasets with losses of their own, one of them a stream. Argument: a folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sightline.losses.contrastive import InfoNCE
from sightline.losses.joint import FalseNegatives
from sightline.losses.layers import AdaptiveLayers
from sightline.losses.pairwise import CoSENT
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer

WORDS = ["bees", "bread", "bridges", "clocks", "rivers", "violins", "volcanoes", "whales", "maps"]
# Nine rows in batches of four leave a last batch of one row, so that one rank has none.
GUIDED = [{"q": f"about {one}", "d": f"{one} and {WORDS[n // 2]}"} for n, one in enumerate(WORDS)]
SCORED = [{"a": one, "b": f"{one} or {WORDS[n // 3]}", "score": (n % 3) / 2} for n, one in enumerate(WORDS)]


class Endless:
    """A stream of pairs."""

    def __iter__(self) -> Iterator[dict[str, str]]:
        for number in range(1000):
            yield {"q": f"{WORDS[number % 9]} {number}", "d": f"number {number} of {WORDS[number % 9]}"}


def train(folder: Path, ranks: int) -> dict[str, Any]:
    """Trains ``bert`` with ``guide``, both beside the folder; writes the log as ``rank<n>.json``, and the weights."""
    arguments = TrainingArguments(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=4 // ranks,
        multi_dataset_batch_sampler="round_robin",
        max_steps=6,
        gradient_accumulation_steps=2,
        stream_buffer=16,
        optim="sgd",
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        dataloader_num_workers=0,
        disable_tqdm=True,
        use_cpu=True,
        seed=5,
    )
    rank = arguments.process_index
    encoder = Encoder.from_pretrained(folder.parent / "bert", device="cpu")
    guide = Encoder.from_pretrained(folder.parent / "guide", device="cpu")
    trainer = Trainer(
        encoder,
        {
            "guided": InfoNCE(directions=("query_to_doc", "doc_to_query"), false_negatives=FalseNegatives()),
            "scored": CoSENT(),
            "stream": AdaptiveLayers(InfoNCE()),
        },
        train_dataset={"guided": GUIDED, "scored": SCORED, "stream": Endless()},
        args=arguments,
        guide=guide,
    )
    trainer.train()
    names = ("step", "loss", "grad_norm")
    logs = [{name: line[name] for name in names if name in line} for line in trainer.state.log_history[:-1]]
    (folder / f"rank{rank}.json").write_text(json.dumps(logs))
    if rank == 0:
        torch.save(encoder.state_dict(), folder / "weights.pt")
    return {"logs": logs, "last": trainer.state.log_history[-2]}


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]))
