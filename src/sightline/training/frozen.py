"""Towers without trainable weights: they run in eval mode, without graph, and once per item.

A tower is a route of a `Router` with everything behind it, from the features to the vector. If none of its weights
is trained, an item's vector stays the same for the whole run, so it is kept by the item's content, role and prompt
and by the weights it came from, and taken from there in later epochs. For that to change nothing, a frozen tower
runs in eval mode: its dropout is off, as that of a teacher is.

A route with a frozen backbone and a trainable head is no frozen tower: its backbone runs without graph, because
autograd records nothing for it, but anew in each epoch and in training mode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sightline.models.encoder import Encoder
from sightline.modules.router import FUSED, Router
from sightline.training.weights import Replicated
from sightline.types import Batch, Embeddings, MicroBatch

# Vectors that are kept at most; beyond it items are embedded anew in each epoch.
LIMIT_BYTES = 2**30
FILE = "frozen_vectors.safetensors"


class FrozenVectors:
    """Vectors of the items that frozen towers embed.

    Args:
        limit: bytes kept at most.

    Attributes:
        reused: how many vectors were not computed because they were known.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.limit = limit
        self.reused = 0
        self._vectors: dict[tuple[str, int], Tensor] = {}
        self._bytes = 0
        self._towers: dict[str, list[nn.Module]] = {}
        self._prints: dict[str, tuple[tuple[tuple[int, int], ...], str]] = {}

    def rest(self, model: nn.Module) -> None:
        """Finds the towers that are frozen now, and puts them into eval mode."""
        self._towers = {name: parts for name, parts in towers(model).items() if not is_trained(parts)}
        for parts in self._towers.values():
            for part in parts:
                part.eval()

    def covers(self, micro_batch: MicroBatch) -> bool:
        """Whether frozen towers alone embed the micro-batch."""
        names = routes_of(micro_batch)
        return bool(names) and names <= self._towers.keys()

    @torch.no_grad()
    def embed(
        self, batch: Batch, micro_batch: MicroBatch, forward: Callable[[MicroBatch], Embeddings]
    ) -> Embeddings:
        """The vectors of a micro-batch that `covers` is true of; those not known are computed and kept.

        Args:
            batch: where the micro-batch stands.
            micro_batch: of some of its items.
            forward: embeds it.
        """
        if batch.identities_N is None:
            return forward(micro_batch)
        weights = "+".join(self._fingerprint(name) for name in sorted(routes_of(micro_batch)))
        keys = [(weights, int(identity)) for identity in batch.identities_N[micro_batch.indices]]
        known = [self._vectors.get(key) for key in keys]
        device = next(
            p.device for parts in self._towers.values() for part in parts for p in part.parameters()
        )
        found = [vector for vector in known if vector is not None]
        self.reused += len(found)
        if len(found) == len(keys):
            return _stacked(found, device)
        rows = list(_rows(forward(micro_batch)))
        for place, key in enumerate(keys):
            vector = known[place]
            if vector is None:
                self._keep(key, rows[place])
            else:
                # The one that was used before: in another micro-batch its last bits differ.
                rows[place] = vector
        return _stacked(rows, device)

    def save(self, folder: Path) -> None:
        """Writes the vectors, so that a resumed run uses them to the last bit; nothing where there are none."""
        if self._vectors:
            tensors = {
                f"{weights}/{identity}": vector for (weights, identity), vector in self._vectors.items()
            }
            save_file(tensors, folder / FILE)

    def load(self, folder: Path) -> None:
        """Takes up what `save` wrote."""
        if (folder / FILE).exists():
            for name, vector in load_file(folder / FILE).items():
                weights, _, identity = name.rpartition("/")
                self._keep((weights, int(identity)), vector)

    def _keep(self, key: tuple[str, int], vector: Tensor) -> None:
        if key not in self._vectors and self._bytes + vector.nbytes <= self.limit:
            self._vectors[key] = vector.to("cpu", copy=True)
            self._bytes += vector.nbytes

    def _fingerprint(self, name: str) -> str:
        """Hash of a tower's weights, computed again when one may have changed."""
        tensors = [tensor for part in self._towers[name] for tensor in part.state_dict().values()]
        marks = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        if name not in self._prints or self._prints[name][0] != marks:
            digest = hashlib.blake2b(name.encode(), digest_size=8)
            for tensor in tensors:
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
            self._prints[name] = marks, digest.hexdigest()
        return self._prints[name][1]


def towers(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Route -> its modules and those behind the router; empty for a model without routes."""
    inner = model.module if isinstance(model, Replicated) else model
    if not isinstance(inner, Encoder) or not isinstance(inner.parts[0], Router):
        return {}
    return {name: [*parts, *inner.parts[1:]] for name, parts in inner.parts[0].routes().items()}


def is_trained(parts: Sequence[nn.Module]) -> bool:
    """Whether any weight is."""
    return any(weight.requires_grad for part in parts for weight in part.parameters())


def routes_of(micro_batch: MicroBatch) -> set[str]:
    """The routes a micro-batch goes through; several for fused items, none for a model without routes."""
    route = micro_batch.features.get("route") or ""
    if not micro_batch.features.get("fused"):
        return {route} if route else set()
    return {call.split("=")[1].split(":")[0] for call in route.split(FUSED)}


def _rows(embeddings: Embeddings) -> list[Tensor]:
    """(D,) per item, or (T, D) of its own tokens."""
    if embeddings.mask is None:
        return list(embeddings.values)
    return [values[mask] for values, mask in zip(embeddings.values, embeddings.mask, strict=True)]


def _stacked(rows: Sequence[Tensor], device: torch.device) -> Embeddings:
    rows = [row.to(device) for row in rows]
    if rows[0].ndim == 1:
        return Embeddings(torch.stack(rows))
    masks = [row.new_ones(1, len(row), dtype=torch.bool) for row in rows]
    return Embeddings.concatenate(
        [Embeddings(row.unsqueeze(0), mask) for row, mask in zip(rows, masks, strict=True)]
    )
