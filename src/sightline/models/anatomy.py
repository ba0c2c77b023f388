"""What an encoder's parts amount to: its backbones, what prepares items for them, and the kind of its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from sightline.inputs.collate import group_name, split_group
from sightline.inputs.roles import RoleProcessor
from sightline.models.preprocess import Collator, Preprocessor
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.heads import POOLED, Dense
from sightline.modules.layer_pooling import connect_layers
from sightline.modules.pooling import Pooling
from sightline.modules.router import Router
from sightline.modules.token_mask import TokenMask
from sightline.types import Embeddings

if TYPE_CHECKING:
    from torch import nn

    from sightline.modules.router import RoutingTable


def backbones_of(parts: Sequence[nn.Module]) -> dict[str, Backbone]:
    """Backbones by route; the single one of a model without a router under ``""``."""
    first = parts[0]
    if isinstance(first, Backbone):
        return {"": first}
    assert isinstance(first, Router)
    return {route: inner[0] for route, inner in first.routes().items() if isinstance(inner[0], Backbone)}


def gives_tokens(parts: Sequence[nn.Module]) -> bool:
    """Whether the output is a vector per token: no part makes one vector out of them."""
    for part in parts:
        if isinstance(part, Router) and not all(gives_tokens(inner) for inner in part.routes().values()):
            return False
        if isinstance(part, Pooling) or (isinstance(part, Backbone) and part.table.writes == POOLED):
            return False
        if isinstance(part, Dense) and part.output_name == POOLED:
            return False
    return True


def dimension_of(parts: Sequence[nn.Module]) -> int:
    """Components of a vector."""
    return [part.output_dim for part in parts if isinstance(part, Module) and part.output_dim is not None][-1]


def table_of(parts: Sequence[nn.Module]) -> RoutingTable | None:
    """Which route an item takes, or None without a router."""
    return next((part.table for part in parts if isinstance(part, Router)), None)


def embeddings_of(features: Mapping[str, Any]) -> Embeddings:
    """What the last part wrote: (n, D), or of a multi-vector model (n, T, D) with a mask."""
    if POOLED in features:
        return Embeddings(features[POOLED])
    tokens = features["token_embeddings"]
    mask = features.get("attention_mask")
    if mask is None or mask.shape[-1] != tokens.shape[1]:  # vision towers, as in `Pooling`
        mask = torch.ones(tokens.shape[:2], device=tokens.device)
    return Embeddings(tokens, mask.bool())


def settle(parts: Sequence[nn.Module]) -> None:
    """Looks the words of token masks up in the tokenizer of the backbone, and query expansion's token; has backbones
    keep the layers that are weighted behind them.

    Raises:
        CheckpointError: the tokenizer lacks that token, or the layers to be weighted are not there.
    """
    connect_layers(parts)
    tokenizers = [backbone.processor.tokenizer for backbone in backbones_of(parts).values()]
    for part in parts:
        if isinstance(part, TokenMask):
            part.resolve(next((one for one in tokenizers if one is not None), None))
        for inner in part.routes().values() if isinstance(part, Router) else ():
            for one in inner:  # a route's words are those of its own tokenizer
                if isinstance(one, TokenMask) and isinstance(inner[0], Backbone):
                    one.resolve(inner[0].processor.tokenizer)
    preprocessor_of(parts)


def preprocessor_of(parts: Sequence[nn.Module]) -> Preprocessor:
    """What turns items into features; holds no weights and travels to worker processes."""
    late = gives_tokens(parts)
    return Preprocessor(
        {
            route: RoleProcessor(one.processor, one.texts, one.padding_side) if late else one.processor
            for route, one in backbones_of(parts).items()
        },
        table_of(parts),
    )


def collator_of(parts: Sequence[nn.Module], packed: frozenset[str]) -> Collator:
    """``collate(features, indices) -> MicroBatch``; travels to worker processes too."""
    backbones = backbones_of(parts)
    tokenizers = {route: backbone.processor.tokenizer for route, backbone in backbones.items()}
    return Collator(
        {
            route: tokenizer.pad_token_id or 0
            for route, tokenizer in tokenizers.items()
            if tokenizer is not None
        },
        {route: backbone.padding_side for route, backbone in backbones.items()},
        packed,
    )


def packed_groups_of(parts: Sequence[nn.Module]) -> frozenset[str]:
    """Groups of items whose texts run without padding on the model's device (see `inputs.planning.plan`)."""
    found: set[str] = set()
    for route, backbone in backbones_of(parts).items():
        call = backbone.processor.calls.get("message", backbone.processor.calls.get("text"))
        if call is not None and backbone.packs_text:
            found.add(group_name(route, call))
    if isinstance(parts[0], Backbone) and found:
        # Routes that part behind one backbone are groups of their own.
        calls = {split_group(group)[1] for group in found}
        later = (part for part in parts if isinstance(part, Router))
        found |= {group_name(route, call) for part in later for route in part.table.routes for call in calls}
    return frozenset(found)
