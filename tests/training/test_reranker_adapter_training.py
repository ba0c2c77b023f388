"""A reranker with an adapter trains like any other; what is saved scores as what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.adapters import LoRA
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.adapted import trained
from support.reranker_rows import triplets
from support.tiny_answers import qwen3_answers
from support.tiny_rerankers import bert_scores

ROWS = triplets(48, seed=1, topics=4)
PAIRS = [(row["query"], row[column]) for row in ROWS[:6] for column in ("positive", "negative_0")]


@pytest.mark.parametrize(("kind", "epochs"), [("classification", 20), ("answer", 4), ("pooled", 4)])
def test_it_trains_and_comes_back(kind: Any, epochs: int, tmp_path: Path) -> None:
    if kind == "classification":
        reranker = Reranker.from_pretrained(bert_scores(tmp_path / "bare"), device="cpu")
    else:
        reranker = Reranker.from_pretrained(qwen3_answers(tmp_path / "bare"), device="cpu", head=kind)
    untrained = reranker.predict(PAIRS)
    torch.manual_seed(0)
    reranker.add_adapter(LoRA(r=4))
    frozen = {
        name: weight.clone() for name, weight in reranker.named_parameters() if name not in trained(reranker)
    }
    assert frozen
    args = TrainingArguments(
        output_dir=str(tmp_path / "run"), num_train_epochs=epochs, per_device_train_batch_size=8, learning_rate=1e-2,
        logging_steps=1, save_strategy="steps", save_steps=0.5, disable_tqdm=True, dataloader_num_workers=0,
        token_budget=400,
    )  # fmt: skip
    trainer = Trainer(reranker, BinaryCrossEntropy(), train_dataset=ROWS, args=args)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    now = dict(reranker.named_parameters())
    assert all(torch.equal(now[name], weight) for name, weight in frozen.items())

    wanted = reranker.predict(PAIRS)
    assert np.abs(wanted - untrained).max() > 1e-2
    reranker.save_pretrained(tmp_path / "trained")
    assert list((tmp_path / "trained").rglob("adapter_model.safetensors"))
    again = Reranker.from_pretrained(tmp_path / "trained", device="cpu")
    assert np.abs(again.predict(PAIRS) - wanted).max() <= 1e-6
    # The checkpoint of the last step is the same model.
    last = tmp_path / "run" / f"checkpoint-{trainer.state.global_step}"
    assert np.abs(Reranker.from_pretrained(last, device="cpu").predict(PAIRS) - wanted).max() <= 1e-6
