"""The Trainer on a tiny reranker: it learns, step modes agree, runs resume, checkpoints and cards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sightline.errors import ConfigError, DataError
from sightline.evaluation.reranking import RerankingEvaluator
from sightline.losses.base import Loss
from sightline.losses.contrastive import InfoNCE
from sightline.losses.in_batch import InBatchRanking
from sightline.losses.lambda_loss import Lambda, RankNet
from sightline.losses.listwise import ListNet
from sightline.losses.pointwise import BinaryCrossEntropy, CrossEntropy
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.pair_rows import labelled_pairs
from sightline.training.pairing import pair_reader
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from sightline.training.trainer import Trainer
from sightline.types import Batch
from support.reranker_rows import lists, samples, triplets
from support.run_arguments import maker
from support.tiny_rerankers import bert_scores

TRAIN, HELD_OUT = triplets(96, seed=1, topics=4), triplets(24, seed=2, topics=4)
LOSSES: dict[str, tuple[Loss, list[dict[str, Any]]]] = {
    "binary cross-entropy": (BinaryCrossEntropy(3.0), TRAIN),
    "in-batch": (InBatchRanking(4), [{"query": row["query"], "positive": row["positive"]} for row in TRAIN]),
    "lambda": (Lambda(), lists(TRAIN)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_scores(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without dropout, which so small a model hardly learns under."""
    folder = tmp_path_factory.mktemp("steady")
    # With the weights of seed 0 it ranks better by chance (0.81) than at random (0.64).
    return bert_scores(folder, seed=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture
def make_arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    return maker(
        tmp_path, num_train_epochs=1, per_device_train_batch_size=8, learning_rate=1e-3, token_budget=200
    )


def load(folder: Path) -> Reranker:
    return Reranker.from_pretrained(folder, device="cpu")


def history(trainer: Trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("name", LOSSES)
def test_a_reranker_learns_to_rank_held_out_documents(
    name: str, steady: Path, make_arguments: Callable[..., TrainingArguments]
) -> None:
    loss, rows = LOSSES[name]
    reranker, evaluator = load(steady), RerankingEvaluator(samples(HELD_OUT))
    before = evaluator(reranker)["ndcg@10"]
    args = make_arguments(num_train_epochs=14, token_budget=2000, logging_steps=100)
    Trainer(reranker, loss, train_dataset=rows, args=args).train()
    after = evaluator(reranker)["ndcg@10"]
    # Four documents in a random order give 0.64 on average.
    assert after > max(0.75, before + 0.1)


def make_batch(reranker: Reranker, rows: list[dict[str, Any]], loss: Loss, budget: int | None) -> Batch:
    columns = choose_columns(tuple(rows[0]))
    builder = BatchBuilder(
        reranker.preprocessor,
        reranker.collate,
        columns,
        ("text",),
        Limits(budget),
        reader=pair_reader(columns, loss, modalities=("text",)),
    )
    batch = builder(list(enumerate(rows)))["batch"]
    assert batch is not None
    return batch


@pytest.mark.parametrize(
    ("loss", "rows"),
    [
        (BinaryCrossEntropy(2.0), TRAIN[:6]),
        (InBatchRanking(None), TRAIN[:6]),
        (Lambda(), lists(TRAIN[:6])),
        (RankNet(), lists(TRAIN[:6])),
    ],
)
def test_kept_and_cached_steps_give_the_same_gradients(
    folder: Path, loss: Loss, rows: list[dict[str, Any]]
) -> None:
    """With dropout: each repeated pass draws the masks of the first."""
    reranker = load(folder).train()
    batch = make_batch(reranker, rows, loss, budget=60)
    assert len(batch.micro_batches) > 3
    found = []
    for kept in (None, 0, 2):
        reranker.zero_grad()
        torch.manual_seed(0)
        parts = Step(kept).run(reranker, batch, loss)
        found.append(
            (parts, {name: p.grad.clone() for name, p in reranker.named_parameters() if p.grad is not None})
        )
    for parts, gradients in found[1:]:
        torch.testing.assert_close(parts, found[0][0])
        torch.testing.assert_close(gradients, found[0][1], atol=1e-6, rtol=1e-5)
    assert max(float(gradient.abs().max()) for gradient in found[0][1].values()) > 1e-3


def test_one_micro_batch_and_many_give_the_same_gradients(folder: Path) -> None:
    reranker = load(folder)
    found = []
    for budget in (None, 40):
        reranker.zero_grad()
        Step().run(reranker, make_batch(reranker, lists(TRAIN[:6]), Lambda(), budget), Lambda())
        found.append({name: p.grad.clone() for name, p in reranker.named_parameters() if p.grad is not None})
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_training_steps_log_and_evaluate(
    folder: Path, make_arguments: Callable[..., TrainingArguments], tmp_path: Path
) -> None:
    reranker = load(folder)
    trainer = Trainer(
        reranker, InBatchRanking(2), train_dataset=TRAIN[:24], eval_dataset=HELD_OUT,
        evaluator=RerankingEvaluator(samples(HELD_OUT), name="held out"),
        args=make_arguments(
            eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, load_best_model_at_end=True
        ),
    )  # fmt: skip
    trainer.train()
    scores = history(trainer, "eval_held out_ndcg@10")
    assert len(scores) == 3
    assert trainer.state.best_metric == max(scores)
    assert all(0 < value < 12 for value in history(trainer, "in_batch_ranking"))
    # A positive, three hard negatives and two of other rows, for each of 8 rows.
    assert all(40 <= items <= 48 for items in history(trainer, "items"))
    best = Path(trainer.state.best_model_checkpoint or "")
    texts = [(row["query"], row["positive"]) for row in HELD_OUT]
    np.testing.assert_allclose(load(best).predict(texts), reranker.predict(texts), atol=1e-6)
    card = (best / "README.md").read_text()
    assert "pipeline_tag: text-ranking" in card
    assert "CrossEncoder(" in card
    assert "InBatchRanking(negatives=2" in card
    assert f"| full | {max(scores):.4f} |" in card
    assert (tmp_path / "run" / "eval" / "reranking_held-out.json").exists()


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_ends_where_the_whole_run_ends(
    folder: Path, make_arguments: Callable[..., TrainingArguments], tmp_path: Path, workers: int
) -> None:
    """In-batch negatives, dropout and list lengths included."""
    options = {"save_strategy": "steps", "save_steps": 2, "dataloader_num_workers": workers}
    whole, resumed = load(folder), load(folder)
    Trainer(
        whole, InBatchRanking(3), train_dataset=TRAIN[:40], args=make_arguments("whole", **options)
    ).train()
    trainer = Trainer(
        resumed, InBatchRanking(3), train_dataset=TRAIN[:40], args=make_arguments("again", **options)
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert trainer.state.global_step == 5
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


@pytest.mark.parametrize("mode", ["direct", "cached"])
def test_step_modes_end_with_the_same_weights(
    folder: Path, make_arguments: Callable[..., TrainingArguments], mode: str
) -> None:
    results = []
    for step_mode in ("auto", mode):
        reranker = load(folder)
        args = make_arguments(step_mode=step_mode, token_budget=None, micro_batch=5)
        Trainer(reranker, Lambda(), train_dataset=lists(TRAIN[:24]), args=args).train()
        results.append(reranker.state_dict())
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


def test_the_memory_plan_covers_pairs(folder: Path, make_arguments: Callable[..., TrainingArguments]) -> None:
    told: list[str] = []
    args = make_arguments(max_steps=1, token_budget=None, memory_budget="8GB")
    Trainer(load(folder), Lambda(), train_dataset=lists(TRAIN[:24]), args=args, tell=told.append).train()
    assert any(line.startswith("Memory plan: ") and "expected peak" in line for line in told)


def test_classes_and_expanded_pairs(make_arguments: Callable[..., TrainingArguments], tmp_path: Path) -> None:
    """Cross-entropy over two classes, on pairs made by a ratio."""
    reranker = load(bert_scores(tmp_path / "two", labels=2, hidden_dropout_prob=0.0))
    pairs = labelled_pairs(TRAIN, negatives=3)
    held_out = labelled_pairs(HELD_OUT, negatives=3)
    texts = [(row["query"], row["positive"]) for row in (held_out[n] for n in range(len(held_out)))]
    labels = np.array([held_out[n]["label"] for n in range(len(held_out))])
    args = make_arguments(
        num_train_epochs=4, per_device_train_batch_size=16, token_budget=2000, logging_steps=100
    )
    trainer = Trainer(reranker, CrossEntropy(), train_dataset=pairs, eval_dataset=held_out, args=args)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    scores = reranker.predict(texts, activation=nn.Identity())
    assert scores.shape == (len(labels), 2)
    # Right documents score higher for their class than wrong ones do.
    margins = scores[:, 1] - scores[:, 0]
    assert margins[labels == 1].mean() > margins[labels == 0].mean()


def test_wrong_losses_and_columns_are_refused_before_the_first_step(
    folder: Path, make_arguments: Callable[..., TrainingArguments]
) -> None:
    reranker = load(folder)
    with pytest.raises(ConfigError, match="InfoNCE is for the vectors of an Encoder"):
        Trainer(reranker, InfoNCE(), train_dataset=TRAIN, args=make_arguments())
    trainer = Trainer(
        reranker, ListNet(), train_dataset=[{"query": "a", "docs": ["b", "c"]}], args=make_arguments()
    )
    with pytest.raises(DataError, match="no label; ListNet needs one"):
        trainer.train()
    ragged = [*lists(TRAIN[:7]), {"query": "a", "docs": ["b", "c"], "labels": [1.0]}]
    trainer = Trainer(reranker, ListNet(), train_dataset=ragged, args=make_arguments())
    with pytest.raises(
        DataError, match="row 7: 2 documents in column 'docs', but 1 labels in column 'labels'"
    ):
        trainer.train()
    assert trainer.state.global_step == 0


def test_both_directions_are_two_datasets_of_one_run(
    folder: Path, make_arguments: Callable[..., TrainingArguments]
) -> None:
    """Each with a loss of its own; batches are of one of them."""
    there = labelled_pairs(TRAIN[:12], negatives=1, query="query", positive="positive")
    back = labelled_pairs(TRAIN[:12], negatives=2, query="positive", positive="query")
    trainer = Trainer(
        load(folder),
        {"there": BinaryCrossEntropy(), "back": BinaryCrossEntropy(2.0)},
        train_dataset={"there": there, "back": back},
        args=make_arguments(),
    )
    assert trainer.train().global_step == 3 + 5  # 24 and 36 pairs in batches of 8
    assert all(loss > 0 for loss in history(trainer, "loss"))
    with pytest.raises(ConfigError, match="InfoNCE is for the vectors of an Encoder"):
        Trainer(
            load(folder),
            {"there": BinaryCrossEntropy(), "back": InfoNCE()},
            train_dataset={"there": there, "back": back},
            args=make_arguments(),
        )
