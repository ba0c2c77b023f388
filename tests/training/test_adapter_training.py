"""Training with an adapter: the same gradients on every road, checkpoints of the adapter alone, exact resuming."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sightline.inputs.parse import parse
from sightline.losses.contrastive import InfoNCE
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.modules import backbone as backbones
from sightline.modules import cpu
from sightline.modules.heads import Dense
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer
from support.adapted import stir, trained
from support.fixtures import TEXTS
from support.run_arguments import maker

ROWS = [
    {"anchor": f"pump number {number}", "positive": "valve " * (number % 7) + str(number % 12)}
    for number in range(24)
]


@pytest.fixture
def make_arguments(tmp_path: Path) -> Callable[..., TrainingArguments]:
    return maker(tmp_path, max_steps=4, per_device_train_batch_size=8, learning_rate=1e-2)


@pytest.fixture
def make(tiny: Callable[[str], Path]) -> Callable[..., Encoder]:
    """``make("qwen3", LoRA(...))``: an encoder with a head and an adapter whose matrices are not zero."""

    def made(name: str, adapter: LoRA | None = None) -> Encoder:
        encoder = Encoder.from_pretrained(tiny(name), device="cpu")
        torch.manual_seed(0)
        encoder = Encoder([*encoder.parts, Dense(encoder.embedding_dim, 16)])  # type: ignore[list-item]
        encoder.add_adapter(adapter or LoRA(r=4))
        stir(encoder)
        return encoder

    return made


def gradients(encoder: Encoder, inputs: list[Any]) -> dict[str, torch.Tensor]:
    """Of a sum that weighs every component of every vector differently; in evaluation mode, so without dropout."""
    encoder.eval()
    encoder.zero_grad()
    items = [parse(value, modalities=encoder.modalities) for value in inputs]
    features = [encoder.preprocessor(item) for item in items]
    by_group: dict[str, list[int]] = {}
    for number, one in enumerate(features):
        by_group.setdefault(one.group, []).append(number)
    for numbers in by_group.values():
        values = encoder(encoder.collate([features[one] for one in numbers], numbers)).values
        weights = torch.linspace(-1, 1, values.numel()).reshape(values.shape)
        (values * weights).sum().backward()
    return {name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("bert", ("language",)),
        ("qwen3", ("language",)),
        ("qwen3_vl", ("language",)),
        ("qwen3_vl", ("vision",)),
        ("qwen3_vl", ("language", "vision")),
    ],
)
def test_the_operators_of_the_cpu_give_plain_torchs_gradients(
    name: str,
    parts: tuple[str, ...],
    make: Callable[..., Encoder],
    pictures: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = TEXTS + (pictures if name == "qwen3_vl" else [])
    encoder = make(name, LoRA(parts, r=4))
    monkeypatch.setattr(cpu, "WORTHWHILE", 1)
    monkeypatch.setattr(cpu, "onednn_is_faster", lambda: torch.backends.mkldnn.is_available())
    found = gradients(encoder, inputs)
    # Plain: torch's operators, padded rows, transformers' own attention.
    plain = make(name, LoRA(parts, r=4))
    plain.backbones()[""].model.set_attn_implementation("eager")
    monkeypatch.setattr(backbones, "cpu_operators", lambda _: contextlib.nullcontext())
    wanted = gradients(plain, inputs)
    assert found.keys() == wanted.keys() == trained(encoder)
    assert any(".lora_A." in one for one in wanted)
    for one, gradient in wanted.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(
            found[one], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()), msg=one
        )


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["bert", "qwen3_vl"])
def test_recomputed_activations_give_the_same_weights(
    name: str,
    make: Callable[..., Encoder],
    make_arguments: Callable[..., TrainingArguments],
    pictures: list[Image.Image],
) -> None:
    rows = [{"anchor": f"picture {number}", "positive": one} for number, one in enumerate(pictures)]
    parts = ("language", "vision") if name == "qwen3_vl" else ()
    found = []
    for checkpointing in (False, True):
        encoder = make(name, LoRA(parts, r=4))
        for part in encoder.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0  # a model that recomputes draws its masks with torch's own operators, others with ours
        arguments = make_arguments(max_steps=2, optim="sgd", gradient_checkpointing=checkpointing)
        Trainer(
            encoder, InfoNCE(), train_dataset=rows if name == "qwen3_vl" else ROWS, args=arguments
        ).train()
        assert encoder.backbones()[""].model.is_activation_checkpointing is checkpointing
        found.append({one: weight for one, weight in encoder.named_parameters() if weight.requires_grad})
    start = dict(make(name, LoRA(parts, r=4)).named_parameters())
    assert any(not torch.equal(weight, start[one]) for one, weight in found[0].items() if ".lora_A." in one)
    for one, weight in found[0].items():
        torch.testing.assert_close(found[1][one], weight, rtol=1e-5, atol=1e-6, msg=one)


def test_a_run_saves_adapters_alone_and_goes_on_from_them_exactly(
    make: Callable[..., Encoder],
    make_arguments: Callable[..., TrainingArguments],
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = {
        name: weight.clone()
        for name, weight in make("bert", LoRA(r=4, dropout=0.2)).named_parameters()
        if not weight.requires_grad
    }
    arguments = make_arguments(save_strategy="steps", save_steps=2)
    encoder = make("bert", LoRA(r=4, dropout=0.2))
    Trainer(encoder, InfoNCE(), train_dataset=ROWS, args=arguments).train()
    checkpoint = Path(str(arguments.output_dir)) / "checkpoint-2"
    assert (checkpoint / "adapter_model.safetensors").exists()
    assert not (checkpoint / "model.safetensors").exists()
    assert all(torch.equal(dict(encoder.named_parameters())[name], weight) for name, weight in base.items())
    again = make("bert", LoRA(r=4, dropout=0.2))
    with caplog.at_level(logging.WARNING):
        Trainer(again, InfoNCE(), train_dataset=ROWS, args=arguments).train(str(checkpoint))
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, encoder.state_dict()[name]), name
    # The last checkpoint is the model, read by itself.
    last = Encoder.from_pretrained(Path(str(arguments.output_dir)) / "checkpoint-4", device="cpu")
    assert torch.equal(last.encode(TEXTS).values, encoder.eval().encode(TEXTS).values)


def test_a_route_with_an_adapter_is_trained_and_a_frozen_one_is_not(
    tiny: Callable[[str], Path],
    make_arguments: Callable[..., TrainingArguments],
    pictures: list[Image.Image],
) -> None:
    rows = [{"anchor": f"picture {number}", "positive": one} for number, one in enumerate(pictures)]
    encoder = Encoder.from_routes(
        {
            name: Encoder.from_pretrained(tiny(model), device="cpu")
            for name, model in (("text", "bert"), ("image", "vit"))
        }
    )
    encoder.add_adapter(LoRA(r=2), routes=["text"])
    trainer = Trainer(
        encoder,
        InfoNCE(),
        train_dataset=rows,
        args=make_arguments(freeze=["image"], per_device_train_batch_size=4, max_steps=3),
    )
    before = {name: weight.clone() for name, weight in encoder.named_parameters()}
    trainer.train()
    changed = {name for name, weight in encoder.named_parameters() if not torch.equal(weight, before[name])}
    assert changed
    assert all(".sub_modules.text." in name and ".lora_" in name for name in changed)
    logs = [entry for entry in trainer.state.log_history if "reused" in entry]
    assert [entry["reused"] for entry in logs] == [4, 4], "images once, texts in every step"
