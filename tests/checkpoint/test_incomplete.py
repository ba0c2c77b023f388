"""A checkpoint with a part missing is refused: transformers would fill the gap at random and go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder

Tiny = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("bert", "encoder.layer.1.output.LayerNorm.weight"),
        ("qwen3_vl", "model.language_model.layers.0.mlp.up_proj.weight"),
        ("vit", "encoder.layer.0.intermediate.dense.weight"),
    ],
)
def test_a_missing_weight_is_named(tiny: Tiny, tmp_path: Path, name: str, weight: str) -> None:
    folder = shutil.copytree(tiny(name), tmp_path / name)
    state = load_file(folder / "model.safetensors")
    gone = next(key for key in state if key.endswith((weight, weight.split(".", 1)[1])))
    del state[gone]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError, match=r"1 of the model's weights are not in the checkpoint"
    ) as caught:
        Encoder.from_pretrained(folder, device="cpu")
    assert str(folder) in str(caught.value)


def test_a_model_saved_without_pooler_loads(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("bert"), tmp_path / "bert")
    state = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert Encoder.from_pretrained(folder, device="cpu").encode("a").shape == (1, 32)


def test_a_missing_tokenizer_is_noticed(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("bert"), tmp_path / "bert")
    for file in ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / file).unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="tokenizer"):
        Encoder.from_pretrained(folder, device="cpu")
