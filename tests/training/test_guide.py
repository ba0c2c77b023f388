"""A guide model's vectors travel with the batch: each item embedded once, by content and role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import ConfigError
from sightline.losses.compose import ByDataset
from sightline.losses.contrastive import InfoNCE
from sightline.losses.joint import FalseNegatives
from sightline.training.arguments import TrainingArguments
from sightline.training.guide import Guide
from sightline.training.trainer import Trainer
from sightline.types import Batch, Embeddings

ROWS = [{"q": f"what about pump {n}", "d": f"all of pump {n % 10}"} for n in range(12)]


class SpyingLoss:
    """InfoNCE that keeps what its batches carried."""

    def __init__(self) -> None:
        self.loss = InfoNCE(false_negatives=FalseNegatives())
        self.batches: list[Batch] = []

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, torch.Tensor]:
        self.batches.append(batch)
        return self.loss(embeddings, batch)


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, num_train_epochs=2, save_strategy="no",
        dataloader_num_workers=0, disable_tqdm=True, **options,
    )  # fmt: skip


@pytest.fixture
def guide(tiny_encoder: Callable) -> Any:
    encoder = tiny_encoder("bert")
    encoder.prompts = {"query": "find: "}
    return encoder


def test_batches_carry_the_vectors_of_the_guide(make_encoder: Callable, guide: Any, tmp_path: Path) -> None:
    loss, encoder = SpyingLoss(), make_encoder()
    before = {name: weight.clone() for name, weight in guide.state_dict().items()}
    trainer = Trainer(encoder, loss, train_dataset=ROWS, args=arguments(tmp_path), guide=guide)
    trainer.train()
    assert len(loss.batches) == 6
    for batch in loss.batches:
        assert batch.guide_NG is not None
        for (query, document), number in zip(batch.columns_BC.tolist(), batch.rows, strict=True):
            row = ROWS[number]
            wanted = torch.cat([guide.encode_query(row["q"]).values, guide.encode_document(row["d"]).values])
            torch.testing.assert_close(batch.guide_NG[[query, document]], wanted, atol=1e-5, rtol=0)
    # 12 questions and 10 distinct documents, in two epochs.
    assert trainer._source._guide.embedded == 22
    assert all(torch.equal(weight, before[name]) for name, weight in guide.state_dict().items())


def test_the_same_with_workers_and_little_memory_for_vectors(
    make_encoder: Callable, guide: Any, tmp_path: Path
) -> None:
    weights = []
    for workers in (0, 2):
        encoder = make_encoder()
        loss = InfoNCE(false_negatives=FalseNegatives(0.1))
        args = arguments(tmp_path, data_seed=1)
        args.dataloader_num_workers = workers
        trainer = Trainer(encoder, loss, train_dataset=ROWS, args=args, guide=guide)
        if workers:
            trainer._source._guide.limit = 0
        trainer.train()
        weights.append(encoder.state_dict())
    torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=1e-4)


def test_evaluation_has_the_guide_too(make_encoder: Callable, guide: Any, tmp_path: Path) -> None:
    loss = InfoNCE(false_negatives=FalseNegatives())
    trainer = Trainer(
        make_encoder(),
        ByDataset({"held": loss}),
        eval_dataset={"held": ROWS},
        args=arguments(tmp_path),
        guide=guide,
    )
    assert trainer.evaluate()["eval_held_loss"] > 0


def test_a_guide_of_token_vectors_is_refused(guide: Any) -> None:
    class PerToken:
        modalities = ("text",)

        def encode(self, inputs: Any, **_: Any) -> Embeddings:
            return Embeddings(torch.zeros(len(inputs), 3, 4), torch.ones(len(inputs), 3))

    with pytest.raises(ConfigError, match="one vector per item"):
        Guide(PerToken())._embed({"query": {0: ROWS[0]["q"]}})  # type: ignore[arg-type, dict-item]


def test_the_trained_model_cannot_be_its_own_guide(make_encoder: Callable, tmp_path: Path) -> None:
    encoder = make_encoder()
    with pytest.raises(ConfigError, match="the guide is the model that is trained"):
        Trainer(encoder, SpyingLoss(), train_dataset=ROWS, args=arguments(tmp_path), guide=encoder)
