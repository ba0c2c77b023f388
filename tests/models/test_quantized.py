"""QLoRA: adapters over weights in 4 and 8 bits, trained, saved alone and merged, with bitsandbytes on the CPU."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip(
    "bitsandbytes", reason="bitsandbytes is not here: `make test` runs this file by itself, with it"
)

from sentence_transformers import SentenceTransformer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer

from sightline.checkpoint.quantized import computes_in_full, dequantize, quantized_models
from sightline.errors import ConfigError
from sightline.losses.contrastive import InfoNCE
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.models.verify import OTHER_DEVICE_HALF
from sightline.modules.heads import Dense, Normalize
from sightline.training.trainer import Trainer
from support import tiny_rerankers
from support.adapted import stir, trained
from support.fixtures import TEXTS
from support.run_arguments import maker
from support.tiny_rerankers import PAIRS

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
# As the QLoRA paper has it: scales in 8 bits themselves, products in bfloat16.
PAPER = NF4 | {"bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16"}
INT8 = {"load_in_8bit": True}


def load(folder: Path, settings: dict[str, Any] | None) -> Encoder:
    return Encoder.from_pretrained(folder, device="cpu", model_kwargs={"quantization_config": settings})


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where transformers was told to put weights in 4 bits; None would be the first GPU."""
    told: list[Any] = []
    inner = Bnb4BitHfQuantizer.update_device_map

    def update(quantizer: Any, device_map: Any) -> Any:
        told.append(device_map)
        return inner(quantizer, device_map)

    monkeypatch.setattr(Bnb4BitHfQuantizer, "update_device_map", update)
    return told


def adapted(folder: Path, settings: dict[str, Any]) -> Encoder:
    """An encoder in few bits with a head behind it and an adapter that does something."""
    encoder = load(folder, settings)
    torch.manual_seed(0)
    encoder = Encoder([*encoder.parts, Dense(encoder.embedding_dim, 8), Normalize()]).eval()  # type: ignore[list-item]
    encoder.add_adapter(LoRA(r=2))
    stir(encoder)
    return encoder


def drift(found: Encoder, wanted: torch.Tensor) -> float:
    """Largest difference of a component; the vectors are of unit length."""
    return float((found.encode(TEXTS).values - wanted).abs().max())


