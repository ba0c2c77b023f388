"""Items to unpadded features: costs, pixels kept as bytes, limits, refusals."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.utils import is_torchvision_available

from sightline.errors import CheckpointError, InputError
from sightline.inputs.parse import parse
from sightline.inputs.pixels import find_normalization
from sightline.models.encoder import Encoder
from sightline.types import Item, Part
from support.fixtures import TEXTS

Tiny = Callable[[str], Path]
TinyEncoder = Callable[[str], Encoder]


def features(encoder: Encoder, value: Any, **options: Any) -> Any:
    return encoder.preprocessor(parse(value, modalities=encoder.modalities), **options)


def image_processor(encoder: Encoder) -> Any:
    processor = encoder.backbones()[""].processor.processor
    return vars(processor).get("image_processor", processor)


def test_text_is_unpadded_and_costs_its_tokens(tiny_encoder: TinyEncoder) -> None:
    for name in ("bert", "qwen3", "qwen3_vl", "clip"):
        for text in TEXTS:
            found = features(tiny_encoder(name), text)
            ids = found.values["input_ids"]
            assert ids.ndim == 1
            assert found.values["attention_mask"].shape == ids.shape
            assert (found.cost.tokens, found.cost.patches) == (len(ids), 0)


def test_images_cost_their_patches(tiny_encoder: TinyEncoder, pictures: list[Image.Image]) -> None:
    for picture in pictures:
        vision = features(tiny_encoder("qwen3_vl"), picture)
        _, rows, columns = vision.values["image_grid_thw"][0].tolist()
        placeholder = tiny_encoder("qwen3_vl").backbones()[""].model.config.image_token_id
        assert vision.cost.patches == rows * columns == len(vision.values["pixel_values"])
        # Four patches become one token of the language model; the chat template adds its own.
        assert int((vision.values["input_ids"] == placeholder).sum()) == rows * columns // 4
        assert vision.cost.tokens == len(vision.values["input_ids"])
        for name in ("vit", "clip"):
            tower = features(tiny_encoder(name), picture)
            assert (tower.cost.tokens, tower.cost.patches) == (0, (64 // 16) ** 2)


@pytest.mark.parametrize("name", ["qwen3_vl", "vit", "clip"])
def test_pixels_stay_bytes_and_become_the_processors_floats(
    name: str, tiny_encoder: TinyEncoder, pictures: list[Image.Image]
) -> None:
    encoder = tiny_encoder(name)
    normalization = encoder.backbones()[""].processor.normalization
    assert normalization is not None
    for picture in pictures:
        pixels = features(encoder, picture).values["pixel_values"]
        assert pixels.dtype == torch.uint8
        own = image_processor(encoder)(images=[picture], return_tensors="pt")["pixel_values"]
        assert (normalization(pixels).reshape(own.shape) - own).abs().max() <= 1e-6


def test_a_processor_that_does_not_normalise_keeps_its_floats(
    tiny: Tiny, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    folder = shutil.copytree(tiny("vit"), tmp_path / "vit")
    config = folder / "preprocessor_config.json"
    config.write_text(config.read_text().replace("{", '{"do_normalize": false, ', 1))
    encoder = Encoder.from_pretrained(folder, device="cpu")
    assert encoder.backbones()[""].processor.normalization is None
    pixels = features(encoder, pictures[0]).values["pixel_values"]
    own = image_processor(encoder)(images=[pictures[0]], return_tensors="pt")["pixel_values"]
    assert torch.equal(pixels, own)


@pytest.mark.parametrize("change", ["shift", "pad", "fraction"])
def test_normalisation_is_put_off_only_where_the_numbers_agree(
    tiny_encoder: TinyEncoder, change: str
) -> None:
    inner = image_processor(tiny_encoder("vit"))

    class Odd:
        """A processor with a step of its own beside rescaling and normalising."""

        def to_dict(self) -> dict[str, Any]:
            return inner.to_dict()

        def __call__(self, **arguments: Any) -> dict[str, torch.Tensor]:
            pixels = inner(**arguments)["pixel_values"].float()
            raw = arguments.get("do_normalize") is False
            if change == "shift" and not raw:
                pixels += 0.01
            if change == "pad":  # zeros after normalising, which are another colour before it
                pixels[..., :3] = 0
            if change == "fraction" and raw:
                pixels += 0.25
            return {"pixel_values": pixels}

    assert find_normalization(inner) is not None
    assert find_normalization(Odd()) is None


def test_pixels_that_are_no_whole_numbers_are_normalised_too(tiny: Tiny) -> None:
    encoder = Encoder.from_pretrained(tiny("vit"), device="cpu")
    picture = Image.effect_noise((64, 64), 80).convert("RGB")
    made = features(encoder, picture)
    pixels = made.values["pixel_values"]
    as_floats = type(made)(
        made.values | {"pixel_values": pixels.float()}, made.group, made.cost, made.modality
    )
    with torch.inference_mode():
        first, second = (encoder(encoder.collate([one], [0])).values for one in (made, as_floats))
        mixed = encoder(encoder.collate([made, as_floats], [0, 1])).values
    assert torch.equal(first, second)
    assert torch.allclose(mixed[0], mixed[1], atol=1e-6)


LARGE = [(1000, 700), (150, 600), (10, 12), (333, 333), (96, 64)]


@pytest.mark.parametrize(("low", "high"), [(32 * 32, 128 * 128), (96 * 96, 160 * 160)])
def test_min_and_max_pixels_hold_and_come_back(tiny: Tiny, tmp_path: Path, low: int, high: int) -> None:
    limits = {"min_pixels": low, "max_pixels": high}
    first = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu", processor_kwargs=limits)
    first.save_pretrained(tmp_path / "saved")
    again = Encoder.from_pretrained(tmp_path / "saved", device="cpu")
    counts = []
    for width, height in LARGE:
        picture = Image.new("RGB", (width, height), "red")
        made = [features(encoder, picture).values["pixel_values"] for encoder in (first, again)]
        pixels = len(made[0]) * 16 * 16
        assert low <= pixels <= high
        assert torch.equal(made[0], made[1])
        counts.append(pixels)
    assert len(set(counts)) > 1
    default = features(Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu"), Image.new("RGB", LARGE[0]))
    assert len(default.values["pixel_values"]) * 256 <= 56 * 56 < max(counts)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"min_pixels": 4096, "max_pixels": 1024}, "min_pixels 4096 is more than max_pixels 1024$"),
        ({"min_pixels": 4096}, "min_pixels 4096 is more than max_pixels 3136; .* give both"),
        ({"max_pixels": 512}, "min_pixels 784 is more than max_pixels 512; .* give both"),
    ],
)
def test_limits_that_cannot_both_hold_are_refused(tiny: Tiny, limits: dict[str, int], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu", processor_kwargs=limits)


@pytest.mark.parametrize("name", ["vit", "bert"])
def test_a_processor_without_pixel_limits_refuses_them(tiny: Tiny, name: str) -> None:
    with pytest.raises(CheckpointError, match="min_pixels and max_pixels do not apply"):
        Encoder.from_pretrained(tiny(name), device="cpu", processor_kwargs={"max_pixels": 100_000})


def test_a_modality_the_model_does_not_take_names_where_the_item_is_from(
    tiny_encoder: TinyEncoder, pictures: list[Image.Image]
) -> None:
    source = "row 3, column 'image'"
    image = parse(pictures[0], source=source)
    with pytest.raises(InputError, match="row 3, column 'image': the model takes text, not image"):
        tiny_encoder("bert").preprocessor(image)
    with pytest.raises(InputError, match=f"{source}: the model takes image, not text"):
        tiny_encoder("vit").preprocessor(parse("words", source=source))
    both = parse({"text": "a", "image": pictures[0]}, source=source)
    with pytest.raises(InputError, match=f"{source}.*but not image and text together"):
        tiny_encoder("clip").preprocessor(both)
    messages = parse([{"role": "user", "content": "hello"}], source=source)
    with pytest.raises(InputError, match="but not chat messages"):
        tiny_encoder("bert").preprocessor(messages)


def test_several_images_in_one_input(tiny_encoder: TinyEncoder, pictures: list[Image.Image]) -> None:
    pair = parse({"image": pictures[:2]}, source="page 7")
    made = tiny_encoder("qwen3_vl").preprocessor(pair)
    assert made.values["image_grid_thw"].shape == (2, 3)
    for name in ("vit", "clip"):  # they would give two vectors for one input
        with pytest.raises(InputError, match="page 7: the model takes one image per input"):
            tiny_encoder(name).preprocessor(pair)


@pytest.mark.skipif(is_torchvision_available(), reason="torchvision is installed")
def test_video_that_needs_torchvision_says_what_to_install(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("qwen3_vl"), tmp_path / "model")
    file = tmp_path / "model" / "video_preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "video_processor_type": "AVideoProcessor"}))
    encoder = Encoder.from_pretrained(tmp_path / "model", device="cpu")
    assert not encoder.supports("video")
    clip = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="pip install torchvision"):
        encoder.preprocessor(Item((Part("video", clip),), key="0"))


def test_placeholders_cut_off_by_the_length_limit_are_refused(tiny: Tiny) -> None:
    encoder = Encoder.from_pretrained(
        tiny("qwen3_vl"),
        device="cpu",
        processor_kwargs={"model_max_length": 20, "min_pixels": 128 * 128, "max_pixels": 256 * 256},
    )
    picture = parse(Image.new("RGB", (256, 256)), source="scan.png")
    with pytest.raises(InputError, match=r"scan\.png: the limit of 20 tokens cuts off .*max_pixels"):
        encoder.preprocessor(picture)
    assert len(features(encoder, "word " * 100).values["input_ids"]) == 20


def test_truncated_chat_text_keeps_the_templates_closing_tokens(tiny: Tiny, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from support.tiny_models import QWEN_TEMPLATE

    folder = shutil.copytree(tiny("qwen3"), tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    limit = {"model_max_length": 24}
    ours = Encoder.from_pretrained(folder, device="cpu", processor_kwargs=limit)
    theirs = SentenceTransformer(str(folder), device="cpu", processor_kwargs=limit)
    assert "message" in ours.modalities
    texts = ["short", "one two three four five six seven " * 5]
    for prompt in (None, "Find the page: "):
        for text in texts:
            ids = features(ours, text, prompt=prompt).values["input_ids"]
            wanted = theirs.preprocess([text], prompt=prompt)["input_ids"][0]
            assert ids.tolist() == wanted.tolist()
            assert len(ids) <= 24
    end = ours.backbones()[""].processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in features(ours, texts[1]).values["input_ids"][-3:].tolist()


def test_empty_text_becomes_one_token(tiny_encoder: TinyEncoder) -> None:
    encoder = tiny_encoder("qwen3")
    assert encoder.backbones()[""].processor.tokenizer("")["input_ids"] == []
    made = features(encoder, "")
    assert made.values["input_ids"].tolist() == [encoder.backbones()[""].processor.tokenizer.eos_token_id]
    assert {value.dtype for value in made.values.values()} == {torch.long}
    vectors = encoder.encode(["", "hello there"]).values
    assert torch.isfinite(vectors).all()
    assert torch.allclose(vectors[:1], encoder.encode("").values, atol=1e-6)


def test_prompt_tokens_are_counted_without_the_closing_token(tiny_encoder: TinyEncoder) -> None:
    encoder = tiny_encoder("bert")
    tokenizer = encoder.backbones()[""].processor.tokenizer
    made = features(encoder, "annual report", prompt="query: ")
    assert made.prompt_length == len(tokenizer("query: ")["input_ids"]) - 1  # [CLS] counts, [SEP] does not
    assert features(encoder, "annual report").prompt_length == 0


def test_the_preprocessor_travels_to_other_processes(
    tiny_encoder: TinyEncoder, pictures: list[Image.Image]
) -> None:
    encoder = tiny_encoder("qwen3_vl")
    used = encoder.preprocessor
    used(parse("warm the caches"), prompt="a prompt")
    sent = pickle.dumps(used)
    assert len(sent) < 200_000  # no weights
    again = pickle.loads(sent)
    for value in ("hello", pictures[1], {"text": "a", "image": pictures[0]}):
        item = parse(value)
        first, second = used(item, prompt="p"), again(item, prompt="p")
        assert first.values.keys() == second.values.keys()
        assert all(torch.equal(first.values[name], second.values[name]) for name in first.values)
        assert (first.group, first.cost, first.prompt_length) == (
            second.group,
            second.cost,
            second.prompt_length,
        )
