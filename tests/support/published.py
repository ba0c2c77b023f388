"""A tiny dataset in the layout that visual document retrieval data is published in, and models of published widths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from support import tiny_models

NEGATIVES = 4
README = """---
configs:
- config_name: train
  data_files:
  - split: train
    path: train/train-*
- config_name: eval
  data_files:
  - split: train
    path: eval/train-*
---
"""


def table(folder: Path, *, train: int, held_out: int, text: bool = False, height: int = 56) -> Path:
    """Parquet with the columns query, image, negative_0 to negative_3; configurations "train" and "eval".

    Args:
        folder: a new folder.
        train, held_out: rows of the two configurations.
        text: pages are texts in place of images.
        height: of the images; they are 64 pixels wide.

    Returns:
        the folder, as ``datasets.load_dataset(folder, "train", split="train")`` reads it.
    """
    import datasets

    kind = datasets.Value("string") if text else datasets.Image()
    names = ["image", *(f"negative_{number}" for number in range(NEGATIVES))]
    features = datasets.Features({"query": datasets.Value("string")} | dict.fromkeys(names, kind))
    (folder / "README.md").parent.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(README)
    begin = 0
    for subset, count in (("train", train), ("eval", held_out)):
        (folder / subset).mkdir()
        rows = [_row(number, text=text, height=height) for number in range(begin, begin + count)]
        columns = {name: [row[name] for row in rows] for name in features}
        datasets.Dataset.from_dict(columns, features=features).to_parquet(
            str(folder / subset / "train-00000-of-00001.parquet")
        )
        begin += count
    return folder


def _row(number: int, *, text: bool, height: int) -> dict[str, Any]:
    pages = [_text(number, place) if text else _page(number, place, height) for place in range(1 + NEGATIVES)]
    negatives = {f"negative_{place}": page for place, page in enumerate(pages[1:])}
    return {"query": f"How many employees worked in plant {number}?", "image": pages[0]} | negatives


def _text(number: int, place: int) -> str:
    return f"{'Plant' if place == 0 else 'Pump'} {number}: a table of costs, sheet {place}"


def _page(number: int, place: int, height: int) -> Image.Image:
    page = Image.new("RGB", (64, height), "white")
    draw = ImageDraw.Draw(page)
    for bit in range(8):
        if number >> bit & 1:
            draw.rectangle((8 * bit, 8, 8 * bit + 5, 24), fill="black")
    draw.rectangle((12 * place, 36, 12 * place + 8, 50), fill="red" if place else "blue")
    return page


def qwen3_vl(folder: Path, *, width: int = 2048) -> Path:
    """A Qwen3-VL with vectors as wide as the 2B model's, one layer and few weights otherwise; returns ``folder``."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    tiny_models.qwen3_vl(folder, min_pixels=28 * 28, max_pixels=1280 * 28 * 28)
    config = Qwen3VLConfig.from_pretrained(folder)
    config.text_config.hidden_size = config.vision_config.out_hidden_size = width
    config.text_config.num_hidden_layers = config.vision_config.depth = 1
    config.vision_config.deepstack_visual_indexes = []
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    facts = json.loads((folder / "config.json").read_text())
    assert facts["text_config"]["hidden_size"] == width
    return folder


def dinov2(folder: Path) -> Path:
    """A two-layer DINOv2 with its image processor; returns ``folder``."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=56, patch_size=14
    )
    Dinov2Model(config).save_pretrained(folder)
    settings = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 56, "width": 56},
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.23, 0.22, 0.23],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
