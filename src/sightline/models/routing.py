"""Composing one model out of several: a route per modality or per role, all into one space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from sightline.errors import CheckpointError, ConfigError
from sightline.models.anatomy import dimension_of, gives_tokens
from sightline.models.modalities import KINDS, singles
from sightline.modules.backbone import Backbone
from sightline.modules.base import Module
from sightline.modules.heads import POOLED, Dense, Normalize
from sightline.modules.router import RouteKey, Router, RoutingTable

ROLES = ("query", "document")


class Composable(Protocol):
    """An encoder, as far as composing goes."""

    parts: nn.ModuleList
    prompts: dict[str, str]
    default_prompt_name: str | None


def compose(
    routes: Mapping[str, Composable],
    *,
    mappings: Mapping[RouteKey, str] | None = None,
    default: str | None = None,
    fusion: Mapping[str, float] | None = None,
    dim: int | None = None,
) -> Router:
    """A router over whole models.

    Args:
        routes: name -> model; one that stands under several names is shared.
        mappings: (role or None, modality or None) -> route, None being any; a route that is named like a role or a
            modality needs none.
        default: route of everything else; by default ``document`` where routes are ``query`` and ``document``.
        fusion: weight per modality for items that mix modalities without a route of their own.
        dim: dimension all routes are to give; those of another get a trainable projection of random weights.

    Raises:
        ConfigError: routes that cannot be composed, reached or compared; says which.
    """
    if not routes:
        raise ConfigError("there are no routes to compose")
    chains = {name: [part for part in one.parts if isinstance(part, Module)] for name, one in routes.items()}
    for name, parts in chains.items():
        if not parts or not isinstance(parts[0], Backbone):
            raise ConfigError(
                f"route {name!r} starts with no backbone; give an encoder that has no routes itself"
            )
    kinds = {name: gives_tokens(parts) for name, parts in chains.items()}
    if len(set(kinds.values())) > 1:
        several = ", ".join(name for name, tokens in kinds.items() if tokens)
        raise ConfigError(
            f"the routes {several} give a vector per token and the others one per item, which cannot be compared"
        )
    table = RoutingTable(
        routes=tuple(routes),
        mappings={_key(key): route for key, route in (mappings or {}).items()},
        default=default or ("document" if set(routes) == set(ROLES) else None),
        fusion=dict(fusion) if fusion else None,
    )
    try:
        router = Router(_of_one_dimension(chains, dim), table)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    _check_reach(router)
    match_types([router])
    return router


def match_types(parts: Sequence[nn.Module]) -> None:
    """Gives heads the number type of the backbone in front of them."""
    first = parts[0]
    routes = first.routes().values() if isinstance(first, Router) else ()
    chains: list[Sequence[nn.Module]] = [list(parts), *routes]
    for chain in chains:
        kind = next(value.dtype for value in chain[0].parameters() if value.is_floating_point())
        for part in chain[1:]:
            part.to(kind)


def merged_prompts(
    routes: Mapping[str, Composable], *, given: Mapping[str, str] | None = None, default: str | None = None
) -> dict[str, Any]:
    """The prompts of all routes in one: the encoder's arguments ``prompts`` and ``default_prompt_name``.

    Args:
        routes: name -> model.
        given: prompts to take in their place.
        default: the default prompt's name to take in place of theirs.

    Raises:
        ConfigError: two routes have another text under one name, or of those with prompts some have another default.
    """
    found: dict[str, tuple[str, str]] = {}
    for route, model in routes.items():
        for name, text in model.prompts.items() if given is None else ():
            other, known = found.setdefault(name, (route, text))
            if known != text:
                raise ConfigError(
                    f"the routes {other!r} and {route!r} have different prompts {name!r}: {known!r} and {text!r}; a "
                    "model has one text for each name: give prompts="
                )
    prompts = {name: text for name, (_, text) in found.items()} if given is None else dict(given)
    # A default that is not among the prompts counts no more; a model without any has no say.
    own = {
        route: model.default_prompt_name if model.default_prompt_name in prompts else None
        for route, model in routes.items()
        if model.prompts
    }
    if default is None and len(set(own.values())) > 1:
        told = ", ".join(f"{route!r} {name!r}" for route, name in own.items())
        raise ConfigError(
            f"the routes use different prompts where none is named ({told}), and a model has one for all: give "
            "default_prompt_name="
        )
    return {"prompts": prompts, "default_prompt_name": default or next(iter(own.values()), None)}


def _key(key: RouteKey) -> RouteKey:
    if not isinstance(key, tuple) or len(key) != 2:
        raise ConfigError(f"mappings go from (role, modality) pairs to routes; {key!r} is no such pair")
    role, modality = key
    kinds = () if modality is None else (modality,) if isinstance(modality, str) else tuple(modality)
    for what, value, known in (
        ("role", role, (None, *ROLES)),
        *(("modality", kind, KINDS) for kind in kinds),
    ):
        if value not in known:
            names = ", ".join(str(name) for name in known)
            raise ConfigError(f"mappings: {value!r} in {key!r} is no {what}; known: {names}")
    return role, tuple(sorted(kinds)) if isinstance(modality, (tuple, list)) else modality


def _of_one_dimension(routes: Mapping[str, Sequence[Module]], dim: int | None) -> dict[str, list[Module]]:
    """The routes, those of another dimension with a projection behind."""
    dims = {name: dimension_of(parts) for name, parts in routes.items()}
    if dim is None and len(set(dims.values())) > 1:
        told = ", ".join(f"{name} {found}" for name, found in dims.items())
        raise ConfigError(
            f"the routes give vectors of different dimensions ({told}), which cannot be compared; dim="
            f"{max(dims.values())} puts a projection, to be trained, behind those that differ"
        )
    normalized = any(isinstance(parts[-1], Normalize) for parts in routes.values())
    made: dict[tuple[int, ...], list[Module]] = {}  # routes that share a model share its projection
    for name, parts in routes.items():
        chain = list(parts)
        if dim is not None and dims[name] != dim:
            chain = chain[:-1] if isinstance(parts[-1], Normalize) else chain
            reads = "token_embeddings" if gives_tokens(parts) else POOLED
            chain.append(Dense(dims[name], dim, activation=nn.Identity(), input_name=reads))
            if normalized:
                chain.append(Normalize(input_name=reads))
        made.setdefault(tuple(map(id, parts)), chain)
    return {name: made[tuple(map(id, parts))] for name, parts in routes.items()}


def _check_reach(router: Router) -> None:
    """Refuses a route that nothing takes, one that gets what it cannot read, and fusion of what has no route."""
    table, routes = router.table, router.routes()
    takes: dict[str, set[str]] = {
        name: singles(parts[0].modalities) for name, parts in routes.items() if isinstance(parts[0], Backbone)
    }
    for (_, modality), route in table.mappings.items():
        wanted = {modality} if isinstance(modality, str) else set(modality or ())
        if not wanted <= takes[route]:
            raise ConfigError(
                f"mappings send {' and '.join(sorted(wanted))} to route {route!r}, whose model reads "
                f"{', '.join(sorted(takes[route]))}"
            )
    for name in routes:
        if name in KINDS and name not in takes[name] and name not in table.mappings.values():
            raise ConfigError(
                f"route {name!r} is named like a modality that its model does not read; it reads "
                f"{', '.join(sorted(takes[name]))}"
            )
        known = {*table.mappings.values(), table.default, *ROLES, *KINDS}
        if name not in known:
            raise ConfigError(
                f"nothing takes route {name!r}: name it like a role ({', '.join(ROLES)}) or a modality, or say in "
                "mappings what goes there, such as {('query', 'text'): " + repr(name) + "}"
            )
    for modality, weight in (table.fusion or {}).items():
        if table.resolve(None, modality) is None and table.resolve("document", modality) is None:
            raise ConfigError(
                f"fusion weighs {modality!r}, which no route takes; routes: {', '.join(routes)}"
            )
        if weight <= 0:
            raise ConfigError(f"fusion: the weight of {modality!r} must be above 0, not {weight}")
