"""The part of an encoder that worker processes hold: items to features, without any weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sightline.errors import InputError
from sightline.inputs.cache import fingerprint
from sightline.inputs.collate import PaddingSide, collate, group_name, split_group
from sightline.inputs.processor import ItemProcessor
from sightline.inputs.roles import RoleProcessor
from sightline.modules.router import FUSED, RoutingTable
from sightline.types import Cost, Features, Item, MicroBatch, Part


@dataclass
class Preprocessor:
    """Prepares items for an encoder; picklable.

    Attributes:
        processors: one per route; under ``""`` that of a model whose routes part after the backbone, if at all.
        table: which route an item takes, or None without a router.
    """

    processors: Mapping[str, ItemProcessor | RoleProcessor]
    table: RoutingTable | None = None

    def __post_init__(self) -> None:
        # Each call of `encode` and each dataset has a preprocessor of its own, over the same processors.
        for processor in self.processors.values():
            processor.notices.begin()

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
        parts = self._parts(item, role)
        if len(parts) == 1:
            route = next(iter(parts.values()))
            return _routed(self._processor(route)(item, role=role, prompt=prompt), route)
        return self._fused(item, parts, role, prompt)

    def many(
        self, items: Sequence[Item], *, role: str | None = None, prompt: str | None = None
    ) -> list[Features]:
        """As one call per item, and quicker for texts."""
        if self.table is None:
            return self.processors[""].many(items, role=role, prompt=prompt)
        found: dict[int, Features] = {}
        texts = [number for number, item in enumerate(items) if item.modality == "text"]
        if len(texts) > 1:
            # Texts of one role share a route; a text is one modality, so it goes through one route only.
            (route,) = self._parts(items[texts[0]], role).values()
            made = self._processor(route).many([items[n] for n in texts], role=role, prompt=prompt)
            found = {number: _routed(one, route) for number, one in zip(texts, made, strict=True)}
        return [
            found.get(number) or self(item, role=role, prompt=prompt) for number, item in enumerate(items)
        ]

    @property
    def max_tokens(self) -> int | None:
        """Tokens a text is cut at by every route, or None where one has no limit."""
        limits = [one.max_tokens for one in self.processors.values() if one.tokenizer is not None]
        known = [limit for limit in limits if limit is not None]
        return max(known) if known and len(known) == len(limits) else None

    def fingerprint(self) -> str:
        """A hash of the settings that decide an item's features."""
        plain = {
            route: one.items if isinstance(one, RoleProcessor) else one
            for route, one in self.processors.items()
        }
        texts = {
            route: (one.texts, one.side)
            for route, one in self.processors.items()
            if isinstance(one, RoleProcessor)
        }
        return fingerprint(plain, self.table, *([texts] if texts else []))

    def _parts(self, item: Item, role: str | None) -> Mapping[str, str]:
        """Route per modality of an item; a single route of a whole item under its modality."""
        assert self.table is not None
        try:
            return self.table.parts(role, item.modality)
        except InputError as error:
            raise InputError(error.cause_text, source=item.source) from error

    def _processor(self, route: str) -> ItemProcessor | RoleProcessor:
        return self.processors.get(route) or self.processors[""]

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


@dataclass(frozen=True)
class Collator:
    """Pads the features of some items (all of one group) once, on the CPU; picklable, without weights.

    Attributes:
        pad_ids: pad token per route; that of a model without routes at its backbone under ``""``.
        sides: likewise the side that is padded.
        packed: groups whose texts the model runs without padding; what is padded here it takes out again.
    """

    pad_ids: Mapping[str, int]
    sides: Mapping[str, PaddingSide]
    packed: frozenset[str] = frozenset()

    def __call__(self, features: Sequence[Features], indices: Sequence[int]) -> MicroBatch:
        route, _ = split_group(features[0].group)
        # Features of fused items are named by modality, and each modality went through a route of its own.
        named = dict(part.split("=") for part in route.split(FUSED)) if "=" in route else {"": route}
        routes = {prefix: call.split(":")[0] for prefix, call in named.items()}
        micro_batch = collate(
            features,
            indices,
            pad_token_id={
                prefix: self.pad_ids.get(name, self.pad_ids.get("", 0)) for prefix, name in routes.items()
            },
            padding_side={
                prefix: self.sides.get(name, self.sides.get("", "right")) for prefix, name in routes.items()
            },
        )
        if micro_batch.cost.patches == 0 and features[0].group in self.packed:
            micro_batch.padded_tokens = micro_batch.cost.tokens
        return micro_batch
