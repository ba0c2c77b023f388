"""Shortcuts give what the processor gives, and are not taken where they would not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from sightline.errors import InputError
from sightline.inputs.parse import parse
from sightline.inputs.pixels import find_normalization, raw_pixels
from sightline.inputs.processor import ItemProcessor
from sightline.inputs.resize import direct_images
from sightline.inputs.shortcuts import take_shortcuts
from sightline.models.encoder import Encoder
from support.fixtures import make_pictures

SIZES = ((600, 800), (801, 599), (64, 64), (31, 500), (1, 7), (224, 225), (1100, 40))  # height, width
PATCHES = {"patch_size": 16, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def slow(items: ItemProcessor) -> ItemProcessor:
    return replace(items, images=None, chat_tokens=None)


def assert_equal(items: ItemProcessor, value: Any, prompt: str | None = None) -> None:
    item = parse(value)
    expected, found = slow(items)(item, prompt=prompt), items(item, prompt=prompt)
    assert found.values.keys() == expected.values.keys()
    for name, tensor in expected.values.items():
        assert tensor.dtype == found.values[name].dtype
        assert torch.equal(tensor, found.values[name]), name
    assert replace(found, values={}) == replace(expected, values={})


@pytest.mark.parametrize(
    "processor",
    [
        Qwen2VLImageProcessorPil(**PATCHES, size={"shortest_edge": 32 * 32, "longest_edge": 300 * 400}),
        Qwen2VLImageProcessorPil(size={"shortest_edge": 200 * 200, "longest_edge": 210 * 210}, resample=2),
        CLIPImageProcessorPil(),
        CLIPImageProcessorPil(size={"shortest_edge": 90}, crop_size={"height": 71, "width": 90}),
        SiglipImageProcessorPil(size={"height": 64, "width": 96}),
        ViTImageProcessorPil(),
        ViTImageProcessorPil(resample=1, image_mean=[0.1, 0.2, 0.3]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_pixels_are_the_processors_bit_for_bit(processor: Any) -> None:
    direct, normalization = direct_images(processor), find_normalization(processor)
    assert direct is not None
    assert normalization is not None
    for picture in make_pictures(SIZES):
        found = direct([picture])
        finished = processor(images=[picture], return_tensors="pt")
        raw = raw_pixels(processor, [picture])["pixel_values"]
        assert found.keys() == finished.keys()
        assert found["pixel_values"].dtype == torch.uint8
        assert torch.equal(found["pixel_values"], normalization.fold(raw))
        pixels = normalization(found["pixel_values"]).reshape(finished["pixel_values"].shape)
        assert (pixels - finished["pixel_values"]).abs().max() <= 1e-6
        width, height = direct.target(*picture.size)
        if "image_grid_thw" in finished:
            assert torch.equal(found["image_grid_thw"], finished["image_grid_thw"])
            rows, columns = finished["image_grid_thw"][0, 1:].tolist()
            assert (width, height) == (columns * processor.patch_size, rows * processor.patch_size)
            # A quarter for bytes instead of floats, half for storing a still image's one frame.
            assert found["pixel_values"].nbytes * 8 == finished["pixel_values"].nbytes


def test_processors_that_are_not_understood() -> None:
    class Sharpened(ViTImageProcessorPil):
        def resize(self, image: np.ndarray, **arguments: Any) -> np.ndarray:
            return 255 - super().resize(image, **arguments)

    assert direct_images(Sharpened()) is None
    for unknown in (
        {"size": {"max_height": 64, "max_width": 64}},
        {"do_pad": True, "pad_size": {"height": 300, "width": 300}},
        {"do_center_crop": True, "crop_size": {"height": 300, "width": 300}},
    ):
        assert direct_images(ViTImageProcessorPil(**unknown)) is None
    assert direct_images(ViTImageProcessorPil()) is not None


@pytest.mark.parametrize("name", ["qwen3_vl", "vit", "clip"])
def test_every_family_takes_its_shortcut(name: str, tiny_encoder: Callable[[str], Encoder]) -> None:
    items = tiny_encoder(name).backbones()[""].processor
    assert items.images is not None
    assert (items.chat_tokens is not None) == (name == "qwen3_vl")
    for picture in make_pictures(SIZES[:5], seed=1):
        assert_equal(items, picture)


def test_a_processor_that_does_something_else_keeps_its_own_way(
    tiny: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu").backbones()[""].processor
    processor = items.processor.image_processor
    if "Pil" not in type(processor).__name__:
        pytest.skip("torchvision is installed")

    def upside_down(self: Any, image: np.ndarray, **arguments: Any) -> Any:
        return Qwen2VLImageProcessorPil.patchify(self, image[:, ::-1], **arguments)

    odd = type("Qwen2VLImageProcessorPil", (Qwen2VLImageProcessorPil,), {"patchify": upside_down})
    items.images, items.chat_tokens = None, None
    items.processor.image_processor = odd(**{k: v for k, v in processor.to_dict().items() if k != "size"})
    items.processor.image_processor.size = processor.size
    assert direct_images(items.processor.image_processor) is not None
    take_shortcuts(items)
    assert items.images is None
    assert items.chat_tokens is None
    items.processor.image_processor = processor
    take_shortcuts(items)
    assert items.images is not None
    # What the probes would compare is no proof where none of them has an image the model takes.
    monkeypatch.setattr(items, "calls", {"text": "forward"})
    items.images = None
    take_shortcuts(items)
    assert items.images is None


def user(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


def test_chat_messages(tiny_encoder: Callable[[str], Encoder], pictures: Sequence[Image.Image]) -> None:
    items = tiny_encoder("qwen3_vl").backbones()[""].processor
    first, second = ({"type": "image", "image": picture} for picture in pictures[:2])
    text = {"type": "text", "text": "two\n\n spaces  and 中文"}
    for prompt in (None, "Find the page: "):
        assert_equal(items, "", prompt)
        assert_equal(items, "plain text", prompt)
        assert_equal(items, {"text": "words", "image": pictures[2]}, prompt)
        assert_equal(items, user(first, text, second), prompt)
        assert_equal(items, [*user(first), {"role": "assistant", "content": "yes"}, *user(text)], prompt)


def test_what_is_cut_or_refused_goes_through_the_processor(
    tiny: Callable[[str], Path], pictures: Sequence[Image.Image]
) -> None:
    encoder = Encoder.from_pretrained(
        tiny("qwen3_vl"),
        device="cpu",
        processor_kwargs={"model_max_length": 24, "min_pixels": 64 * 64, "max_pixels": 256 * 256},
    )
    items = encoder.backbones()[""].processor
    assert items.chat_tokens is not None
    long = "word " * 100
    assert_equal(items, long)
    assert len(items(parse(long)).values["input_ids"]) == 24
    # Someone else's placeholder in a text is no image.
    for value in ("<|image_pad|>", {"text": "<|image_pad|>", "image": pictures[0]}):
        outcomes = []
        for way in (slow(items), items):
            try:
                outcomes.append(way(parse(value)).values["input_ids"].tolist())
            except InputError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
    for way in (slow(items), items):
        with pytest.raises(InputError, match="cuts off part of the image's placeholder tokens"):
            way(parse(Image.new("RGB", (256, 256))))
        with pytest.raises(InputError, match="aspect ratio"):
            way(parse(Image.new("RGB", (3, 900))))


def test_image_settings_of_the_checkpoint_are_kept(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("vit"), tmp_path / "vit")
    config = folder / "preprocessor_config.json"
    config.write_text(config.read_text().replace("{", '{"do_resize": false, ', 1))
    items = Encoder.from_pretrained(folder, device="cpu").backbones()[""].processor
    for picture in make_pictures(((64, 64), (80, 48))):
        assert_equal(items, picture)
        assert items(parse(picture)).values["pixel_values"].shape[-2:] == (picture.height, picture.width)
