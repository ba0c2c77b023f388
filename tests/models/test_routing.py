"""Composing encoders: what goes where, one dimension for all, and compositions that cannot work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sightline.errors import ConfigError, InputError
from sightline.models.encoder import Encoder
from sightline.modules.heads import Dense, Normalize
from sightline.modules.router import Router
from support import tiny_models
from support.fixtures import TEXTS


@pytest.fixture
def make(tiny: Callable[[str], Path]) -> Callable[..., Encoder]:
    """``make("bert", **options)``: a tiny encoder of its own."""
    return lambda name, **options: Encoder.from_pretrained(tiny(name), device="cpu", **options)


def test_a_route_per_modality(make: Callable[..., Encoder], pictures: list[Image.Image]) -> None:
    text, image = make("bert"), make("vit")
    wanted = text.encode(TEXTS).values, image.encode(pictures).values
    encoder = Encoder.from_routes({"text": text, "image": image}, fusion={"text": 2.0, "image": 1.0})
    assert encoder.modalities == ("text", "image")
    assert encoder.supports(["text", "image"])
    found = encoder.encode([*TEXTS, *pictures]).values
    assert torch.allclose(found, torch.cat(wanted), atol=1e-6)
    for encode in (encoder.encode_query, encoder.encode_document):
        assert torch.allclose(encode(TEXTS).values, wanted[0], atol=1e-6)


def test_a_route_per_role(make: Callable[..., Encoder]) -> None:
    small, large = make("bert"), make("qwen3")
    wanted = small.encode(TEXTS).values, large.encode(TEXTS).values
    encoder = Encoder.from_routes({"query": small, "document": large})
    assert torch.allclose(encoder.encode_query(TEXTS).values, wanted[0], atol=1e-6)
    assert torch.allclose(encoder.encode_document(TEXTS).values, wanted[1], atol=1e-6)
    assert torch.allclose(encoder.encode(TEXTS).values, wanted[1], atol=1e-6), "without a role, as a document"


def test_a_route_per_role_and_modality(make: Callable[..., Encoder], pictures: list[Image.Image]) -> None:
    light, heavy, pages = make("bert"), make("qwen3"), make("vit")
    wanted = [light.encode(TEXTS).values, heavy.encode(TEXTS).values, pages.encode(pictures).values]
    encoder = Encoder.from_routes(
        {"light": light, "heavy": heavy, "pages": pages},
        mappings={("query", "text"): "light", ("document", "text"): "heavy", (None, "image"): "pages"},
    )
    found = [encoder.encode_query(TEXTS), encoder.encode_document(TEXTS), encoder.encode_query(pictures)]
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one.values, other, atol=1e-6)
    with pytest.raises(InputError, match="no route takes 'text' items"):
        encoder.encode(TEXTS)


def test_one_model_under_two_names_is_one_model(make: Callable[..., Encoder]) -> None:
    one = make("bert")
    count = sum(weight.numel() for weight in one.parameters())
    encoder = Encoder.from_routes({"query": one, "document": one}, dim=8)
    assert sum(weight.numel() for weight in encoder.parameters()) == count + 32 * 8 + 8
    assert torch.equal(encoder.encode_query(TEXTS).values, encoder.encode_document(TEXTS).values)


def test_projections_to_one_dimension(make: Callable[..., Encoder], tmp_path: Path) -> None:
    text = make("bert")
    text.parts.append(Normalize())
    image = Encoder.from_pretrained(tiny_models.vit(tmp_path / "vit", hidden=48), device="cpu")
    with pytest.raises(ConfigError, match=r"different dimensions \(text 32, image 48\).*dim=48"):
        Encoder.from_routes({"text": text, "image": image})
    encoder = Encoder.from_routes({"text": text, "image": image}, dim=32)
    assert encoder.embedding_dim == 32
    router = encoder.parts[0]
    assert isinstance(router, Router)
    kinds = {name: [type(part).__name__ for part in parts] for name, parts in router.routes().items()}
    assert kinds == {
        "text": ["Backbone", "Pooling", "Normalize"],
        "image": ["Backbone", "Pooling", "Dense", "Normalize"],
    }
    picture = Image.new("RGB", (64, 64), "red")
    assert encoder.encode([picture]).values.norm() == pytest.approx(1.0, abs=1e-6)
    # A new dimension for all: the projection goes in front of what makes unit vectors.
    both = Encoder.from_routes({"text": text, "image": image}, dim=16)
    router = both.parts[0]
    assert isinstance(router, Router)
    assert all(
        isinstance(parts[-2], Dense) and isinstance(parts[-1], Normalize)
        for parts in router.routes().values()
    )


def test_prompts_of_the_encoders(make: Callable[..., Encoder]) -> None:
    first = make("bert", prompts={"query": "find: "})
    second = make("bert", prompts={"query": "find: ", "document": "page: "})
    routes = {"query": first, "document": second}
    assert Encoder.from_routes(routes).prompts == {"query": "find: ", "document": "page: "}
    second.prompts["query"] = "look up: "
    with pytest.raises(
        ConfigError, match=r"'query' and 'document' have different prompts 'query'.*give prompts="
    ):
        Encoder.from_routes(routes)
    assert Encoder.from_routes(routes, prompts={"query": "q: "}).prompts == {"query": "q: "}


def test_the_default_prompt_of_the_encoders(make: Callable[..., Encoder], tmp_path: Path) -> None:
    prompts = {"find": "find: ", "page": "page: "}
    first, second = (make("bert", prompts=prompts, default_prompt_name="find") for _ in range(2))
    wanted = first.encode(TEXTS).values
    routes = {"query": first, "document": second, "image": make("vit")}
    encoder = Encoder.from_routes(routes, default="document")
    assert encoder.default_prompt_name == "find"
    for found in (encoder.encode(TEXTS), encoder.encode_query(TEXTS), encoder.encode_document(TEXTS)):
        assert torch.allclose(found.values, wanted, atol=1e-6)
    encoder.save_pretrained(tmp_path / "saved")
    assert Encoder.from_pretrained(tmp_path / "saved", device="cpu").default_prompt_name == "find"
    for other in ("page", None):
        second.default_prompt_name = other
        with pytest.raises(
            ConfigError, match=rf"'query' 'find', 'document' {other!r}.*give default_prompt_name="
        ):
            Encoder.from_routes(routes, default="document")
    chosen = Encoder.from_routes(routes, default="document", default_prompt_name="page")
    assert chosen.default_prompt_name == "page"
    assert Encoder.from_routes(routes, default="document", prompts={}).default_prompt_name is None


@pytest.mark.parametrize(
    ("routes", "options", "words"),
    [
        ({}, {}, "no routes to compose"),
        ({"text": "bert", "image": "bert"}, {}, r"'image' is named like a modality.*reads text"),
        ({"text": "bert", "scans": "vit"}, {}, r"nothing takes route 'scans'.*mappings"),
        ({"text": "bert"}, {"mappings": {(None, "image"): "pages"}}, "no route 'pages'"),
        (
            {"text": "bert"},
            {"mappings": {(None, "image"): "text"}},
            "send image to route 'text', whose model reads text",
        ),
        ({"text": "bert"}, {"mappings": {(None, "picture"): "text"}}, "'picture' in .* is no modality"),
        ({"text": "bert"}, {"mappings": {("answer", "text"): "text"}}, "'answer' in .* is no role"),
        ({"text": "bert"}, {"mappings": {"text": "text"}}, "no such pair"),
        ({"text": "bert"}, {"default": "other"}, "no route 'other'"),
        ({"text": "bert"}, {"fusion": {"image": 1.0}}, "fusion weighs 'image', which no route takes"),
        (
            {"text": "bert", "image": "vit"},
            {"fusion": {"image": 0.0, "text": 1.0}},
            "'image' must be above 0",
        ),
        ({"a=b": "bert"}, {"default": "a=b"}, "cannot be named"),
    ],
)
def test_compositions_that_cannot_work(
    routes: dict[str, str], options: dict[str, Any], words: str, make: Callable[..., Encoder]
) -> None:
    with pytest.raises(ConfigError, match=words):
        Encoder.from_routes({name: make(model) for name, model in routes.items()}, **options)


def test_a_composed_encoder_is_no_route(make: Callable[..., Encoder]) -> None:
    composed = Encoder.from_routes({"text": make("bert")})
    with pytest.raises(ConfigError, match="route 'query' starts with no backbone"):
        Encoder.from_routes({"query": composed})
