"""What is frozen inside one model: a side of a dual encoder, or the backbone under trained heads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sightline.checkpoint.options import LoadOptions
from sightline.checkpoint.read import read_checkpoint
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.modules.heads import Dense, Normalize
from sightline.modules.layer_pooling import WeightedLayerPooling
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder
from sightline.training.engine import Engine
from sightline.training.frozen import LIMIT_BYTES, FrozenVectors
from sightline.training.limits import Limits
from sightline.training.rows import as_rows, choose_columns
from sightline.training.samples import take_samples
from sightline.training.step import Step
from sightline.training.trainer import Trainer
from sightline.types import Batch
from support import tiny_media, tiny_models

TEXTS = [
    {"anchor": f"pump number {number}", "positive": "valve " * (1 + number % 5) + str(number)}
    for number in range(12)
]
CLOSE: dict[str, Any] = {"atol": 1e-6, "rtol": 1e-5}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.bert(tmp_path_factory.mktemp("parts") / "bert", dropout=0.2)


@pytest.fixture
def clip(tiny: Callable[[str], Path]) -> Encoder:
    """A dual encoder whose image side is frozen, with a head that both sides share and that is trained."""
    torch.manual_seed(0)
    encoder = Encoder([*read_checkpoint(tiny("clip"), LoadOptions()).parts, Dense(24, 16)])
    model = encoder.backbones()[""].model
    for tower in (model.vision_model, model.visual_projection):
        tower.requires_grad_(False)
    return encoder.train()


def late(bert: Path) -> Encoder:
    """A vector per token, through a projection; the first part is frozen."""
    backbone = read_checkpoint(bert, LoadOptions()).parts[0]
    torch.manual_seed(0)
    head = Dense(32, 8, activation=nn.Identity(), input_name="token_embeddings")
    return Encoder([backbone.requires_grad_(False), head, Normalize(input_name="token_embeddings")]).train()


def pooled(bert: Path) -> Encoder:
    backbone, *rest = read_checkpoint(bert, LoadOptions()).parts
    torch.manual_seed(0)
    return Encoder([backbone.requires_grad_(False), *rest, Dense(32, 16), Normalize()]).train()


def make_batch(encoder: Encoder, rows: list[dict[str, Any]], budget: int = 40) -> Batch:
    builder = BatchBuilder(
        encoder.preprocessor, encoder.collate, choose_columns(tuple(rows[0])), encoder.modalities, Limits(budget)
    )  # fmt: skip
    made = builder(list(enumerate(rows)))
    assert made["batch"] is not None
    return made["batch"]


def image_rows(count: int = 4) -> list[dict[str, Any]]:
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 64, 64, 3), generator=random, dtype=torch.uint8)
    return [
        {"anchor": f"pump number {number}", "positive": Image.fromarray(image.numpy())}
        for number, image in enumerate(images)
    ]


def gradients(
    encoder: Encoder, batches: list[Batch], kept: int, frozen: FrozenVectors | None
) -> dict[str, Tensor]:
    for batch in batches:
        encoder.zero_grad()
        if frozen is not None:
            frozen.rest(encoder)
        torch.manual_seed(5)
        Step(kept, frozen=frozen).run(encoder, batch, InfoNCE())
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def count(module: nn.Module) -> list[tuple[bool, bool]]:
    """With graph, in training mode, of each call from now on."""
    seen: list[tuple[bool, bool]] = []
    module.register_forward_pre_hook(lambda one, _: seen.append((torch.is_grad_enabled(), one.training)))
    return seen


@pytest.mark.parametrize("make", [pooled, late])
@pytest.mark.parametrize("kept", [0, 2])
def test_a_frozen_backbone_under_trained_heads_runs_once(
    make: Callable[[Path], Encoder], bert: Path, kept: int
) -> None:
    encoder = make(bert)
    encoder.parts[0].eval()
    # The same items in other company, where the vectors are padded otherwise.
    batches = [make_batch(encoder, TEXTS, budget) for budget in (25, 60)]
    wanted = gradients(encoder, batches, kept, None)
    assert wanted
    encoder.train()
    frozen = FrozenVectors()
    seen = count(encoder.parts[0])
    found = gradients(encoder, batches, kept, frozen)
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert seen == [(False, False)] * len(batches[0].micro_batches)
    # The heads run a second time for the graphs that were not kept, on what is there by then.
    twice = sum(len(one) for batch in batches for one in batch.micro_batches[kept:])
    assert twice > 0
    assert frozen.reused == batches[1].num_items + twice


def test_texts_and_pages_of_one_model_are_frozen_each_for_themselves(tiny: Callable[[str], Path]) -> None:
    encoder = Encoder(read_checkpoint(tiny("qwen3_vl"), LoadOptions()).parts).train()
    encoder.requires_grad_(False)
    encoder.backbones()[""].model.visual.requires_grad_(True)
    batch = make_batch(encoder, image_rows())
    wanted = gradients(encoder, [batch], 0, None)
    assert any(gradient.abs().max() > 0 for gradient in wanted.values())
    frozen = FrozenVectors()
    frozen.rest(encoder)
    texts = [one for one in batch.micro_batches if "pixel_values" not in one.features]
    assert texts
    assert all(frozen.covers(one) for one in texts)
    torch.testing.assert_close(gradients(encoder, [batch], 0, frozen), wanted, **CLOSE)


@pytest.mark.parametrize("pooling", [0, 1])
def test_a_frozen_backbone_under_trained_weights_of_its_layers(bert: Path, pooling: int) -> None:
    backbone, *rest = read_checkpoint(bert, LoadOptions()).parts
    torch.manual_seed(0)
    layers = WeightedLayerPooling(32, 2, 0)
    encoder = Encoder([backbone.requires_grad_(False), layers, *rest, Dense(32, 16)])
    layers.requires_grad_(not pooling)
    batches = [make_batch(encoder, TEXTS, budget) for budget in (25, 60)]
    wanted = gradients(encoder, batches, 2, None)
    frozen = FrozenVectors()
    torch.testing.assert_close(gradients(encoder, batches, 2, frozen), wanted, **CLOSE)
    # Every layer of every token is not kept; what frozen weights make of them is.
    assert (frozen.reused > 0) == bool(pooling)


def test_the_frozen_side_of_a_dual_encoder_runs_once(clip: Encoder, tmp_path: Path) -> None:
    batch = make_batch(clip, image_rows(), 64)
    wanted = gradients(clip, [batch], 0, None)
    model = clip.backbones()[""].model
    vision, text = count(model.vision_model), count(model.text_model)
    engine = Engine(InfoNCE(), TrainingArguments(output_dir=str(tmp_path), step_mode="cached"))
    images = [one for one in batch.micro_batches if "pixel_values" in one.features]
    texts = len(batch.micro_batches) - len(images)
    assert images
    assert texts
    for _ in range(3):
        clip.zero_grad()
        clip.train()
        engine.step(clip, batch, share=1 / 3, scale=1.0, sync=True)
    found = {name: p.grad for name, p in clip.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found, wanted, **CLOSE)
    # Once each kind is tried with a graph, to see whether one is left.
    assert vision.count((False, False)) == len(images)
    assert len(vision) == len(images) + 1
    assert text.count((True, True)) == text.count((False, True)) == 3 * texts
    assert model.vision_model.training, "the mode is put back"
    assert engine.logs()["reused"] > 0


def test_a_dual_encoder_without_heads_keeps_the_vectors_themselves(clip: Encoder) -> None:
    encoder = Encoder(list(clip.parts)[:1]).train()  # type: ignore[arg-type]
    batch = make_batch(encoder, image_rows(), 64)
    frozen = FrozenVectors()
    frozen.rest(encoder)
    covered = [frozen.covers(one) for one in batch.micro_batches]
    assert covered == ["pixel_values" in one.features for one in batch.micro_batches]
    wanted = gradients(encoder, [batch], 0, None)
    torch.testing.assert_close(gradients(encoder, [batch, batch], 0, frozen), wanted, **CLOSE)
    assert frozen.reused == 4
    # Weights that change, as a callback may change them, are noticed.
    with torch.no_grad():
        encoder.backbones()[""].model.visual_projection.weight.mul_(-1.0)
    gradients(encoder, [batch], 0, frozen)
    assert frozen.reused == 4


def test_token_vectors_of_a_frozen_model_are_kept_without_padding(bert: Path) -> None:
    encoder = late(bert)
    encoder.requires_grad_(False)
    frozen = FrozenVectors()
    frozen.rest(encoder)
    batch = make_batch(encoder, TEXTS, 60)
    for _ in range(2):
        for one in batch.micro_batches:
            wanted, found = encoder.eval()(one), frozen.embed(batch, one)
            for given, kept in zip(wanted.tokens(), found.tokens(), strict=True):
                torch.testing.assert_close(kept, given, **CLOSE)
    assert frozen.reused == batch.num_items


def test_no_trained_weight_is_taken_for_frozen(bert: Path) -> None:
    """Of a backbone with a frozen bottom, every vector depends on what is trained above it."""
    encoder = Encoder(read_checkpoint(bert, LoadOptions()).parts).train()
    encoder.backbones()[""].model.embeddings.requires_grad_(False)
    frozen = FrozenVectors()
    frozen.rest(encoder)
    state = torch.get_rng_state()
    assert not any(frozen.begins(one) for one in make_batch(encoder, TEXTS).micro_batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert encoder.parts[0].training


@pytest.mark.parametrize(("make", "per_item"), [(pooled, 32 * 4), (late, None)])
def test_what_will_be_kept_is_foretold_and_planned_for(
    make: Callable[[Path], Encoder], per_item: int | None, bert: Path, tmp_path: Path
) -> None:
    encoder, rows = make(bert), as_rows(TEXTS)
    builder = BatchBuilder(
        encoder.preprocessor, encoder.collate, choose_columns(rows.column_names), encoder.modalities
    )
    samples = take_samples(rows, builder, range(len(TEXTS)), None)
    engine = Engine(InfoNCE(), TrainingArguments(output_dir=str(tmp_path)))
    engine.prepare(encoder, encoder.collate, samples, 24, 24)
    batch = make_batch(encoder, TEXTS)
    kept = FrozenVectors()
    kept.rest(encoder)
    for one in batch.micro_batches:
        kept.embed(batch, one)
    if per_item is not None:
        assert engine._frozen.limit == kept._bytes == 24 * per_item
    assert engine._frozen.limit == pytest.approx(kept._bytes, rel=0.1)
    account = engine._plan.account
    assert account is not None
    assert engine._plan.room == account.room
    resumed = Engine(InfoNCE(), TrainingArguments(output_dir=str(tmp_path)))
    resumed.restore(engine.state() | {"frozen_bytes": 77})
    resumed.prepare(encoder, encoder.collate, samples, 24, 24)
    assert resumed._frozen.limit == 77, "a resumed run keeps what the first one kept, to the last bit"
    without = Engine(InfoNCE(), TrainingArguments(output_dir=str(tmp_path)))
    encoder.requires_grad_(True)
    without.prepare(encoder, encoder.collate, samples, 24, 24)
    assert without._frozen.limit == LIMIT_BYTES


def test_only_a_share_of_the_room_is_set_aside(bert: Path, tmp_path: Path) -> None:
    encoder, rows = pooled(bert), as_rows(TEXTS)
    builder = BatchBuilder(
        encoder.preprocessor, encoder.collate, choose_columns(rows.column_names), encoder.modalities
    )
    engine = Engine(InfoNCE(), TrainingArguments(output_dir=str(tmp_path)))
    engine.prepare(encoder, encoder.collate, take_samples(rows, builder, range(12), None), 24, None)
    plan = engine._plan
    assert plan.account is not None
    room = plan.account.room
    before = room + engine._frozen.limit
    assert engine._frozen.limit == min(LIMIT_BYTES, round(before / 4))
    assert plan.set_aside(10**18) == round(room / 4)
    assert plan.room == pytest.approx(room * 3 / 4)


def sound_rows(count: int = 4) -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    return [
        {
            "anchor": f"pump number {number}",
            "positive": {"array": random.standard_normal(1_600).astype("float32"), "sampling_rate": 16_000},
        }
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("make", "rows", "tower", "entry"),
    [
        (tiny_models.clip, image_rows, "vision", "pixel_values"),
        (
            tiny_media.clap,
            sound_rows,
            "audio",
            "input_features",
        ),  # scales to unit length behind the projection
    ],
    ids=["clip", "clap"],
)
def test_a_frozen_tower_under_its_trained_projection(
    make: Callable[[Path], Path], rows: Callable[[], list], tower: str, entry: str, tmp_path: Path
) -> None:
    """``freeze=["vision"]`` leaves CLIP's projection of images to be trained."""
    encoder = Encoder(read_checkpoint(make(tmp_path / "dual"), LoadOptions()).parts).train()
    encoder.backbones()[""].model.get_submodule(f"{tower}_model").requires_grad_(False)
    frozen_tower = encoder.backbones()[""].model.get_submodule(f"{tower}_model")
    batch = make_batch(encoder, rows(), 64)
    frozen_tower.eval()
    encoder.backbones()[""].model.text_model.eval()
    wanted = gradients(encoder, [batch], 0, None)
    assert any("projection" in name and "text" not in name for name in wanted)
    seen = count(frozen_tower)
    frozen = FrozenVectors()
    found = gradients(encoder, [batch, batch], 0, frozen)
    torch.testing.assert_close(found, wanted, **CLOSE)
    passes = sum(entry in one.features for one in batch.micro_batches)
    assert passes
    assert len(seen) == passes + 1, "and once to see whether a graph is left"
    assert frozen.reused == 3 * 4


def test_a_run_with_a_frozen_side(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(tiny("clip"), device="cpu")
    args = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=4, num_train_epochs=3, logging_steps=1, seed=1,
        dataloader_num_workers=0, disable_tqdm=True, save_strategy="no", optim="sgd", freeze=["vision"],
    )  # fmt: skip
    trainer = Trainer(encoder, InfoNCE(), train_dataset=image_rows(), args=args)
    trainer.train()
    logs = [entry.get("reused", 0) for entry in trainer.state.log_history if "items" in entry]
    assert logs == [0, 4, 4]
