"""Rerankers out of language models train like any other: texts and images, a word's log-odds or a pooled head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.reranker_rows import triplets
from support.tiny_answers import qwen3_answers, qwen3_vl_answers

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}


def coloured(count: int) -> list[dict[str, Any]]:
    """A colour's name, an image of it, and one of the other colour."""
    pages = {name: Image.new("RGB", (48, 48), value) for name, value in COLOURS.items()}
    pairs = [("red", "blue"), ("blue", "red")]
    return [
        {"query": f"{right} page {number}", "positive": pages[right], "negative": pages[wrong]}
        for number, (right, wrong) in enumerate(pairs * (count // 2))
    ]


@pytest.mark.parametrize("head", ["answer", "pooled"])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_loss_falls_and_what_was_learnt_is_saved(head: Any, kind: str, tmp_path: Path) -> None:
    folder = (qwen3_answers if kind == "text" else qwen3_vl_answers)(tmp_path / "bare")
    rows = triplets(32, seed=1, topics=4) if kind == "text" else coloured(32)
    reranker = Reranker.from_pretrained(folder, device="cpu", head=head)
    args = TrainingArguments(
        output_dir=str(tmp_path / "run"), num_train_epochs=4, per_device_train_batch_size=8, learning_rate=1e-3,
        logging_steps=1, save_strategy="no", disable_tqdm=True, dataloader_num_workers=0, token_budget=400,
    )  # fmt: skip
    trainer = Trainer(reranker, BinaryCrossEntropy(), train_dataset=rows, args=args)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    pairs = [(row["query"], row["positive"]) for row in rows[:4]]
    reranker.save_pretrained(tmp_path / "trained")
    again = Reranker.from_pretrained(tmp_path / "trained", device="cpu")
    assert np.abs(again.predict(pairs) - reranker.predict(pairs)).max() <= 1e-5
