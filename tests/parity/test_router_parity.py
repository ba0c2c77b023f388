"""Composed models equal Sentence Transformers 6.2's Router, on files of either side."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router as TheirRouter
from sentence_transformers.sentence_transformer.modules import Normalize as TheirNormalize
from torch import nn

from sightline.models.encoder import Encoder
from support.fixtures import TEXTS

# Routes by the model behind them, and what goes where.
COMPOSITIONS: dict[str, tuple[dict[str, str], dict[Any, str], str | None]] = {
    "by modality": ({"text": "bert", "image": "vit"}, {}, None),
    "by role": ({"query": "bert", "document": "qwen3"}, {}, "document"),
    "by both": (
        {"light": "bert", "heavy": "qwen3", "pages": "vit"},
        {("query", "text"): "light", ("document", "text"): "heavy", (None, "image"): "pages"},
        None,
    ),
    "with wildcards": (
        {"light": "bert", "rest": "clip"},
        {("query", "text"): "light", ("document", None): "rest", (None, "image"): "rest"},
        "rest",
    ),
}


def theirs_of(
    routes: dict[str, str], mappings: dict[Any, str], default: str | None, tiny: Callable[[str], Path]
) -> SentenceTransformer:
    """Composed by ST's own hands, with a Normalize behind the router."""
    modules = {
        route: list(SentenceTransformer(str(tiny(model)), device="cpu").children())
        for route, model in routes.items()
    }
    if "clip" in routes.values():
        torch.manual_seed(0)
        from sentence_transformers.sentence_transformer.modules import Dense

        modules["rest"].append(Dense(24, 32, activation_function=nn.Identity()))
    router = TheirRouter(modules, default_route=default, allow_empty_key=False, route_mappings=mappings)
    return SentenceTransformer(modules=[router, TheirNormalize()], device="cpu")


def asked(encoder: Any, routes: dict[str, str], pictures: list[Image.Image]) -> dict[str, np.ndarray]:
    """Vectors of texts and images under both roles, as far as there are routes."""
    found = {
        "text as query": np.asarray(encoder.encode_query(TEXTS)),
        "text as document": np.asarray(encoder.encode_document(TEXTS)),
    }
    if {"vit", "clip"} & set(routes.values()):
        found["image as document"] = np.asarray(encoder.encode_document(pictures))
    return found


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_composed_models_both_ways(
    name: str, tiny: Callable[[str], Path], pictures: list[Image.Image], tmp_path: Path
) -> None:
    routes, mappings, default = COMPOSITIONS[name]
    theirs = theirs_of(routes, mappings, default, tiny)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    wanted = asked(theirs, routes, pictures)
    ours = Encoder.from_pretrained(tmp_path / "theirs", device="cpu")
    ours.save_pretrained(tmp_path / "ours")
    they_read = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    for encoder in (ours, they_read):
        for what, vectors in asked(encoder, routes, pictures).items():
            assert np.abs(vectors - wanted[what]).max() <= 1e-5, what
    facts = [json.loads((tmp_path / side / "router_config.json").read_text()) for side in ("ours", "theirs")]
    assert facts[0]["parameters"]["route_mappings"] == (facts[1]["parameters"]["route_mappings"] or {})
    assert facts[0]["structure"].keys() == facts[1]["structure"].keys()


@pytest.mark.parametrize("name", ["by modality", "by role", "by both"])
def test_what_we_compose_they_load(
    name: str, tiny: Callable[[str], Path], pictures: list[Image.Image], tmp_path: Path
) -> None:
    routes, mappings, default = COMPOSITIONS[name]
    encoder = Encoder.from_routes(
        {route: Encoder.from_pretrained(tiny(model), device="cpu") for route, model in routes.items()},
        mappings=mappings,
        default=default,
        dim=16,
    )
    encoder.save_pretrained(tmp_path / "ours")
    they_read = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    wanted = asked(encoder, routes, pictures)
    for what, vectors in asked(they_read, routes, pictures).items():
        assert vectors.shape[1] == 16
        assert np.abs(vectors - wanted[what]).max() <= 1e-5, what


def test_keys_of_role_and_several_modalities_survive(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """A page of text and image goes to a route of its own, whichever way the key is spelt."""
    vision = SentenceTransformer(str(tiny("clip")), device="cpu")
    text = SentenceTransformer(str(tiny("clip")), device="cpu")
    router = TheirRouter(
        {"words": list(text.children()), "pages": list(vision.children())},
        default_route=None,
        allow_empty_key=False,
        route_mappings={
            ("query", "text"): "words",
            ("document", ("text", "image")): "pages",
            (None, "image"): "pages",
        },
    )
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(str(tmp_path / "theirs"))
    ours = Encoder.from_pretrained(tmp_path / "theirs", device="cpu")
    table = ours.preprocessor.table
    assert table is not None
    assert table.resolve("document", ("image", "text")) == "pages"
    assert table.resolve("query", "text") == "words"
    assert table.resolve("query", ("image", "text")) is None
    ours.save_pretrained(tmp_path / "ours")
    again = SentenceTransformer(str(tmp_path / "ours"), device="cpu")[0]
    assert again.route_mappings == router.route_mappings
