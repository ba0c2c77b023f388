"""From a folder to the parts of a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from sightline.checkpoint import dialects, late, layout
from sightline.checkpoint.backbones import load_backbone
from sightline.checkpoint.options import LoadOptions
from sightline.errors import CheckpointError
from sightline.modules.base import Module
from sightline.modules.heads import (
    ACTIVATIONS,
    POOLED,
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    activation_named,
)
from sightline.modules.language_model import LogitScore
from sightline.modules.layer_pooling import without_idle_layers
from sightline.modules.pooling import Pooling
from sightline.modules.router import Router, RoutingTable

log = logging.getLogger("sightline")


@dataclass
class Checkpoint:
    """What a folder holds: parts in order, facts on the whole model, and our own facts."""

    parts: list[Module]
    facts: layout.ModelFacts
    own: dict[str, Any]


def read_checkpoint(folder: Path, options: LoadOptions, *, multi_vector: bool | int = False) -> Checkpoint:
    """Reads a checkpoint of ours, of ST 2 to 6, or a bare transformers one.

    Args:
        folder: where it lies.
        options: how its transformers parts are loaded.
        multi_vector: make a late-interaction model of one that pools; or the components of its token vectors.

    Raises:
        CheckpointError: a file is missing or malformed, or a class has no equivalent here.
    """
    own = layout.read_facts(folder / layout.SIGHTLINE)
    saved = layout.read_facts(folder / layout.MODEL)
    facts = layout.ModelFacts.from_json(saved, str(folder / layout.MODEL))
    if (folder / layout.MODULES).is_file():
        heritage = late.take_facts(saved, facts) if late.is_late(saved) else None
        parts = [read_part(entry, folder, options, own, heritage) for entry in layout.read_modules(folder)]
        if not parts:
            raise CheckpointError(f"{folder / layout.MODULES}: lists no module")
        parts = active(parts, folder)
        if heritage is not None:
            parts = late.complete(parts, heritage)
        elif multi_vector:
            parts = _to_tokens(parts, facts, folder, multi_vector)
        late.check_dimension(parts, multi_vector, folder)
        return Checkpoint(parts, facts, own)
    if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise CheckpointError(f"{folder}: neither modules.json nor config.json, so there is no model in it")
    tokens = late.bare(folder, options, facts)
    if tokens is None and multi_vector:
        tokens = _to_tokens([load_backbone(folder, options)[0]], facts, folder, multi_vector)
    if tokens is not None:
        late.check_dimension(tokens, multi_vector, folder)
    return Checkpoint(_bare(folder, options) if tokens is None else tokens, facts, own)


def active(parts: list[Module], folder: Path) -> list[Module]:
    """The parts but for weighted layers that ST passes over, of which a warning says what would put them to work."""
    kept, idle = without_idle_layers(parts)
    if idle:
        log.warning(
            "%s has weights for its layers that were never used: its config.json does not say output_hidden_states, "
            "without which Sentence Transformers passes them over, and so do we. "
            'config_kwargs={"output_hidden_states": True} uses them', folder.name,
        )  # fmt: skip
    return kept


def _to_tokens(
    parts: list[Module], facts: layout.ModelFacts, folder: Path, dimension: bool | int
) -> list[Module]:
    facts.model_type, facts.similarity_fn_name, facts.truncate_dim = layout.MULTI_VECTOR, None, None
    return late.converted(parts, folder, late.NEW_DIMENSION if dimension is True else dimension)


def _bare(folder: Path, options: LoadOptions) -> list[Module]:
    backbone, pooling = load_backbone(folder, options)
    if pooling is None:
        log.warning("%s has no pooling settings: using the model's own pooled features", folder.name)
        return [backbone]
    log.warning("%s has no pooling settings: using %s", folder.name, _spoken(pooling))
    return [backbone, Pooling(backbone.output_dim, pooling)]


def _spoken(pooling: str) -> str:
    reasons = {
        "lasttoken": "the last token, as it is a causal or vision-language model",
        "mean": "the mean over tokens, as it is an encoder",
    }
    return reasons[pooling]


def read_part(
    entry: layout.ModuleEntry,
    root: Path,
    options: LoadOptions,
    own: Mapping[str, Any] | None = None,
    heritage: late.Heritage | None = None,
) -> Module:
    """One part of a checkpoint.

    Args:
        entry: its line in ``modules.json``.
        root: the checkpoint's folder.
        options: arguments for transformers.
        own: content of ``sightline.json``.
        heritage: of a late-interaction model, what it keeps elsewhere.

    Raises:
        CheckpointError: a file is missing or malformed, or its class has no equivalent here.
    """
    kind = dialects.kind_of(entry.type, str(root / layout.MODULES))
    return _read_kind(kind, entry.folder(root), options, own or {}, heritage)


def _read_kind(
    kind: str,
    folder: Path,
    options: LoadOptions,
    own: Mapping[str, Any],
    heritage: late.Heritage | None = None,
) -> Module:
    if kind in ("backbone", "clip"):
        return _read_backbone(folder, options, clip=kind == "clip", texts=heritage.texts if heritage else {})
    if kind == "router":
        return _read_router(folder, options, own)
    where = str(folder / "config.json")
    facts = layout.read_facts(folder / "config.json")
    if kind == "pooling":
        dim, modes, include_prompt = dialects.pooling_facts(facts, where)
        return Pooling(dim, modes, include_prompt=include_prompt)
    if kind == "layer_pooling":
        return load_weights(dialects.layer_pooling(facts, where), folder)
    if kind == "dense":
        # A projection of token vectors that does not say so is older than the entry.
        default = POOLED if heritage is None else late.TOKENS
        return load_weights(_dense({"module_input_name": default} | facts, where), folder)
    if kind == "layer_norm":
        return load_weights(LayerNorm(int(_need(facts, "dimension", where))), folder)
    if kind == "logit_score":
        yes, no = _need(facts, "true_token_id", where), facts.get("false_token_id")
        return LogitScore(int(yes), None if no is None else int(no))
    if kind == "dropout":
        return Dropout(float(facts.get("dropout", 0.2)))
    if kind == "token_mask":
        return dialects.token_mask(facts, where)
    if kind == "token_pooling":
        return dialects.token_pooling(facts, where)
    return Normalize(
        input_name=facts.get("module_input_name", "sentence_embedding"),
        output_name=facts.get("module_output_name"),
    )


def _read_backbone(folder: Path, options: LoadOptions, *, clip: bool, texts: Mapping[str, Any]) -> Module:
    facts: dict[str, Any] = {}
    for name in layout.BACKBONE_FILES:
        facts = layout.read_facts(folder / name)
        if facts:
            break
    table = dialects.call_table(facts, str(folder)) or (dialects.CLIP if clip else dialects.TEXT_ONLY)
    backbone, _ = load_backbone(folder, options, facts={**texts, **facts}, table=table)
    return backbone


def _dense(facts: Mapping[str, Any], where: str) -> Dense:
    activation: nn.Module = nn.Tanh()
    if "activation_function" in facts:
        found = activation_named(str(facts["activation_function"]))
        if found is None:
            raise CheckpointError(
                f"{where}: unknown activation {facts['activation_function']!r}; known: "
                + ", ".join(sorted(name.rsplit(".", 1)[-1] for name in ACTIVATIONS))
            )
        activation = found
    return Dense(
        int(_need(facts, "in_features", where)),
        int(_need(facts, "out_features", where)),
        bias=bool(facts.get("bias", True)),
        activation=activation,
        input_name=facts.get("module_input_name", "sentence_embedding"),
        output_name=facts.get("module_output_name"),
        residual=bool(facts.get("use_residual", False)),
    )


def _read_router(folder: Path, options: LoadOptions, own: Mapping[str, Any]) -> Router:
    # ST 2 to 4 called the file config.json (the module was named Asym).
    name = layout.ROUTER if (folder / layout.ROUTER).is_file() else "config.json"
    where = str(folder / name)
    facts = layout.read_facts(folder / name)
    types, structure = _mapping(facts, "types", where), _mapping(facts, "structure", where)
    loaded = {
        part_id: _read_kind(dialects.kind_of(str(path), where), layout.inside(folder, part_id), options, {})
        for part_id, path in types.items()
    }
    unknown = {part_id for ids in structure.values() for part_id in ids} - set(types)
    if unknown or not structure:
        raise CheckpointError(
            f"{where}: structure names parts without a type: {', '.join(sorted(unknown)) or 'none'}"
        )
    parameters = facts.get("parameters") or {}
    routes = {route: active([loaded[part_id] for part_id in ids], folder) for route, ids in structure.items()}
    default = parameters.get("default_route")
    if default is None and parameters.get("allow_empty_key", True):
        default = next(iter(routes))
    table = RoutingTable(
        routes=tuple(routes),
        mappings={
            dialects.parse_route_key(key, where): route
            for key, route in (parameters.get("route_mappings") or {}).items()
        },
        default=default,
        fusion=own.get("fusion"),
    )
    return Router(routes, table)


def load_weights(part: Module, folder: Path) -> Module:
    """Loads a part's weights from ``model.safetensors`` (or ST 2's ``pytorch_model.bin``) in its folder.

    Raises:
        CheckpointError: no weights, or weights of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        if safe.is_file():
            state = load_file(safe)
        elif pickled.is_file():
            state = torch.load(pickled, map_location="cpu", weights_only=True)
        else:
            state = None
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise CheckpointError(f"{safe if safe.is_file() else pickled}: cannot be read: {first}") from error
    if state is None:
        raise CheckpointError(f"{folder}: no model.safetensors, so the {part.kind} part has no weights")
    try:
        part.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit the settings beside them: {error}"
        ) from error
    return part


def _mapping(facts: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = _need(facts, key, where)
    if not isinstance(value, Mapping):
        raise CheckpointError(f"{where}: {key!r} is a {type(value).__name__}, not an object")
    return value


def _need(facts: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in facts:
        raise CheckpointError(f"{where}: no {key!r}")
    return facts[key]
