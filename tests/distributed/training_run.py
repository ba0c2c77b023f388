"""Run as one or several ranks: the Trainer on a tiny encoder. Arguments: output folder, kind of run."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from transformers import TrainerCallback

from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from sightline.training.weights import is_sharded, whole_state_dict
from sightline.types import Embeddings
from training.conftest import TinyEncoder

# Contents repeat; 13 rows in batches of 4 leave a last batch of one row.
WORDS = [
    *("bees", "bread", "bridges", "clocks", "rivers", "violins", "volcanoes"),
    *("whales", "maps", "paint", "salt", "iron", "glass"),
]
ROWS = [
    {"anchor": f"about {one}", "positive": f"{one} and {WORDS[n // 2]}", "negative": f"{WORDS[n // 3]} only"}
    for n, one in enumerate(WORDS)
]


class Encodes(TinyEncoder):
    """Encodes as the evaluator asks; counts what it encoded."""

    encoded = 0

    def encode_query(self, inputs: Any, **_: Any) -> Embeddings:
        self.encoded += len(inputs)
        return Embeddings(self.encode(inputs))

    encode_document = encode_query


class Dies(TrainerCallback):
    """Ends rank 1 at the beginning of the second step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 1 and args.process_index == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class Sharded(Trainer):
    """Shards on the CPU, which accelerate itself does on accelerators only."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
        self.is_fsdp_enabled = True


def train(folder: Path, ranks: int, *, kind: str = "", callbacks: Any = (), **options: Any) -> dict[str, Any]:
    """Trains; writes what it ended with as ``rank<n>.json`` and the weights of rank 0."""
    options = {"gradient_accumulation_steps": 2, "num_train_epochs": 2} | options
    torch.manual_seed(3)
    arguments = TrainingArguments(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=4 // ranks,
        per_device_eval_batch_size=3,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        logging_steps=1,
        dataloader_num_workers=0,
        disable_tqdm=True,
        use_cpu=True,
        seed=5,
        fsdp=kind == "sharded" or None,
        **options,
    )
    evaluator = RetrievalEvaluator(
        {f"q{n}": row["anchor"] for n, row in enumerate(ROWS)},
        {f"d{n}": row["positive"] for n, row in enumerate(ROWS)},
        {f"q{n}": [f"d{n}"] for n in range(len(ROWS))},
        dims=[4],
    )
    encoder = Encodes(dropout=0.0)
    if arguments.process_index:
        torch.nn.init.ones_(encoder.out[0].weight)  # as a new layer starts differently on every rank
    trainer = (Sharded if kind == "sharded" else Trainer)(
        encoder,
        Matryoshka(InfoNCE(symmetric=True), (16, 8)),
        train_dataset=ROWS,
        eval_dataset=ROWS[:10],
        args=arguments,
        evaluator=evaluator,
        callbacks=list(callbacks),
    )
    trainer.train()
    compared = (
        "loss",
        "grad_norm",
        "infonce_dim8",
        "eval_loss",
        "eval_infonce_dim16",
        "eval_map",
        "eval_dim4_map",
    )
    told = {
        "logs": [
            {name: line[name] for name in ("step", *compared) if name in line}
            for line in trainer.state.log_history
        ],
        "encoded": encoder.encoded,
        "checkpoints": sorted(path.name for path in (folder / "run").glob("checkpoint-*")),
    }
    (folder / f"rank{arguments.process_index}.json").write_text(json.dumps(told))
    state = whole_state_dict(encoder)
    assert is_sharded(encoder) == (kind == "sharded")
    if arguments.process_index == 0:
        torch.save(state, folder / "weights.pt")
    return told


if __name__ == "__main__":
    kind = sys.argv[2]
    train(
        Path(sys.argv[1]),
        int(os.environ["WORLD_SIZE"]),
        kind=kind,
        callbacks=[Dies()] if kind == "dies" else [],
    )
