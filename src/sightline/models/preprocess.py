"""The part of an encoder that worker processes hold: items to features, without any weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sightline.errors import InputError
from sightline.inputs.collate import group_name, split_group
from sightline.inputs.processor import ItemProcessor
from sightline.modules.router import FUSED, RoutingTable
from sightline.types import Cost, Features, Item, Part


@dataclass
class Preprocessor:
    """Prepares items for an encoder; picklable.

    Attributes:
        processors: one per route; the single one of a model without a router under ``""``.
        table: which route an item takes, or None without a router.
    """

    processors: Mapping[str, ItemProcessor]
    table: RoutingTable | None = None

    def __call__(self, item: Item, *, role: str | None = None, prompt: str | None = None) -> Features:
        """Unpadded features of one item.

        Args:
            item: what to embed.
            role: ``query`` or ``document``, for routers that tell them apart.
            prompt: text put in front.

        Raises:
            InputError: the model does not take such an item; names its source.
            MediaError: a part of it cannot be opened.
        """
        if self.table is None:
            return self.processors[""](item, role=role, prompt=prompt)
        try:
            parts = self.table.parts(role, item.modality)
        except InputError as error:
            raise InputError(error.cause_text, source=item.source) from error
        if len(parts) == 1:
            route = next(iter(parts.values()))
            return _routed(self.processors[route](item, role=role, prompt=prompt), route)
        return self._fused(item, parts, role, prompt)

    def _fused(self, item: Item, parts: Mapping[str, str], role: str | None, prompt: str | None) -> Features:
        values: dict[str, Tensor] = {}
        calls = []
        cost = Cost(0, 0)
        prompt_length = 0
        for modality, route in parts.items():
            own: tuple[Part, ...] = tuple(part for part in item.parts if part.modality == modality)
            alone = Item(parts=own, key=item.key, source=item.source)
            features = self.processors[route](alone, role=role, prompt=prompt if modality == "text" else None)
            values |= {f"{modality}/{name}": value for name, value in features.values.items()}
            calls.append(f"{modality}={route}:{split_group(features.group)[1]}")
            cost = cost + features.cost
            prompt_length = max(prompt_length, features.prompt_length)
        name = FUSED.join(parts)
        return Features(values, group_name(FUSED.join(calls), name), cost, name, prompt_length)


def _routed(features: Features, route: str) -> Features:
    _, call = split_group(features.group)
    return Features(
        features.values, group_name(route, call), features.cost, features.modality, features.prompt_length
    )
