"""What the four tasks on real data share: a Router of MiniLM and a small tower, its training, and how it is judged.

The text tower is all-MiniLM-L6-v2 as it is; the other tower starts from random weights and learns to give an item
the vector its text has. Only the tower and its projection are trained.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ViTConfig, ViTModel

from sightline.demo.model import minilm_folder
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer

DATA = Path(os.environ.get("SIGHTLINE_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
LIMITS = (1, 5, 10)


def pairs(name: str) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a data set, and its lines."""
    folder = DATA / name
    lines = (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    return folder, [json.loads(line) for line in lines]


def shuffled(items: Sequence[Any], seed: int = 0) -> list[Any]:
    """The items in an order that is the same on every run."""
    return [items[place] for place in np.random.default_rng(seed).permutation(len(items))]


def composed(model: Any, settings: Mapping[str, Any], file: str, modality: str, seed: int = 0) -> Encoder:
    """MiniLM for text, and a tower for ``modality``.

    Args:
        model: a transformers model with random weights.
        settings: of its processor.
        file: name of the file they belong into.
        modality: what the tower takes.
        seed: of the projection.
    """
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name)
        (Path(name) / file).write_text(json.dumps(settings))
        tower = Encoder.from_pretrained(name, device="cpu")
    text = Encoder.from_pretrained(minilm_folder(), device="cpu")
    torch.manual_seed(seed)
    return Encoder.from_routes({"text": text, modality: tower}, dim=text.embedding_dim)


def small_vit(side: int, patch: int, width: int) -> ViTModel:
    """A vision transformer of four layers with random weights, for square images.

    Args:
        side: of an image, in pixels.
        patch: side of a patch.
        width: of the layers between.
    """
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=width, image_size=side,
        patch_size=patch, hidden_dropout_prob=0.1,
    )  # fmt: skip
    return ViTModel(config)


def learn(
    encoder: Encoder,
    rows: Sequence[Mapping[str, Any]],
    *,
    epochs: float,
    batch_size: int,
    learning_rate: float,
    temperature: float = 0.07,
    seed: int = 0,
) -> float:
    """Trains the tower on (text, item) rows; returns the seconds it took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=epochs, per_device_train_batch_size=batch_size,
            learning_rate=learning_rate, warmup_ratio=0.1, weight_decay=0.05, lr_scheduler_type="cosine",
            seed=seed, save_strategy="no", logging_steps=0.1, disable_tqdm=True, dataloader_num_workers=0,
            preprocess_cache=f"{folder}/prepared", freeze=["text"],
        )  # fmt: skip
        loss = InfoNCE(temperature, symmetric=True)
        Trainer(encoder, loss, train_dataset=list(rows), args=arguments).train()
    return time.monotonic() - started


@dataclass(frozen=True)
class Judged:
    """How often a right answer is among the first k, per query.

    Attributes:
        hits: k -> (queries,) 0 or 1.
        chance: k -> what an order drawn at random would give.
    """

    hits: Mapping[int, np.ndarray]
    chance: Mapping[int, float]

    def line(self, k: int) -> str:
        """``hit@k`` with its 95 % interval (bootstrap over queries) and the factor over chance."""
        hits = self.hits[k]
        draws = np.random.default_rng(0).integers(0, len(hits), (2000, len(hits)))
        low, high = np.quantile(hits[draws].mean(1), (0.025, 0.975))
        mean, chance = hits.mean(), self.chance[k]
        return (
            f"| hit@{k} | {mean:.3f} | {low:.3f} to {high:.3f} | {chance:.3f} | {mean / chance:.1f}x "
            f"({low / chance:.1f}x to {high / chance:.1f}x) |"
        )


def judge(encoder: Encoder, queries: Sequence[Any], answers: Sequence[Any], right: np.ndarray) -> Judged:
    """Ranks all answers for each query.

    Args:
        queries: texts, or whatever is to find the answers.
        answers: items.
        right: (queries, answers) bool.
    """
    scores = encoder.similarity(encoder.encode_query(list(queries)), encoder.encode_document(list(answers)))
    order = np.argsort(-scores.numpy(), axis=1, kind="stable")
    found = np.take_along_axis(right, order, axis=1)
    limits = [k for k in LIMITS if k <= len(answers)]
    return Judged(
        {k: found[:, :k].any(1).astype(float) for k in limits},
        {k: _chance(right.sum(1), len(answers), k) for k in limits},
    )


def _chance(relevant: np.ndarray, number: int, k: int) -> float:
    missed = [math.comb(number - int(count), k) / math.comb(number, k) for count in relevant]
    return 1.0 - float(np.mean(missed))


def tell(title: str, before: Judged, after: Judged, seconds: float, encoder: Encoder) -> None:
    """Prints the table that stands in docs/benchmarks.md."""
    tower = next(one for name, one in encoder.backbones().items() if name != "text")
    weights = sum(parameter.numel() for parameter in tower.parameters()) / 1e6
    print(f"\n{title}; tower of {weights:.1f} million weights, {seconds:.0f} s of training\n")
    print("| | found | 95 % interval | chance | over chance |\n|---|---|---|---|---|")
    for k in after.hits:
        print(after.line(k))
    print("\nbefore training: " + ", ".join(f"hit@{k} {before.hits[k].mean():.3f}" for k in before.hits))


def one_right(number: int) -> np.ndarray:
    """Query i is answered by answer i alone."""
    return np.eye(number, dtype=bool)


@dataclass(frozen=True)
class Question:
    """What a model is asked before and after training.

    Attributes:
        title: for the heading.
        queries: texts, or whatever is to find the answers.
        answers: items.
        right: (queries, answers) bool.
    """

    title: str
    queries: Sequence[Any]
    answers: Sequence[Any]
    right: np.ndarray


def teach(encoder: Encoder, seen: Sequence[Mapping[str, Any]], *questions: Question, **settings: Any) -> None:
    """Asks, trains, asks again, and prints a table per question.

    Args:
        encoder: of `composed`.
        seen: rows to learn from.
        questions: about items that are not among them.
        settings: of `learn`.
    """

    def asked() -> list[Judged]:
        return [judge(encoder, one.queries, one.answers, one.right) for one in questions]

    before = asked()
    seconds = learn(encoder, seen, **settings)
    for question, was, now in zip(questions, before, asked(), strict=True):
        tell(question.title, was, now, seconds, encoder)
