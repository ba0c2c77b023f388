"""Every kind of model, written and read: the same vectors, the same settings, the same files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from torch import nn

from sightline.checkpoint.layout import ModelFacts
from sightline.checkpoint.write import write_checkpoint
from sightline.errors import CheckpointError
from sightline.models.encoder import Encoder
from sightline.modules.base import Module
from sightline.modules.heads import ACTIVATIONS, Dense, Dropout, LayerNorm, Normalize
from sightline.modules.pooling import MODES, Pooling
from sightline.modules.router import Router, RoutingTable
from support.fixtures import TEXTS

TinyEncoder = Callable[[str], Encoder]


def again(encoder: Encoder, folder: Path, **options: Any) -> Encoder:
    encoder.save_pretrained(folder)
    return Encoder.from_pretrained(folder, device="cpu", **options)


def with_heads(encoder: Encoder, heads: Sequence[Module], **options: Any) -> Encoder:
    torch.manual_seed(7)
    for head in heads:
        for value in head.parameters():
            nn.init.normal_(value)
    return Encoder([encoder.parts[0], *heads], **options).eval()  # type: ignore[list-item]


def settings(folder: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))
    }


@pytest.mark.parametrize("name", ["bert", "qwen3", "qwen3_vl", "vit", "clip"])
def test_bare_models(
    name: str, tiny_encoder: TinyEncoder, pictures: list[Image.Image], tmp_path: Path
) -> None:
    encoder = tiny_encoder(name)
    values: list[Any] = [
        *(TEXTS if encoder.supports("text") else []),
        *(pictures if encoder.supports("image") else []),
    ]
    wanted = encoder.encode(values).values  # before saving, so that the tokenizer has its truncation set
    loaded = again(encoder, tmp_path / "one")
    assert torch.equal(loaded.encode(values).values, wanted)
    assert loaded.modalities == encoder.modalities
    assert loaded.embedding_dim == encoder.embedding_dim
    for route, backbone in encoder.backbones().items():
        assert loaded.backbones()[route].processor.max_tokens == backbone.processor.max_tokens
    again(loaded, tmp_path / "two")
    assert settings(tmp_path / "one") == settings(tmp_path / "two")


HEADS: dict[str, Callable[[], list[Module]]] = {
    "dense": lambda: [Pooling(32), Dense(32, 12)],
    "dense without bias": lambda: [Pooling(32), Dense(32, 12, bias=False, activation=nn.Identity())],
    "dense with residual": lambda: [Pooling(32), Dense(32, 32, activation=nn.GELU(), residual=True)],
    "dense with projected residual": lambda: [
        Pooling(32),
        Dense(32, 12, activation=nn.SiLU(), residual=True),
    ],
    "dense on tokens": lambda: [Dense(32, 12, input_name="token_embeddings"), Pooling(12, "max")],
    "normalize": lambda: [Pooling(32, "cls"), Normalize()],
    "layer norm and dropout": lambda: [Pooling(32, "lasttoken"), LayerNorm(32), Dropout(0.3)],
    "two modes": lambda: [Pooling(32, ("cls", "mean"))],
    "modes in another order": lambda: [Pooling(32, ("mean", "max", "cls"))],
    "all modes": lambda: [Pooling(32, MODES), Dense(192, 32), Normalize()],
    "without the prompt": lambda: [Pooling(32, include_prompt=False)],
}


@pytest.mark.parametrize("heads", HEADS)
def test_heads(heads: str, tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    encoder = with_heads(tiny_encoder("bert"), HEADS[heads]())
    loaded = again(encoder, tmp_path)
    prompt = "search: "
    wanted = encoder.encode(TEXTS, prompt=prompt)
    assert torch.equal(loaded.encode(TEXTS, prompt=prompt).values, wanted.values)
    assert [type(part) for part in loaded.parts] == [type(part) for part in encoder.parts]
    theirs = SentenceTransformer(str(tmp_path), device="cpu").encode(TEXTS, prompt=prompt)
    assert abs(wanted.numpy() - theirs).max() < 1e-5


@pytest.mark.parametrize("path", ACTIVATIONS)
def test_every_activation_comes_back(path: str) -> None:
    from sightline.modules.heads import activation_named

    written = Dense(2, 2, activation=ACTIVATIONS[path]()).facts()["activation_function"]
    assert written == path
    assert type(activation_named(written)) is ACTIVATIONS[path]


def test_settings_of_the_model(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    encoder = Encoder(
        list(tiny_encoder("bert").parts),  # type: ignore[arg-type]
        prompts={"query": "find: ", "document": "", "Ünï": "«…» "},
        default_prompt_name="Ünï",
        similarity_fn_name="dot",
        truncate_dim=20,
    ).eval()
    loaded = again(encoder, tmp_path)
    for name in ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim"):
        assert getattr(loaded, name) == getattr(encoder, name)
    assert loaded.encode(TEXTS).shape == (len(TEXTS), 20)
    theirs = SentenceTransformer(str(tmp_path), device="cpu", truncate_dim=20)
    assert theirs.similarity_fn_name == "dot"
    assert abs(loaded.encode_query(TEXTS).numpy() - theirs.encode_query(TEXTS)).max() < 1e-6
    assert abs(loaded.encode(TEXTS).numpy() - theirs.encode(TEXTS)).max() < 1e-6
    given = Encoder.from_pretrained(
        tmp_path, device="cpu", truncate_dim=4, prompts={"query": "q "}, similarity_fn_name="cosine"
    )
    assert (given.truncate_dim, given.similarity_fn_name) == (4, "cosine")
    assert given.prompts == encoder.prompts | {"query": "q "}
    encoder.save_pretrained(tmp_path, truncate_dim=8, card="# A model\n")
    assert Encoder.from_pretrained(tmp_path, device="cpu").encode("x").shape == (1, 8)
    assert (tmp_path / "README.md").read_text() == "# A model\n"
    with pytest.raises(CheckpointError, match="truncate_dim must be between 1 and 32, not 33"):
        encoder.save_pretrained(tmp_path, truncate_dim=33)


def test_the_prefixes_a_model_was_trained_with_are_kept(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    encoder = copy.deepcopy(tiny_encoder("bert"))
    assert again(encoder, tmp_path).trained_dims == ()
    encoder.trained_dims = (32, 16, 8)
    assert again(encoder, tmp_path).trained_dims == (32, 16, 8)
    facts = json.loads((tmp_path / "sightline.json").read_text())
    (tmp_path / "sightline.json").write_text(json.dumps(facts | {"matryoshka_dims": [32, "many"]}))
    with pytest.raises(CheckpointError, match="matryoshka_dims must be whole numbers"):
        Encoder.from_pretrained(tmp_path, device="cpu")


def test_a_router_with_shared_parts(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    parts = copy.deepcopy(list(tiny_encoder("bert").parts))
    torch.manual_seed(1)
    routes = {"query": [*parts, Dense(32, 8)], "document": [*parts, Dense(32, 8)]}
    encoder = Encoder(
        [Router(routes, RoutingTable(("query", "document"), default="document")), Normalize()]
    ).eval()  # type: ignore[arg-type]
    loaded = again(encoder, tmp_path)
    first, second = (list(chain) for chain in loaded.parts[0].sub_modules.values())
    assert first[0] is second[0]
    assert first[2] is not second[2]
    assert sum(value.numel() for value in loaded.parameters()) == sum(
        value.numel() for value in encoder.parameters()
    )
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    for method in ("encode", "encode_query", "encode_document"):
        wanted = getattr(encoder, method)(TEXTS)
        assert torch.equal(getattr(loaded, method)(TEXTS).values, wanted.values)
        assert abs(getattr(theirs, method)(TEXTS) - wanted.numpy()).max() < 1e-6


def test_a_fused_model_of_two_towers(
    tiny_encoder: TinyEncoder, pictures: list[Image.Image], tmp_path: Path
) -> None:
    routes = {"text": list(tiny_encoder("bert").parts), "image": list(tiny_encoder("vit").parts)}
    mappings = {("query", None): "text", (None, "image"): "image"}
    table = RoutingTable(("text", "image"), mappings, default="text", fusion={"text": 0.7, "image": 0.3})
    encoder = Encoder([Router(routes, table)]).eval()  # type: ignore[arg-type]
    loaded = again(encoder, tmp_path)
    values = [TEXTS[0], pictures[0], {"text": TEXTS[1], "image": pictures[1]}]
    assert torch.equal(loaded.encode(values).values, encoder.encode(values).values)
    assert loaded.parts[0].table == table
    # ST ignores what it does not know, the fusion, and gives the same vectors of single parts.
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    assert abs(theirs.encode(TEXTS) - encoder.encode(TEXTS).numpy()).max() < 1e-6
    assert abs(theirs.encode(pictures) - encoder.encode(pictures).numpy()).max() < 1e-5


def test_a_router_without_a_default_has_none_after_loading(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    parts = list(tiny_encoder("bert").parts)
    encoder = Encoder([Router({"query": parts}, RoutingTable(("query",)))])  # type: ignore[dict-item]
    assert again(encoder, tmp_path).parts[0].table.default is None


def test_heads_inside_routes_take_the_backbones_type(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    parts = list(tiny_encoder("bert").parts)
    encoder = Encoder(
        [Router({"text": [*parts, Dense(32, 8)]}, RoutingTable(("text",), default="text")), LayerNorm(8)]
    )  # type: ignore[dict-item]
    loaded = again(encoder, tmp_path, dtype="bfloat16")
    assert {value.dtype for value in loaded.parameters()} == {torch.bfloat16}
    assert loaded.encode(TEXTS).shape == (len(TEXTS), 8)


def test_what_cannot_be_said_in_the_format_is_not_written(tiny_encoder: TinyEncoder, tmp_path: Path) -> None:
    for activation in (nn.GELU(approximate="tanh"), nn.LeakyReLU(0.2), nn.PReLU()):
        parts = [*list(tiny_encoder("bert").parts), Dense(32, 8, activation=activation)]
        with pytest.raises(CheckpointError, match="cannot express the activation"):
            write_checkpoint(tmp_path / "model", parts, ModelFacts())  # type: ignore[arg-type]
        assert not (tmp_path / "model").exists()
