"""What of a model becomes a graph: one tower per kind of input, and which models have none.

A text encoder is one tower. A dual encoder (CLIP, SigLIP) is two, which share a space and no weights. A composed
model (Router) is exported a route at a time: each route is an encoder of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from sightline.errors import ConfigError
from sightline.models.encoder import Encoder
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.call_table import Call
from sightline.modules.heads import POOLED
from sightline.modules.pooling import Pooling
from sightline.modules.router import Router

MODALITIES = ("text", "image")
ELSEWHERE = (
    "Serve it with `sightline serve`, or give its folder to Sentence Transformers or vLLM as it is "
    "(docs/deploying.md)"
)
# The names that Optimum and transformers.js give the towers of a dual encoder; the one tower of any other model lies
# where Sentence Transformers and text-embeddings-inference look for it.
_WHOLE = "model.onnx"
_TOWERS = {"text": "text_model.onnx", "image": "vision_model.onnx"}
_VECTORS = {"text": "text_embeds", "image": "image_embeds"}


@dataclass(frozen=True)
class Tower:
    """One graph to be.

    Attributes:
        modality: ``text`` or ``image``.
        backbone: runs first.
        call: how.
        rest: the parts behind it.
        file: name of the graph.
        vector: name of the output (N, D).
        tokens: whether the graph also gives the backbone's hidden states (N, T, H).
    """

    modality: str
    backbone: Backbone
    call: Call
    rest: tuple[nn.Module, ...]
    file: str
    vector: str
    tokens: bool


def route_of(encoder: Encoder, route: str | None) -> Encoder:
    """The encoder of one route of a composed model; any other model as it is.

    It shares its parts with the model.

    Raises:
        ConfigError: a composed model without a route named, a route it does not have, a model without routes.
    """
    first = encoder.parts[0]
    if not isinstance(first, Router):
        if route is not None:
            raise ConfigError(f"this model has no routes; leave out the route {route!r}")
        return encoder
    routes = first.routes()
    if route is None:
        raise ConfigError(
            f"a composed model is exported a route at a time; name one of them with --route: {', '.join(routes)}"
        )
    if route not in routes:
        raise ConfigError(f"no route {route!r}; the model has {', '.join(routes)}")
    rest = [part for part in list(encoder.parts)[1:] if isinstance(part, Module)]
    alone = Encoder(
        [*routes[route], *rest],
        prompts=encoder.prompts,
        default_prompt_name=encoder.default_prompt_name,
        similarity_fn_name=encoder.similarity_fn_name,
        truncate_dim=encoder.truncate_dim,
    )
    alone.name_or_path = encoder.name_or_path
    return alone.eval()


def towers_of(encoder: Encoder) -> list[Tower]:
    """The graphs of an encoder, texts' first.

    Raises:
        ConfigError: a model of a kind that is not exported; says why, and what to do instead.
    """
    backbone, rest = encoder.parts[0], tuple(list(encoder.parts)[1:])
    if not isinstance(backbone, Backbone) or any(isinstance(part, Router) for part in rest):
        raise ConfigError(
            f"this model routes items behind its backbone, which no single graph says. {ELSEWHERE}"
        )
    kind = backbone.model.config.model_type
    if encoder.multi_vector:
        raise ConfigError(
            f"this model gives a vector per token, and ONNX export is for models that give one vector. {ELSEWHERE}"
        )
    _check_prompts(encoder, rest)
    dual = backbone.table.writes == POOLED
    calls = {name: call for name, call in backbone.table.calls.items() if isinstance(name, str)}
    if not dual and (len(backbone.table.calls) > 1 or "message" in calls):
        raise ConfigError(_why_whole(kind, backbone))
    found = [name for name in MODALITIES if name in calls]
    if not found:
        taken = ", ".join(calls) or "several kinds of input together"
        raise ConfigError(f"ONNX export is for texts and images, and {kind} takes {taken}. {ELSEWHERE}")
    return [
        Tower(
            modality=name,
            backbone=backbone,
            call=calls[name],
            rest=rest,
            file=_TOWERS[name] if dual else _WHOLE,
            vector=_VECTORS[name] if dual else POOLED,
            tokens=not dual,
        )
        for name in found
    ]


def left_out(encoder: Encoder, towers: Sequence[Tower]) -> list[str]:
    """What the model takes and no graph does."""
    there = {tower.modality for tower in towers}
    return [name for name in encoder.modalities if name not in there]


def _why_whole(kind: str, backbone: Backbone) -> str:
    if any(name in backbone.table.calls for name in ("image", "video", "audio")):
        return (
            f"{kind} is a generative vision-language (or audio) model: one backbone reads texts and media together, "
            "and what it does depends on the grid of each image, which the one fixed graph of an ONNX file does not "
            f"hold. ONNX export is for text encoders and dual encoders (CLIP, SigLIP). {ELSEWHERE}"
        )
    return (
        f"this {kind} reads its texts through a chat template, which the files beside a graph do not apply. "
        f"{ELSEWHERE}"
    )


def _check_prompts(encoder: Encoder, rest: Sequence[nn.Module]) -> None:
    if any(encoder.prompts.values()) and any(
        isinstance(part, Pooling) and not part.include_prompt for part in rest
    ):
        raise ConfigError(
            "this model leaves the tokens of its prompt out of pooling, so that a vector depends on where the prompt "
            f"ends, which a graph of tokens alone is not told. {ELSEWHERE}"
        )