@pytest.mark.parametrize(
    ("name", "settings"),
    [("bert", NF4), ("qwen3", PAPER), ("bert", INT8)],
    ids=["bert-4bit", "qwen3-paper", "bert-8bit"],
)
def test_saved_alone_or_merged_it_gives_the_vectors_it_gave(
    name: str, settings: dict[str, Any], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = adapted(tiny(name), settings)
    assert {weight.dtype for weight in encoder.parameters()} & {torch.uint8, torch.int8}
    wanted = encoder.encode(TEXTS).values
    encoder.save_pretrained(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
    again = Encoder.from_pretrained(tmp_path / "adapter", device="cpu")
    assert len(quantized_models(again)) == 1, "the folder says that its model is to be loaded in few bits"
    assert drift(again, wanted) == 0
    assert trained(again) == trained(encoder)
    # Over the weights as they were before they were rounded, the same adapter is another model.
    rounding = drift(load(tmp_path / "adapter", None), wanted)
    encoder.save_pretrained(tmp_path / "merged", merge=True)
    merged = Encoder.from_pretrained(tmp_path / "merged", device="cpu")
    assert not quantized_models(merged)
    assert {weight.dtype for weight in merged.parameters()} == {torch.float32}
    if computes_in_full(encoder):
        assert drift(merged, wanted) <= 1e-6 < rounding / 100
    else:
        assert drift(merged, wanted) <= min(OTHER_DEVICE_HALF, rounding)
    # Saving left the model in memory as it was; merged in place, it is the one that was saved.
    assert drift(encoder, wanted) == 0
    encoder.merge_adapter()
    assert trained(encoder) == {one for one, _ in encoder.named_parameters()}
    assert drift(encoder, merged.encode(TEXTS).values) <= 1e-6
    # What was loaded with its adapter is merged as well.
    again.save_pretrained(tmp_path / "again", merge=True)
    assert (
        drift(Encoder.from_pretrained(tmp_path / "again", device="cpu"), merged.encode(TEXTS).values) <= 1e-6
    )


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
def test_sentence_transformers_reads_the_same_model(
    merge: bool, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = adapted(tiny("qwen3"), NF4)
    encoder.save_pretrained(tmp_path / "saved", merge=merge)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    for layer in theirs.modules():  # their first pass would pack the weights, with scales in bfloat16
        vars(layer).update({"support_avx512bf16_for_cpu": False} if "quant_state" in vars(layer) else {})
    assert any(weight.dtype == torch.uint8 for weight in theirs.parameters()) is not merge
    assert np.abs(encoder.encode(TEXTS).numpy() - theirs.encode(TEXTS)).max() <= 1e-5


@pytest.mark.parametrize("name", ["bert", "qwen3_vl"])
def test_gradients_are_those_of_the_weights_written_out(name: str, tiny: Callable[[str], Path]) -> None:
    """Also after an evaluation, which on some processors would have packed the weights for evaluation alone."""
    encoder = adapted(tiny(name), NF4)
    full = adapted(tiny(name), NF4)
    dequantize(full.backbones()[""].model)
    encoder.encode(TEXTS)
    found = []
    for one in (encoder, full):
        features = [one.preprocessor(item) for item in _items(one)]
        values = one(one.collate(features, range(len(features)))).values
        (values * torch.linspace(-1, 1, values.numel()).reshape(values.shape)).sum().backward()
        found.append({key: weight.grad for key, weight in one.named_parameters() if ".lora_" in key})
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[1].items():
        assert gradient is not None
        assert gradient.abs().max() > 0
        torch.testing.assert_close(
            found[0][key], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()), msg=key
        )


def _items(encoder: Encoder) -> list[Any]:
    from sightline.inputs.parse import parse

    return [parse(text, modalities=encoder.modalities) for text in TEXTS]


ROWS = [{"anchor": f"pump number {number}", "positive": f"valve {number}"} for number in range(16)]


def test_training_lowers_the_loss_and_resumes_exactly(
    tiny: Callable[[str], Path], tmp_path: Path, placed: list[Any]
) -> None:
    arguments = maker(
        tmp_path, max_steps=6, per_device_train_batch_size=16, learning_rate=1e-2, logging_steps=1,
        save_strategy="steps", save_steps=3, eval_strategy="steps", eval_steps=2,
    )()  # fmt: skip
    encoder = adapted(tiny("qwen3"), NF4)
    base = {name: weight.clone() for name, weight in encoder.named_parameters() if not weight.requires_grad}
    trainer = Trainer(encoder, InfoNCE(), train_dataset=ROWS, eval_dataset=ROWS, args=arguments)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.1
    assert any(weight.dtype == torch.uint8 for weight in base.values())
    assert all(torch.equal(dict(encoder.named_parameters())[name], weight) for name, weight in base.items())
    run = Path(str(arguments.output_dir))
    assert not (run / "checkpoint-3" / "model.safetensors").exists()
    again = adapted(tiny("qwen3"), NF4)
    placed.clear()
    Trainer(again, InfoNCE(), train_dataset=ROWS, eval_dataset=ROWS, args=arguments).train(
        str(run / "checkpoint-3")
    )
    assert placed == [{"": "cpu"}], "a second model beside the one that is trained may not fit onto the GPU"
    ours = dict(encoder.named_parameters())
    assert all(torch.equal(weight, ours[name]) for name, weight in again.named_parameters())
    last = Encoder.from_pretrained(run / "checkpoint-6", device="cpu")
    assert drift(last, encoder.eval().encode(TEXTS).values) == 0


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
def test_the_head_of_a_reranker_is_written_out_to_be_trained(merge: bool, tmp_path: Path) -> None:
    base = tiny_rerankers.bert_scores(tmp_path / "base")
    reranker = Reranker.from_pretrained(
        base,
        device="cpu",
        model_kwargs={"quantization_config": NF4 | {"llm_int8_skip_modules": ["bert.embeddings"]}},
    )
    assert reranker.backbone.model.classifier.weight.dtype == torch.uint8
    before = reranker.predict(PAIRS)
    torch.manual_seed(2)  # scores that are nearly zero, so that the check on save has little to compare by
    reranker.add_adapter(LoRA(r=2))
    assert np.abs(reranker.predict(PAIRS) - before).max() <= 1e-6
    assert any("classifier" in one for one in trained(reranker))
    stir(reranker)
    wanted = reranker.predict(PAIRS)
    reranker.save_pretrained(tmp_path / "saved", merge=merge)
    again = Reranker.from_pretrained(tmp_path / "saved", device="cpu")
    assert bool(quantized_models(again)) is not merge
    assert np.abs(again.predict(PAIRS) - wanted).max() <= 1e-6


def test_a_checkpoint_that_is_in_few_bits_itself(
    tiny: Callable[[str], Path], tmp_path: Path, placed: list[Any]
) -> None:
    load(tiny("bert"), NF4).save_pretrained(tmp_path / "small")
    plain = Encoder.from_pretrained(tmp_path / "small", device="cpu")
    assert torch.equal(plain.encode(TEXTS).values, load(tiny("bert"), NF4).encode(TEXTS).values)
    plain.add_adapter(LoRA(r=2))
    stir(plain)
    wanted = plain.encode(TEXTS).values
    plain.save_pretrained(tmp_path / "adapter")
    facts = json.loads((tmp_path / "adapter" / "sentence_bert_config.json").read_text())
    assert "model_args" not in facts, "its own configuration says it"
    assert torch.equal(
        Encoder.from_pretrained(tmp_path / "adapter", device="cpu").encode(TEXTS).values, wanted
    )
    assert len(placed) >= 4
    assert all(place == {"": "cpu"} for place in placed)


def test_without_bitsandbytes_the_adapter_can_be_read_in_full_precision(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted(tiny("bert"), INT8).save_pretrained(tmp_path / "adapter")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else real(name, *rest)
    )
    with pytest.raises(ConfigError, match=r"8 bits needs bitsandbytes.*full precision"):
        Encoder.from_pretrained(tmp_path / "adapter", device="cpu")
    assert not quantized_models(load(tmp_path / "adapter", None))
