"""Distillation into a teacher's space of another dimension: a projection that trains along and is not kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as st

from sightline.errors import CheckpointError, ConfigError
from sightline.losses.base import Loss
from sightline.losses.compose import Sum
from sightline.losses.contrastive import InfoNCE
from sightline.losses.distillation import EmbeddingDistillation
from sightline.models.encoder import Encoder
from sightline.models.projection import FILE, saved_projection
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.limits import Limits
from sightline.training.rows import choose_columns
from sightline.training.step import Step
from sightline.training.trainer import Trainer
from sightline.types import Batch, Embeddings

TEACHER = 20
VECTORS = torch.randn(6, TEACHER, generator=torch.Generator().manual_seed(4))
ROWS = [
    {"english": f"there were {n} pumps", "french": f"il y avait {n} pompes", "label": VECTORS[n].tolist()}
    for n in range(6)
]


def train(encoder: Any, loss: Loss, folder: Path, *, resume: str | None = None, **options: Any) -> Trainer:
    args = TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=3, num_train_epochs=4, learning_rate=1e-3,
        logging_steps=1, dataloader_num_workers=0, disable_tqdm=True, save_strategy="steps", save_steps=3, **options,
    )  # fmt: skip
    torch.manual_seed(7)
    trainer = Trainer(encoder, loss, train_dataset=ROWS, eval_dataset=ROWS, args=args)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("comparison", ["cosine", "mse", "l2"])
@pytest.mark.parametrize("kept", [None, 0])
def test_value_and_gradients_equal_those_of_sentence_transformers(
    tiny: Callable[[str], Path], tmp_path: Path, comparison: Any, kept: int | None
) -> None:
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu").eval()
    encoder.save_pretrained(tmp_path / "model")
    encoder.give_projection(encoder.embedding_dim, TEACHER)
    assert encoder.projection is not None
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu").eval()
    theirs = st.EmbedDistillLoss(model, comparison, projection_dim=TEACHER)
    assert theirs.projection is not None
    theirs.projection.load_state_dict(encoder.projection.state_dict())
    features = [model.preprocess([row[column] for row in ROWS]) for column in ("english", "french")]
    expected = theirs(features, VECTORS)
    expected.backward()

    builder = BatchBuilder(
        encoder.preprocessor, encoder.collate, choose_columns(tuple(ROWS[0])), encoder.modalities, Limits(40)
    )
    batch = builder(list(enumerate(ROWS)))["batch"]
    assert batch is not None
    batch.projected = TEACHER
    parts = Step(kept).run(encoder, batch, EmbeddingDistillation(comparison, projection=TEACHER))
    assert float(parts["embedding_distillation"]) == pytest.approx(float(expected.detach()), abs=1e-5)
    for ours, wanted in (
        (encoder.projection.weight, theirs.projection.weight),
        (encoder.projection.bias, theirs.projection.bias),
        (
            encoder.backbones()[""].model.get_input_embeddings().weight,
            model[0].auto_model.get_input_embeddings().weight,
        ),
    ):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, wanted.grad, atol=1e-5, rtol=0)


def test_it_is_trained_resumed_and_left_behind(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    loss = Sum([EmbeddingDistillation("mse", projection=TEACHER), InfoNCE()], weights=[1.0, 0.1])
    whole = Encoder.from_pretrained(tiny("bert"), device="cpu")
    trainer = train(whole, loss, tmp_path / "whole")
    losses = [entry["embedding_distillation"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert trainer.evaluate()["eval_embedding_distillation"] > 0
    assert (tmp_path / "whole" / "checkpoint-3" / FILE).exists()

    again = Encoder.from_pretrained(tiny("bert"), device="cpu")
    train(again, loss, tmp_path / "again", resume=str(tmp_path / "whole" / "checkpoint-3"))
    assert whole.projection is not None
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name

    whole.save_pretrained(tmp_path / "final")
    assert not (tmp_path / "final" / FILE).exists()
    loaded = Encoder.from_pretrained(tmp_path / "final", device="cpu")
    assert loaded.projection is None
    torch.testing.assert_close(loaded.encode("a pump").values, whole.eval().encode("a pump").values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_beside_weights_of_whole_numbers_it_has_the_type_of_the_others(
    tiny: Callable[[str], Path], dtype: torch.dtype
) -> None:
    """A backbone in 4 or 8 bits has its weights in integers."""
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu", dtype=dtype)
    words = encoder.backbones()[""].model.get_input_embeddings()
    few_bits = torch.zeros(4, dtype=torch.uint8)
    words.weight = torch.nn.Parameter(few_bits, requires_grad=False)
    assert next(encoder.parameters()).dtype == torch.uint8
    assert encoder.dtype == dtype
    encoder.give_projection(encoder.embedding_dim, TEACHER)
    assert encoder.projection is not None
    assert encoder.projection.weight.dtype == dtype
    assert encoder.projection.weight.requires_grad


def test_wrong_uses_are_named(tiny: Callable[[str], Path], make_encoder: Callable, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="projection must be the teacher's dimension, not 0"):
        EmbeddingDistillation(projection=0)
    loss = EmbeddingDistillation(projection=TEACHER)
    with pytest.raises(ConfigError, match="a projection to a teacher's space is trained with an Encoder"):
        train(make_encoder(), loss, tmp_path)
    encoder = Encoder.from_pretrained(tiny("bert"), device="cpu")
    both = Sum([loss, EmbeddingDistillation("l2", projection=TEACHER + 1)])
    with pytest.raises(ConfigError, match="projections to 20 and 21 dimensions in one loss"):
        train(encoder, both, tmp_path)
    encoder.give_projection(encoder.embedding_dim, TEACHER)
    with pytest.raises(ConfigError, match="has a projection to 20 dimensions already, not to 5"):
        encoder.give_projection(encoder.embedding_dim, 5)
    with pytest.raises(CheckpointError, match="its run trained no projection"):
        saved_projection(encoder, tmp_path)
    batch = Batch([], torch.arange(6), torch.arange(6)[:, None], ("query",), targets={"label": VECTORS})
    with pytest.raises(ConfigError, match="the model was not asked for them"):
        loss(Embeddings(torch.zeros(6, 8)), batch)
