"""Padding: the side, the fill, trailing dimensions, rows without pixels; both sides give the same vectors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sightline.inputs.collate import collate, concatenate
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.types import Cost, Features
from support.fixtures import TEXTS

Tiny = Callable[[str], Path]


def row(*ids: int, group: str = "|text", **values: torch.Tensor) -> Features:
    tokens = torch.tensor(ids)
    values = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)} | values
    return Features(values, group, Cost(len(ids)), prompt_length=len(ids) % 2)


def test_right_padding() -> None:
    batch = collate([row(5, 6, 7), row(8)], [4, 2], pad_token_id=9, padding_side="right")
    assert batch.features["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch.features["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.indices.tolist() == [4, 2]
    assert (batch.cost, batch.padded_tokens) == (Cost(4), 6)
    assert batch.features["prompt_length"].tolist() == [1, 1]


def test_left_padding() -> None:
    special = {"special_tokens_mask": torch.tensor([0, 0])}
    longer = {"special_tokens_mask": torch.tensor([0, 0, 0])}
    batch = collate(
        [row(5, 6, 7, **longer), row(8, 4, **special)], [0, 1], pad_token_id=9, padding_side="left"
    )
    assert batch.features["input_ids"].tolist() == [[5, 6, 7], [9, 8, 4]]
    assert batch.features["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1]]
    assert batch.features["special_tokens_mask"].tolist() == [[0, 0, 0], [1, 0, 0]]


def test_each_prefix_of_fused_items_has_its_own_side_and_fill() -> None:
    def fused(ids: list[int]) -> Features:
        values = {"text/input_ids": torch.tensor(ids), "image/pixel_values": torch.ones(1, 3, 2, 2)}
        return Features(values, "image=i:image+text=t:text|image+text", Cost(len(ids), 4))

    batch = collate(
        [fused([1, 2]), fused([3])],
        [0, 1],
        pad_token_id={"text": 7},
        padding_side={"text": "left", "image": "right"},
    )
    assert batch.features["text/input_ids"].tolist() == [[1, 2], [7, 3]]
    assert batch.features["image/pixel_values"].shape == (2, 3, 2, 2)
    assert batch.features["fused"]
    assert batch.features["route"] == "image=i:image+text=t:text"
    assert batch.cost == Cost(3, 8)


def test_trailing_dimensions_are_padded_at_their_end() -> None:
    waves = [torch.ones(1, 3), torch.full((1, 5), 2.0)]
    assert concatenate(waves).tolist() == [[1, 1, 1, 0, 0], [2, 2, 2, 2, 2]]
    tiles = [torch.ones(1, 2, 3, 4, 4), torch.ones(1, 1, 3, 6, 2)]
    joined = concatenate(tiles)
    assert joined.shape == (2, 2, 3, 6, 4)
    assert joined.sum() == sum(tile.sum() for tile in tiles)
    assert torch.equal(joined[1, :1, :, :, :2], tiles[1][0])
    assert concatenate([torch.ones(2, 8), torch.ones(3, 8)]).shape == (5, 8)


def test_text_and_image_rows_of_a_vision_language_model_share_a_micro_batch(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image.Image]
) -> None:
    encoder = tiny_encoder("qwen3_vl")
    values: list[Any] = [pictures[0], TEXTS[1], {"text": TEXTS[2], "image": pictures[2]}, TEXTS[0]]
    made = [encoder.preprocessor(parse(value)) for value in values]
    assert len({one.group for one in made}) == 1
    batch = encoder.collate(made, range(4))
    assert batch.features["image_grid_thw"].shape == (2, 3)
    with torch.inference_mode():
        together = encoder(batch).values
        alone = torch.cat([encoder(encoder.collate([one], [0])).values for one in made])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["bert", "qwen3", "qwen3_vl"])
def test_vectors_do_not_depend_on_the_padding_side(
    name: str, side: str, tiny: Tiny, tiny_encoder: Callable[[str], Encoder], pictures: list[Image.Image]
) -> None:
    encoder = Encoder.from_pretrained(tiny(name), device="cpu", processor_kwargs={"padding_side": side})
    assert encoder.backbones()[""].processor.tokenizer.padding_side == side
    # BERT's positions are a learned table counted from the left edge, so there padding stays on the right.
    padded = "right" if name == "bert" else side
    assert encoder.backbones()[""].padding_side == padded
    values = [*TEXTS, *([*pictures, {"text": "a page", "image": pictures[1]}] if name == "qwen3_vl" else [])]
    made = [encoder.preprocessor(parse(value)) for value in values]
    batch = encoder.collate(made, range(len(made)))
    first_column = batch.features["attention_mask"][:, 0]
    assert bool(first_column.all()) == (padded == "right")
    with torch.inference_mode():
        together = encoder(batch).values
        alone = torch.cat([encoder(encoder.collate([one], [0])).values for one in made])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(encoder.encode(values).values, tiny_encoder(name).encode(values).values, atol=1e-5)


def test_a_position_table_under_another_name_keeps_padding_on_the_right(tiny: Tiny, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2Model

    folder = tmp_path / "gpt2"
    tokenizer = AutoTokenizer.from_pretrained(tiny("qwen3"))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2Model(config).save_pretrained(folder)
    encoder = Encoder.from_pretrained(folder, device="cpu", processor_kwargs={"padding_side": "left"})
    tokenizer = encoder.backbones()[""].processor.tokenizer
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("left", None)
    assert encoder.backbones()[""].padding_side == "right"
    alone = torch.cat([encoder.encode(text).values for text in TEXTS])
    assert torch.allclose(encoder.encode(TEXTS).values, alone, atol=1e-5)


def test_padding_side_and_token_are_those_of_the_route(tiny: Tiny, tmp_path: Path) -> None:
    from sightline.modules.backbone import Backbone
    from sightline.modules.pooling import Pooling
    from sightline.modules.router import Router, RoutingTable

    shutil.copytree(tiny("bert"), tmp_path / "bert")
    left = Encoder.from_pretrained(tiny("qwen3"), device="cpu")
    right = Encoder.from_pretrained(tmp_path / "bert", device="cpu")
    parts = {"query": list(left.parts), "document": list(right.parts)}
    assert all(isinstance(chain[0], Backbone) and isinstance(chain[1], Pooling) for chain in parts.values())
    both = Encoder([Router(parts, RoutingTable(("query", "document")))]).eval()  # type: ignore[arg-type]
    assert torch.allclose(both.encode_query(TEXTS).values, left.encode(TEXTS).values, atol=1e-6)
    assert torch.allclose(both.encode_document(TEXTS).values, right.encode(TEXTS).values, atol=1e-6)
    made = [both.preprocessor(parse(text), role="document") for text in TEXTS]
    assert both.collate(made, range(len(made))).features["attention_mask"][:, 0].all()
