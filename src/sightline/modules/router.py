"""Composition: one model out of several, chosen per item by role and modality.

Mixed items (a page as image and text) either have a route of their own or are *fused*: each part goes
through its own route and the unit vectors are added with fixed weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import nn

from sightline.errors import CheckpointError, InputError
from sightline.modules.base import Module
from sightline.modules.heads import POOLED, unit

RouteKey = tuple[str | None, str | tuple[str, ...] | None]
FUSED = "+"


@dataclass(frozen=True)
class RoutingTable:
    """Which route an item takes; small and picklable, so that worker processes can hold it.

    Attributes:
        routes: names of the routes in order.
        mappings: (role or None, modality or None) -> route, None being a wildcard.
        default: route when nothing matches, or None.
        fusion: weight per modality for items that mix modalities without a route of their own.
    """

    routes: tuple[str, ...]
    mappings: Mapping[RouteKey, str] = field(default_factory=dict)
    default: str | None = None
    fusion: Mapping[str, float] | None = None

    def resolve(self, role: str | None, modality: str | tuple[str, ...]) -> str | None:
        """The route, in ST's order of precedence: (role, modality), (role, any), (any, modality), (any, any),
        a route named like the role, one named like the modality, the default."""
        for key in ((role, modality), (role, None), (None, modality), (None, None)):
            if key in self.mappings:
                return self.mappings[key]
        if role in self.routes:
            return role
        if isinstance(modality, str) and modality in self.routes:
            return modality
        return None if isinstance(modality, tuple) and self.fusion else self.default

    def parts(self, role: str | None, modality: str | tuple[str, ...]) -> dict[str, str]:
        """Modality -> route for an item: one entry, or one per modality when the item is fused.

        Raises:
            InputError: no route takes the item.
        """
        route = self.resolve(role, modality)
        if route is not None:
            return {FUSED.join([modality] if isinstance(modality, str) else modality): route}
        if isinstance(modality, tuple) and self.fusion and all(part in self.fusion for part in modality):
            return {part: self._single(role, part) for part in modality}
        raise InputError(
            f"no route takes {modality!r} items{f' as {role}' if role else ''}; routes: {', '.join(self.routes)}"
        )

    def _single(self, role: str | None, modality: str) -> str:
        route = self.resolve(role, modality)
        if route is None:
            raise InputError(f"no route takes {modality!r} items; routes: {', '.join(self.routes)}")
        return route


class Router(Module):
    """Runs each item through the route the table names.

    ``features["route"]`` names the route of the micro-batch (all its rows share it). For a fused one it is
    ``image=ROUTE:MODALITY+text=ROUTE:MODALITY``, and feature names carry their part: ``image/pixel_values``.

    Args:
        routes: name -> parts applied in order.
        table: which item takes which route.

    Raises:
        CheckpointError: a mapping to a route that does not exist, or a route's name that cannot be used.
    """

    kind: ClassVar[str] = "router"

    def __init__(self, routes: Mapping[str, Sequence[Module]], table: RoutingTable) -> None:
        super().__init__()
        reserved = "=:+" if table.fusion else "="
        for name in routes:
            if set(name) & set(reserved):
                raise CheckpointError(
                    f"a route cannot be named {name!r}: the characters {reserved} are reserved"
                )
        unknown = {*table.mappings.values(), *([table.default] if table.default else [])} - set(routes)
        if unknown:
            raise CheckpointError(f"the router has no route {min(unknown)!r}; routes: {', '.join(routes)}")
        # The attribute is named as in ST, so that weights keep their names.
        self.sub_modules = nn.ModuleDict({name: nn.Sequential(*parts) for name, parts in routes.items()})
        self.table = table

    def routes(self) -> dict[str, list[Module]]:
        """Route -> its parts in order."""
        return {
            name: [part for part in cast(nn.Sequential, parts) if isinstance(part, Module)]
            for name, parts in self.sub_modules.items()
        }

    @property
    def output_dim(self) -> int | None:
        for parts in self.routes().values():
            dims = [part.output_dim for part in parts if part.output_dim is not None]
            if dims:
                return dims[-1]
        return None

    def facts(self) -> dict[str, Any]:
        return {
            "default_route": self.table.default,
            # Without it, ST and we would take the first route as the default.
            "allow_empty_key": self.table.default is not None,
            "route_mappings": {str(key): route for key, route in self.table.mappings.items()},
        }

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        if not features.get("fused"):
            return self.sub_modules[features["route"]](features)
        fusion = self.table.fusion or {}
        vectors = []
        for part in features["route"].split(FUSED):
            modality, call = part.split("=")
            route, inner = call.split(":")
            own = {
                name[len(modality) + 1 :]: v
                for name, v in features.items()
                if name.startswith(modality + "/")
            }
            own["modality"] = inner
            if modality == "text" and "prompt_length" in features:
                own["prompt_length"] = features["prompt_length"]
            vectors.append(unit(self.sub_modules[route](own)[POOLED]) * fusion[modality])
        features[POOLED] = unit(torch.stack(vectors).sum(dim=0))
        return features
