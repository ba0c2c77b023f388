"""Weighted layers: ST's files both ways, trained beside an adapter, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as st

from sightline.errors import CheckpointError, ConfigError
from sightline.losses.contrastive import InfoNCE
from sightline.models.adapters import LoRA
from sightline.models.encoder import Encoder
from sightline.models.layers import layer_count
from sightline.modules.heads import Normalize
from sightline.modules.layer_pooling import WeightedLayerPooling
from sightline.modules.pooling import Pooling
from sightline.training.trainer import Trainer
from support.fixtures import TEXTS
from support.run_arguments import maker
from support.st_folders import load, modules, write


def weighted(folder: Path, *, layers: int = 2, start: int = 1) -> Encoder:
    encoder = load(folder)
    part = WeightedLayerPooling(32, layers, start)
    with torch.no_grad():
        part.layer_weights.copy_(torch.tensor([0.3, 1.7, -0.4][: len(part.layer_weights)]))
    return Encoder([encoder.parts[0], part, Pooling(32), Normalize()]).eval()  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_sentence_transformers_both_ways(name: str, tiny: Callable[[str], Path], tmp_path: Path) -> None:
    ours = weighted(tiny(name), start=0)
    wanted = ours.encode(TEXTS).values
    assert not torch.allclose(wanted, Encoder([ours.parts[0], Pooling(32), Normalize()]).encode(TEXTS).values)  # type: ignore[list-item]
    ours.save_pretrained(tmp_path / "ours")
    assert torch.equal(load(tmp_path / "ours").encode(TEXTS).values, wanted)
    assert (
        np.abs(SentenceTransformer(str(tmp_path / "ours"), device="cpu").encode(TEXTS) - wanted.numpy()).max()
        <= 1e-5
    )
    transformer = SentenceTransformer(
        str(tiny(name)), device="cpu", config_kwargs={"output_hidden_states": True}
    )[0]
    layers = st.WeightedLayerPooling(32, num_hidden_layers=2, layer_start=1)
    torch.nn.init.uniform_(layers.layer_weights)
    theirs = SentenceTransformer(modules=[transformer, layers, st.Pooling(32, "mean")], device="cpu")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    assert np.abs(load(tmp_path / "theirs").encode(TEXTS).numpy() - theirs.encode(TEXTS)).max() <= 1e-5


def test_a_module_that_st_passes_over_is_passed_over(bert: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The backbone's configuration does not ask for hidden states; in the spelling of ST 2."""
    old = "sentence_transformers.models."
    modules(
        bert,
        ("", old + "Transformer"),
        ("1_WeightedLayerPooling", old + "WeightedLayerPooling"),
        ("2_Pooling", old + "Pooling"),
    )
    facts = {"word_embedding_dimension": 32, "layer_start": 1, "num_hidden_layers": 2}
    write(bert / "1_WeightedLayerPooling" / "config.json", facts)
    torch.save(
        {"layer_weights": torch.tensor([2.0, -1.0])}, bert / "1_WeightedLayerPooling" / "pytorch_model.bin"
    )
    write(
        bert / "2_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    )
    with caplog.at_level(logging.WARNING):
        found = load(bert)
    assert "output_hidden_states" in caplog.text
    theirs = SentenceTransformer(str(bert), device="cpu")
    assert np.abs(found.encode(TEXTS).numpy() - theirs.encode(TEXTS)).max() <= 1e-5
    used = load(bert, config_kwargs={"output_hidden_states": True})
    theirs = SentenceTransformer(str(bert), device="cpu", config_kwargs={"output_hidden_states": True})
    assert np.abs(used.encode(TEXTS).numpy() - theirs.encode(TEXTS)).max() <= 1e-5
    assert not torch.allclose(used.encode(TEXTS).values, found.encode(TEXTS).values, atol=1e-3)
    write(bert / "1_WeightedLayerPooling" / "config.json", facts | {"layer_start": 3})
    with pytest.raises(CheckpointError, match=r"config\.json: layer_start must lie between 0 and 2, not 3"):
        load(bert)


@pytest.mark.parametrize("merge", [False, True], ids=["adapter", "merged"])
def test_the_weights_are_trained_and_saved_beside_an_adapter(
    merge: bool, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = weighted(tiny("bert"))
    before = encoder.parts[1].layer_weights.detach().clone()
    encoder.add_adapter(LoRA(r=2))
    rows = [{"anchor": f"pump {number}", "positive": f"valve {number}"} for number in range(8)]
    arguments = maker(tmp_path, max_steps=2, per_device_train_batch_size=8, learning_rate=1e-2)()
    Trainer(encoder, InfoNCE(), train_dataset=rows, args=arguments).train()
    after = encoder.parts[1].layer_weights.detach()
    assert (after != before).all()
    encoder.eval().save_pretrained(tmp_path / "saved", merge=merge)
    again = load(tmp_path / "saved")
    assert torch.equal(again.parts[1].layer_weights, after)
    wanted = encoder.encode(TEXTS)
    assert torch.allclose(again.encode(TEXTS).values, wanted.values, atol=1e-6)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert np.abs(theirs.encode(TEXTS) - wanted.numpy()).max() <= 1e-5


def test_models_whose_layers_cannot_be_weighted(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    clip = load(tiny("clip")).parts[0]
    with pytest.raises(CheckpointError, match="behind a backbone that gives hidden states"):
        Encoder([clip, WeightedLayerPooling(24, 2, 0)])
    with pytest.raises(CheckpointError, match="a backbone of 5 layers, and this one has 2"):
        weighted(tiny("bert"), layers=5, start=3).encode(TEXTS)
    with pytest.raises(ConfigError, match="a mean over its layers"):
        layer_count(weighted(tiny("bert")).parts[0])


@pytest.mark.parametrize("name", ["WordWeights", "LSTM", "CNN", "BoW", "WordEmbeddings", "StaticEmbedding"])
def test_modules_that_are_not_read_are_named(name: str, bert: Path) -> None:
    old = "sentence_transformers.models."
    modules(bert, ("", old + "Transformer"), (f"1_{name}", old + name))
    with pytest.raises(CheckpointError, match=rf"modules\.json: '.*\.{name}' has no equivalent in Sightline"):
        load(bert)
