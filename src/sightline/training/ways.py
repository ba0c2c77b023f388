"""How far what an item goes through is frozen: by which modules, and up to where no trained weight has a part.

An item goes through a chain of modules: the backbone, by the method for its modality, and the heads, along its route.
Where only some of a module's weights are trained, it is tried once, with a graph: what leaves none has no trained
weight behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightline.models.devices import computing_in
from sightline.models.encoder import Encoder
from sightline.modules.backbone import Backbone
from sightline.modules.heads import POOLED, Dense, Normalize
from sightline.modules.layer_pooling import WeightedLayerPooling
from sightline.modules.modes import evaluating
from sightline.modules.pooling import Pooling
from sightline.modules.router import Router
from sightline.modules.token_mask import TokenMask
from sightline.training.random_state import undisturbed
from sightline.types import MicroBatch


@dataclass(frozen=True)
class Way:
    """The modules that micro-batches of one kind go through.

    Attributes:
        frozen: the leading ones, in whose output no trained weight has a part; none where that would save nothing.
        rest: those behind them; none where the vector itself stays the same.
    """

    frozen: Sequence[nn.Module]
    rest: Sequence[nn.Module]

    def reads_tokens(self) -> bool:
        """Whether the rest reads the tokens' vectors, not only one per item."""
        return any(
            isinstance(part, (Pooling, TokenMask))
            or (isinstance(part, (Dense, Normalize)) and part.input_name != POOLED)
            for part in self.rest
        )

    def reads_layers(self) -> bool:
        """Whether the rest reads the tokens' vectors of every layer."""
        return any(isinstance(part, WeightedLayerPooling) for part in self.rest)


def way_of(
    encoder: Encoder, micro_batch: MicroBatch, autocast: torch.dtype | None, device: torch.device
) -> Way:
    """The way of a micro-batch; leaves no gradients, and random states and modes as they were.

    Args:
        encoder: the model.
        micro_batch: one of its kind.
        autocast: type the model computes in.
        device: the model's.
    """
    chain = _chain_of(encoder, micro_batch)
    way = _by_weights(chain)
    if way is None:
        with undisturbed(device), torch.enable_grad(), computing_in(device, autocast):
            way = _by_trial(chain, dict(micro_batch.to(device).features))
    # Modules without weights alone save nothing.
    works = any(True for part in way.frozen for _ in part.parameters())
    return way if works else Way((), chain)


def chains(encoder: Encoder) -> Iterator[list[nn.Module]]:
    """Every chain of modules that items may go through; one, but for routes."""
    routes = {name for part in encoder.parts if isinstance(part, Router) for name in part.routes()}
    for route in sorted(routes) or [""]:
        yield [
            inner
            for part in encoder.parts
            for inner in (part.routes().get(route, []) if isinstance(part, Router) else [part])
        ]


def is_trained(part: nn.Module) -> bool:
    """Whether any of its weights is."""
    return any(weight.requires_grad for weight in part.parameters())


def run(parts: Sequence[nn.Module], features: dict[str, Any]) -> dict[str, Any]:
    """What modules make of features in eval mode, without graph."""
    with torch.no_grad(), ExitStack() as modes:
        for part in parts:
            modes.enter_context(evaluating(part))
            features = part(features)
    return features


def _chain_of(encoder: Encoder, micro_batch: MicroBatch) -> list[nn.Module]:
    """The modules that a micro-batch goes through; a router of several routes at once counts as one."""
    if micro_batch.features.get("fused"):
        return list(encoder.parts)
    route = micro_batch.features.get("route") or ""
    return [
        inner
        for part in encoder.parts
        for inner in (part.routes()[route] if isinstance(part, Router) else [part])
    ]


def _by_weights(chain: Sequence[nn.Module]) -> Way | None:
    """The way, where each module is frozen or trained as a whole as far as that matters."""
    count = next((number for number, part in enumerate(chain) if is_trained(part)), len(chain))
    if count == len(chain) or all(weight.requires_grad for weight in chain[count].parameters()):
        return Way(chain[:count], chain[count:])
    return None


def _by_trial(chain: Sequence[nn.Module], features: dict[str, Any]) -> Way:
    for number, part in enumerate(chain):
        with _Calls(part) as calls, evaluating(part):
            features = part(features)
        if any(isinstance(value, Tensor) and value.requires_grad for value in features.values()):
            inside = calls.cut(features)
            if inside is None:
                return Way(chain[:number], chain[number:])
            before, projection = inside
            return Way([*chain[:number], before], [projection, *chain[number + 1 :]])
    return Way(chain, ())


class _Calls:
    """Notes what the trained modules right inside a dual encoder's backbone are given and give.

    Such a model is a tower, and a projection of what the tower has pooled: it is cut in between, where the tower is
    frozen and the projection trained.
    """

    def __init__(self, part: nn.Module) -> None:
        self._part = part
        self._seen: list[tuple[nn.Module, Tensor, Tensor]] = []
        self._hooks = ExitStack()

    def __enter__(self) -> _Calls:
        part = self._part
        if isinstance(part, Backbone) and part.table.writes == POOLED:
            for module in part.model.children():
                if is_trained(module):
                    self._hooks.callback(module.register_forward_hook(self._note).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _note(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor):
            self._seen.append((module, given[0], output))

    def cut(self, features: dict[str, Any]) -> tuple[nn.Module, nn.Module] | None:
        """The backbone up to its projection, and the projection; None where the vector is made otherwise."""
        if not self._seen or POOLED not in features:
            return None
        projection, pooled, projected = self._seen[-1]
        vectors = features[POOLED]
        # CLAP scales to unit length itself.
        unit = vectors is not projected
        if unit and not torch.equal(nn.functional.normalize(projected, dim=-1), vectors):
            return None
        if pooled.requires_grad or pooled.ndim != 2:
            return None
        return _UpToProjection(self._part, projection), _Projection(projection, unit=unit)


class _UpToProjection(nn.Module):
    """A dual encoder's backbone up to a tower's projection: writes what that is given."""

    def __init__(self, backbone: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        given: list[Tensor] = []
        hook = self.projection.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            features = self.backbone(features)
        finally:
            hook.remove()
        (features[POOLED],) = given
        return features


class _Projection(nn.Module):
    """The projection of a dual encoder's tower, as the last step of its backbone."""

    def __init__(self, projection: nn.Module, *, unit: bool) -> None:
        super().__init__()
        self.projection = projection
        self.unit = unit

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        vectors = self.projection(features[POOLED])
        features[POOLED] = nn.functional.normalize(vectors, dim=-1) if self.unit else vectors
        return features
