"""Run as one or several ranks: the Trainer on a tiny encoder.

Arguments: a folder, and the kinds of runs to be made one after the other, each in a folder of its name. The kinds
``late``, ``adapter`` and ``saves`` read the checkpoint ``bert`` beside the folder; those that start with ``dropout``
have some, and AdamW. One with ``stopped`` in its name is stopped by a SIGTERM to rank 1 and then goes on, one with
``killed`` loses rank 1, and goes on when it is made once more.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from transformers import TrainerCallback

from sightline.errors import CheckpointError, StoppedError
from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.base import Loss
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.modules.heads import POOLED
from sightline.training.arguments import TrainingArguments
from sightline.training.distributed import PeerError
from sightline.training.saving import Checkpoints
from sightline.training.trainer import Trainer
from sightline.training.weights import is_sharded, save_from_main, whole_state_dict
from sightline.types import Embeddings
from support.adapted import stir
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


class Real(Encoder):
    """An encoder that counts what it encoded."""

    encoded = 0

    def encode(self, inputs: Any, **options: Any) -> Embeddings:
        self.encoded += len(inputs)
        return super().encode(inputs, **options)


class Signals(TrainerCallback):
    """Sends a signal to rank 1 at the beginning of the step after ``after``."""

    def __init__(self, sent: signal.Signals, after: int) -> None:
        self.sent, self.after = sent, after

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.after and args.process_index == 1:
            os.kill(os.getpid(), self.sent)


class Sharded(Trainer):
    """Shards on the CPU, which accelerate itself does on accelerators only."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
        self.is_fsdp_enabled = True


def subject(kind: str, folder: Path) -> tuple[Any, Loss, list[int]]:
    """The model of a kind of run, its loss, and shorter dimensions to evaluate at."""
    if kind == "late":
        encoder = Real.from_pretrained(folder.parent / "bert", device="cpu", multi_vector=True)
        return encoder, InfoNCE(temperature=1.0, symmetric=True, similarity="maxsim"), []
    if kind == "adapter":
        encoder = Real.from_pretrained(folder.parent / "bert", device="cpu")
        encoder.add_adapter(LoRA(r=4))
        return encoder, Matryoshka(InfoNCE(symmetric=True), (32, 8)), [4]
    dropout = 0.3 if kind.startswith("dropout") else 0.0
    return Encodes(dropout=dropout), Matryoshka(InfoNCE(symmetric=True), (16, 8)), [4]


def train(
    folder: Path, ranks: int, *, kind: str = "", callbacks: Any = (), resume: bool = False, **options: Any
) -> dict[str, Any]:
    """Trains; writes what it ended with as ``rank<n>.json`` and the weights of rank 0."""
    options = {"gradient_accumulation_steps": 2, "num_train_epochs": 2} | options
    torch.manual_seed(3)
    arguments = TrainingArguments(
        output_dir=str(folder / "run"),
        per_device_train_batch_size=4 // ranks,
        per_device_eval_batch_size=3,
        optim="adamw_torch" if kind.startswith("dropout") else "sgd",
        learning_rate=0.01 if kind.startswith("dropout") else 0.1,
        lr_scheduler_type="linear" if kind.startswith("dropout") else "constant",
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
        fsdp="sharded" in kind or None,
        **options,
    )
    encoder, loss, dims = subject(kind, folder)
    if arguments.process_index:
        stir(encoder, seed=arguments.process_index)  # as a new layer starts differently on every rank
    evaluator = RetrievalEvaluator(
        {f"q{n}": row["anchor"] for n, row in enumerate(ROWS)},
        {f"d{n}": row["positive"] for n, row in enumerate(ROWS)},
        {f"q{n}": [f"d{n}"] for n in range(len(ROWS))},
        dims=dims,
    )
    trainer = (Sharded if "sharded" in kind else Trainer)(
        encoder,
        loss,
        train_dataset=ROWS,
        eval_dataset=ROWS[:10],
        args=arguments,
        evaluator=evaluator,
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    compared = (
        "loss",
        "grad_norm",
        "infonce",
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
    assert is_sharded(encoder) == ("sharded" in kind)
    if arguments.process_index == 0:
        torch.save(state, folder / "weights.pt")
    return told


def save_shards(folder: Path) -> None:
    """Saves a sharded model twice: as it is, and with a change that no file holds, which has to be refused."""
    encoder = Encoder.from_pretrained(folder.parent / "bert", device="cpu")
    arguments = TrainingArguments(
        output_dir=str(folder / "run"), max_steps=1, per_device_train_batch_size=2, learning_rate=0.1,
        save_strategy="no", dataloader_num_workers=0, disable_tqdm=True, use_cpu=True, fsdp=True,
    )  # fmt: skip
    trainer = Sharded(encoder, InfoNCE(), train_dataset=ROWS, args=arguments)
    trainer.train()
    assert is_sharded(encoder)
    trainer.save_model(str(folder / "trainer"))
    save_from_main(encoder, folder / "run's", trainer._ranks)
    handle = encoder.parts[1].register_forward_hook(
        lambda _, __, features: features | {POOLED: features[POOLED].flip(-1)}
    )
    for save in (trainer.save_model, partial(save_from_main, encoder, ranks=trainer._ranks)):
        try:
            save(str(folder / "refused"))
        except (CheckpointError, PeerError) as error:
            with (folder / f"rank{arguments.process_index}.txt").open("a") as file:
                print(type(error).__name__, error, file=file)
    handle.remove()
    assert is_sharded(encoder)
    state = whole_state_dict(encoder)
    if arguments.process_index == 0:
        torch.save(state, folder / "weights.pt")


def main(folder: Path, kind: str) -> None:
    """One kind of run, on all ranks."""
    folder.mkdir(exist_ok=True)
    if kind == "saves":
        save_shards(folder)
        return
    ranks = int(os.environ["WORLD_SIZE"])
    resume = Checkpoints(folder / "run").newest() is not None
    callbacks = []
    if "killed" in kind and not resume:
        callbacks = [Signals(signal.SIGKILL, 2)]  # the first checkpoint is there, the second is not
    if "stopped" in kind:
        with pytest.raises(StoppedError, match="stopped by SIGTERM after step 1 of 4, which is saved"):
            train(folder, ranks, kind=kind, callbacks=[Signals(signal.SIGTERM, 0)])
        resume = True
    train(folder, ranks, kind=kind, callbacks=callbacks, resume=resume)


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        main(Path(sys.argv[1]) / kind, kind)
