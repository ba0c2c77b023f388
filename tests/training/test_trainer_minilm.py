"""The Trainer on a real model: all-MiniLM-L6-v2, a retrieval evaluator, worker processes, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.evaluation.retrieval import RetrievalEvaluator
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training.arguments import TrainingArguments
from sightline.training.step import Step
from sightline.training.trainer import Trainer
from support.fixtures import MINILM

THINGS = ["pump", "valve", "tree", "ship", "letter", "bridge", "well", "tower"]
PLACES = ["north", "south", "east", "west", "valley", "harbour", "castle", "market"]
# Pairs that only training can join: the answer says neither the thing nor the place.
CODES = {f"{thing} in the {place}": f"entry {7 * n + 3} of ledger {n % 5}" for n, (thing, place) in enumerate(
    (thing, place) for thing in THINGS for place in PLACES)}  # fmt: skip
ROWS = [{"anchor": f"where is the {what}", "positive": code} for what, code in CODES.items()]


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder), num_train_epochs=2, per_device_train_batch_size=16, learning_rate=2e-4,
        warmup_ratio=0.1, logging_steps=1, disable_tqdm=True, dataloader_num_workers=2, token_budget=256,
        **options,
    )  # fmt: skip


def evaluator() -> RetrievalEvaluator:
    queries = {f"q{n}": row["anchor"] for n, row in enumerate(ROWS)}
    corpus = {f"d{n}": row["positive"] for n, row in enumerate(ROWS)}
    return RetrievalEvaluator(
        queries, corpus, {f"q{n}": {f"d{n}": 1} for n in range(len(ROWS))}, dims=(128, 64)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, dict[str, float]]:
    folder = tmp_path_factory.mktemp("trainer") / "run"
    encoder = Encoder.from_pretrained(MINILM, device="cpu")
    trainer = Trainer(
        encoder, Matryoshka(InfoNCE(), (384, 128, 64)), train_dataset=ROWS, eval_dataset=ROWS[:16],
        evaluator=evaluator(),
        args=arguments(folder, eval_strategy="steps", eval_steps=0.5, save_strategy="steps", save_steps=0.5,
                       load_best_model_at_end=True),
    )  # fmt: skip
    before = trainer.evaluate()
    trainer.train()
    return trainer, before


def test_training_helps(trained: tuple[Trainer, dict[str, float]]) -> None:
    trainer, before = trained
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert len(losses) == 8
    assert sum(losses[-2:]) < sum(losses[:2])
    evaluations = [entry for entry in history if "eval_ndcg@10" in entry]
    assert [entry["step"] for entry in evaluations] == [4, 8]
    assert evaluations[-1]["eval_ndcg@10"] > before["eval_ndcg@10"]
    assert evaluations[-1]["eval_loss"] < before["eval_loss"]
    assert trainer.state.best_metric == max(entry["eval_ndcg@10"] for entry in evaluations)
    # The best weights are in the encoder, so asking again gives the best score again.
    assert trainer.evaluate()["eval_ndcg@10"] == pytest.approx(trainer.state.best_metric, abs=1e-6)


def test_what_was_saved_is_what_was_trained(trained: tuple[Trainer, dict[str, float]]) -> None:
    from sentence_transformers import SentenceTransformer

    trainer, _ = trained
    folder = trainer.state.best_model_checkpoint
    texts = [row["anchor"] for row in ROWS[:5]]
    here = trainer.model.encode(texts).values
    torch.testing.assert_close(Encoder.from_pretrained(folder, device="cpu").encode(texts).values, here)
    st = torch.from_numpy(SentenceTransformer(folder, device="cpu").encode(texts))
    torch.testing.assert_close(st, here, atol=1e-5, rtol=0)
    card = (Path(folder) / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
    assert "| 128 | " in card
    assert "| 64 | " in card


def test_resuming_ends_bit_identical(tmp_path: Path) -> None:
    """Dropout on, worker processes on: stop within the second epoch, go on, end with the same weights."""
    weights = []
    for folder, resume in (("whole", None), ("resumed", tmp_path / "whole" / "checkpoint-3")):
        encoder = Encoder.from_pretrained(MINILM, device="cpu")
        args = arguments(tmp_path / folder, save_strategy="steps", save_steps=3)
        trainer = Trainer(encoder, InfoNCE(), train_dataset=ROWS[:32], args=args)
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        weights.append(encoder.state_dict())
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


def test_direct_and_cached_agree_with_the_models_own_dropout(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(MINILM, device="cpu").train()
    trainer = Trainer(encoder, InfoNCE(), train_dataset=ROWS, args=arguments(tmp_path))
    batch = next(iter(trainer.get_train_dataloader()))["batch"]
    assert batch is not None
    assert len(batch.micro_batches) > 1
    gradients = []
    for kept in (None, 1, 0):
        torch.manual_seed(11)
        Step(kept).run(encoder, batch, InfoNCE())
        gradients.append(
            {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
        )
        encoder.zero_grad()
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], atol=1e-5, rtol=0)
