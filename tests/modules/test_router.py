"""Which route an item takes, and fusion of the parts of mixed items."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from sentence_transformers.base.modules import Router as TheirRouter

from sightline.errors import CheckpointError, InputError
from sightline.models.encoder import Encoder
from sightline.modules.base import Module
from sightline.modules.heads import Normalize
from sightline.modules.router import Router, RoutingTable
from support.fixtures import TEXTS

ROUTES = ("query", "document", "image", "other")
MAPPINGS: list[dict[Any, str]] = [
    {},
    {("query", "text"): "other"},
    {("query", None): "document", (None, "text"): "image"},
    {(None, "image"): "other", (None, None): "document"},
    {(None, ("image", "text")): "image", ("document", ("image", "text")): "query"},
]


@pytest.mark.parametrize("mappings", MAPPINGS)
@pytest.mark.parametrize("default", [None, "other"])
def test_precedence_is_that_of_sentence_transformers(mappings: dict[Any, str], default: str | None) -> None:
    from sentence_transformers.base.modules import Normalize as TheirNormalize

    theirs = TheirRouter(
        {route: [TheirNormalize()] for route in ROUTES},
        default_route=default,
        allow_empty_key=False,
        route_mappings=mappings,
    )
    ours = RoutingTable(ROUTES, mappings, default)
    for role, modality in itertools.product(
        (None, "query", "document"), ("text", "image", "message", ("image", "text"))
    ):
        try:
            wanted = theirs._resolve_route(role, modality)
        except ValueError:
            wanted = None
        assert ours.resolve(role, modality) == wanted
        if wanted is None:
            with pytest.raises(InputError, match="no route takes"):
                ours.parts(role, modality)


@pytest.fixture(scope="module")
def page_model(tiny_encoder: Callable[[str], Encoder]) -> Encoder:
    """Text through BERT and images through ViT, fused 3 to 1."""
    routes = {"text": list(tiny_encoder("bert").parts), "image": list(tiny_encoder("vit").parts)}
    table = RoutingTable(("text", "image"), default="text", fusion={"text": 3.0, "image": 1.0})
    return Encoder([Router(routes, table), Normalize()]).eval()  # type: ignore[arg-type]


def test_a_mixed_item_is_the_weighted_sum_of_its_parts(
    page_model: Encoder, pictures: list[Image.Image]
) -> None:
    pages = [{"text": text, "image": picture} for text, picture in zip(TEXTS, pictures, strict=False)]
    fused = page_model.encode(pages).values
    texts = page_model.encode([page["text"] for page in pages]).values
    images = page_model.encode([page["image"] for page in pages]).values
    wanted = torch.nn.functional.normalize(3 * texts + images, dim=-1)
    assert torch.allclose(fused, wanted, atol=1e-6)
    # The order of the parts does not matter, and all three kinds may come together.
    turned = [{"image": page["image"], "text": page["text"]} for page in pages]
    mixed = page_model.encode([*turned, TEXTS[0], pictures[0]]).values
    assert torch.allclose(mixed, torch.cat([fused, texts[:1], images[:1]]), atol=1e-6)


def test_a_prompt_belongs_to_the_text_part(page_model: Encoder, pictures: list[Image.Image]) -> None:
    page = {"text": "costs", "image": pictures[0]}
    whole = {"text": "search: costs", "image": pictures[0]}
    assert torch.allclose(
        page_model.encode(page, prompt="search: ").values, page_model.encode(whole).values, atol=1e-6
    )


def test_a_prompt_is_not_cut_out_of_an_image(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image.Image]
) -> None:
    from sightline.modules.pooling import Pooling

    bert, vit = (tiny_encoder(name).parts[0] for name in ("bert", "vit"))
    routes: dict[str, list[Module]] = {
        "text": [bert, Pooling(32, "mean", include_prompt=False)],  # type: ignore[list-item]
        "image": [vit, Pooling(32, "mean", include_prompt=False)],  # type: ignore[list-item]
    }
    table = RoutingTable(("text", "image"), fusion={"text": 1.0, "image": 1.0})
    model = Encoder([Router(routes, table)]).eval()
    page = {"text": "costs of the plant", "image": pictures[0]}
    text, image = (model.encode(page[name], prompt="search: ").values for name in ("text", "image"))
    wanted = torch.nn.functional.normalize(
        torch.nn.functional.normalize(text, dim=-1) + torch.nn.functional.normalize(image, dim=-1), dim=-1
    )
    assert torch.allclose(model.encode(page, prompt="search: ").values, wanted, atol=1e-6)


def test_a_route_of_its_own_comes_before_fusion(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image.Image]
) -> None:
    table = RoutingTable(
        ("text", "image", "both"), {(None, ("image", "text")): "both"}, fusion={"text": 1.0, "image": 1.0}
    )
    assert table.parts(None, ("image", "text")) == {"image+text": "both"}
    assert RoutingTable(("text", "image"), fusion={"text": 1.0}).resolve(None, ("image", "text")) is None


def test_what_no_route_takes_is_refused_with_its_source(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image.Image]
) -> None:
    routes = {"text": list(tiny_encoder("bert").parts), "image": list(tiny_encoder("vit").parts)}
    model = Encoder([Router(routes, RoutingTable(("text", "image")))]).eval()  # type: ignore[arg-type]
    assert not model.supports(["text", "image"])
    with pytest.raises(InputError, match=r"input 1: no route takes .*routes: text, image"):
        model.encode(["a", {"text": "a", "image": pictures[0]}])


def test_gradients_reach_both_parts_of_a_fused_item(
    tiny_encoder: Callable[[str], Encoder], pictures: list[Image.Image]
) -> None:
    import copy

    routes = {
        name: copy.deepcopy(list(tiny_encoder(model).parts))
        for name, model in (("text", "bert"), ("image", "vit"))
    }
    table = RoutingTable(("text", "image"), fusion={"text": 1.0, "image": 1.0})
    model = Encoder([Router(routes, table)])  # type: ignore[arg-type]
    from sightline.inputs.parse import parse

    made = model.preprocessor(parse({"text": "a", "image": pictures[0]}))
    model(model.collate([made], [0])).values.sum().backward()
    for route in routes.values():
        gradients = [value.grad for value in route[0].parameters()]
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_routers_that_cannot_work_are_refused() -> None:
    parts = {"a": [Normalize()]}
    with pytest.raises(CheckpointError, match="no route 'b'"):
        Router(parts, RoutingTable(("a",), default="b"))
    with pytest.raises(CheckpointError, match="no route 'c'"):
        Router(parts, RoutingTable(("a",), {(None, None): "c"}))
    with pytest.raises(CheckpointError, match="cannot be named"):
        Router({"a=b": [Normalize()]}, RoutingTable(("a=b",)))
