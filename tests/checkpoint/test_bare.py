"""Checkpoints without Sentence Transformers files, and what is no checkpoint at all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from sightline.errors import CheckpointError
from sightline.modules.heads import Dense
from sightline.modules.pooling import Pooling
from support.fixtures import TEXTS
from support.st_folders import load, modules, old_pooling, write

Tiny = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("bert", "mean", "the mean over tokens, as it is an encoder"),
        ("qwen3", "lasttoken", "the last token, as it is a causal or vision-language model"),
        ("qwen3_vl", "lasttoken", "the last token, as it is a causal or vision-language model"),
        ("vit", "mean", "the mean over tokens"),
        ("clip", None, "the model's own pooled features"),
    ],
)
def test_a_bare_checkpoint_gets_its_pooling_and_says_so_once(
    name: str, mode: str | None, said: str, tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="sightline"):
        encoder = load(tiny(name))
    lines = [record.getMessage() for record in caplog.records if record.name == "sightline"]
    assert len(lines) == 1
    assert lines[0].startswith(f"{name} has no pooling settings: using {said}")
    assert [part.modes for part in encoder.parts if isinstance(part, Pooling)] == ([(mode,)] if mode else [])
    caplog.clear()
    encoder.save_pretrained(tiny(name).parent / f"{name}-saved")
    load(tiny(name).parent / f"{name}-saved")
    assert not [record for record in caplog.records if record.name == "sightline"]


def test_an_encoder_decoder_gives_its_encoder(tiny: Tiny, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    folder = tmp_path / "t5"
    tokenizer = AutoTokenizer.from_pretrained(tiny("bert"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    encoder = load(folder)
    assert not any("decoder" in name for name, _ in encoder.named_parameters())
    theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert abs(encoder.encode(TEXTS).numpy() - theirs).max() < 1e-5
    encoder.save_pretrained(tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved").encode(TEXTS).values, encoder.encode(TEXTS).values)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither modules\.json nor config\.json"):
        load(tmp_path)
    for missing in (tmp_path / "missing", Path("./missing")):
        with pytest.raises(CheckpointError, match="missing: no such folder"):
            load(missing)


def test_the_folder_one_stands_in(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bert)
    assert load(Path(".")).embedding_dim == 32


def test_heads_load_in_the_type_of_the_backbone(bert: Path) -> None:
    old = "sentence_transformers.models."
    modules(bert, ("", old + "Transformer"), ("1_Pooling", old + "Pooling"), ("2_Dense", old + "Dense"))
    write(bert / "1_Pooling/config.json", old_pooling("mean"))
    write(bert / "2_Dense/config.json", {"in_features": 32, "out_features": 8})
    torch.save(
        {"linear.weight": torch.ones(8, 32), "linear.bias": torch.ones(8)}, bert / "2_Dense/pytorch_model.bin"
    )
    encoder = load(bert, dtype="bfloat16")
    assert isinstance(encoder.parts[2], Dense)
    assert encoder.parts[2].linear.weight.dtype == torch.bfloat16
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 8)
