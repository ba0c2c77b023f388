"""The table of quirks: each names what transformers has, gives a reason, and is needed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
import torch
import transformers
from transformers import PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from sightline.errors import CheckpointError, InputError
from sightline.models.encoder import Encoder
from sightline.modules.pooling import Pooling
from sightline.modules.quirks import QUIRKS, Quirk, quirk_of
from sightline.types import Item, Part
from support.fixtures import make_pictures
from support.st_folders import load, write
from support.zoo import dual, qwen, text, vision_language


@pytest.mark.parametrize("model_type", QUIRKS)
def test_a_quirk_has_a_reason_and_names_what_exists(model_type: str) -> None:
    quirk = QUIRKS[model_type]
    assert model_type in CONFIG_MAPPING_NAMES
    assert len(quirk.reason) > 20
    assert quirk != Quirk(quirk.reason), "it says nothing"
    if quirk.encoder:
        assert issubclass(attrgetter(quirk.encoder)(transformers), PreTrainedModel)
    if quirk.calls:
        kind = getattr(transformers, MODEL_MAPPING_NAMES[model_type])
        assert all(callable(getattr(kind, call.method)) for call in quirk.calls.calls.values())


def test_most_architectures_have_none() -> None:
    assert quirk_of("qwen3_vl") == quirk_of("bert") == Quirk("")


@pytest.mark.parametrize("build", [vision_language.paligemma, dual.vilt])
def test_models_of_a_text_and_an_image_take_neither_alone(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    encoder, picture = load(build(tmp_path / "model")), make_pictures()[0]
    assert encoder.supports(("text", "image"))
    assert not encoder.supports("text")
    assert not encoder.supports("image")
    assert encoder.encode([{"text": "a page", "image": picture}]).shape == (1, encoder.embedding_dim)
    for alone in ("a page", picture):
        with pytest.raises(InputError, match=r"takes image\+text"):
            encoder.encode([alone])


def test_paligemma_is_not_warned_about_every_text(tmp_path: Path) -> None:
    """The placeholder is put in front of the text, where its processor would put it, with a warning for each."""
    items = load(vision_language.paligemma(tmp_path / "model")).backbones()[""].processor
    picture = make_pictures()[0]
    warned: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers.models.paligemma.processing_paligemma")
    logger.addHandler(handler)
    try:
        item = Item((Part("text", "a page"), Part("image", picture)), key="0")
        ours = items(item).values["input_ids"].tolist()
        assert not warned
        theirs = items.processor(images=[picture], text=["a page"], return_tensors="pt")["input_ids"][
            0
        ].tolist()
        assert len(warned) == 1
    finally:
        logger.removeHandler(handler)
    assert ours == theirs


def test_blip_has_a_method_for_each_input(tmp_path: Path) -> None:
    encoder, picture = load(dual.blip(tmp_path / "model")), make_pictures()[0]
    values = [
        encoder.encode([one]).values for one in ("a page", picture, {"text": "a page", "image": picture})
    ]
    assert [value.shape for value in values] == [(1, 24)] * 3
    assert not torch.allclose(values[0], values[2], atol=1e-4), "the text doesn't see the image"


@pytest.mark.parametrize("build", [dual.siglip, dual.siglip2])
def test_texts_of_siglip_come_at_full_length(build: Callable[[Path], Path], tmp_path: Path) -> None:
    """Its text tower reads the last position, so a shorter padding would give another vector."""
    encoder = load(build(tmp_path / "model"))
    items = encoder.backbones()[""].processor
    assert items.processing_kwargs["text"] == {"padding": "max_length", "max_length": 64}
    texts = ["hello", "the annual report shows a table of operating costs, and then some more of it"]
    direct = items.tokenizer(texts, padding="max_length", max_length=64, truncation=True, return_tensors="pt")
    with torch.no_grad():
        wanted = encoder.backbones()[""].model.get_text_features(**direct).pooler_output
    assert (encoder.encode(texts).values - wanted).abs().max() <= 1e-6
    encoder.save_pretrained(tmp_path / "saved")
    facts = json.loads((tmp_path / "saved" / "sentence_bert_config.json").read_text())
    assert facts["processing_kwargs"]["text"] == {"padding": "max_length", "max_length": 64}


def test_the_checkpoints_own_padding_wins(tmp_path: Path) -> None:
    load(dual.siglip(tmp_path / "bare")).save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "sentence_bert_config.json"
    facts = json.loads(path.read_text())
    facts["processing_kwargs"]["text"]["max_length"] = 8
    write(path, facts)
    items = load(tmp_path / "saved").backbones()[""].processor
    assert items.max_tokens == 8


def test_the_dimension_is_the_language_models(tmp_path: Path) -> None:
    """PaliGemma 2 states another one at the top of its configuration."""
    encoder = load(vision_language.paligemma(tmp_path / "model"))
    assert encoder.backbones()[""].model.config.hidden_size == 48
    pair = {"text": "a page", "image": make_pictures()[0]}
    assert encoder.embedding_dim == encoder.encode([pair]).shape[1] == 32


def test_a_decoder_that_looks_both_ways_is_pooled_over_all_tokens(tmp_path: Path) -> None:
    folder = text.embedding_gemma(tmp_path / "model")
    for file in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / file).unlink()
    pooling = [part.modes for part in load(folder).parts if isinstance(part, Pooling)]
    assert pooling == [("mean",)]


def test_older_files_without_video_settings_load_and_are_saved_with_them(tmp_path: Path) -> None:
    """Early Qwen2-VL checkpoints keep one file for images and videos."""
    folder = qwen.qwen2_vl(tmp_path / "model")
    (folder / "video_preprocessor_config.json").unlink()
    encoder = Encoder.from_pretrained(folder, device="cpu", processor_kwargs={"backend": "pil"})
    encoder.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "processor_config.json").read_text())["video_processor"]
    assert saved["patch_size"] == 14
    assert saved["image_mean"] == [0.48, 0.46, 0.41]


def test_a_package_that_transformers_asks_for_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.smolvlm import processing_smolvlm

    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    with pytest.raises(CheckpointError, match="pip install num2words"):
        load(vision_language.smolvlm(tmp_path / "model"))
