"""What no trained weight has a part in: it runs in eval mode, without graph, and once per item.

As far as no trained weight has a part in what a model makes of an item (see `training.ways`), that stays the same for
the whole run. So it is kept by the item's content, role and prompt and by the weights it came from, and taken from
there in later epochs:

- of a tower that is frozen up to the vector (a route of a `Router`, or one side of a dual encoder), the vector;
- of a frozen backbone under trained heads, and of a dual encoder's tower under its trained projection, what these
  read: pooled hidden states, or those of each token.

For that to change nothing, what is frozen runs in eval mode: its dropout is off, as that of a teacher is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sightline.inputs.roles import EXPANSION
from sightline.models.anatomy import embeddings_of
from sightline.models.devices import computing_in
from sightline.models.encoder import Encoder
from sightline.modules.heads import POOLED
from sightline.training.kinds import kind_and_inputs
from sightline.training.random_state import undisturbed
from sightline.training.ways import Way, chains, is_trained, run, way_of
from sightline.training.weights import Replicated
from sightline.types import Batch, Embeddings, MicroBatch

# Vectors that are kept at most; beyond it items are embedded anew in each epoch.
LIMIT_BYTES = 2**30
FILE = "frozen_vectors.safetensors"
_TOKENS, _MASK = "token_embeddings", "attention_mask"


class FrozenVectors:
    """What the frozen beginnings of a model's ways give of items.

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
        self._encoder: Encoder | None = None
        self._trained: tuple[bool, ...] = ()
        self._ways: dict[str, Way] = {}
        self._prints: dict[str, tuple[tuple[tuple[int, int], ...], str]] = {}

    def rest(self, model: nn.Module) -> None:
        """Finds what is frozen now, and puts the modules that are so as a whole into eval mode."""
        inner = model.module if isinstance(model, Replicated) else model
        if not isinstance(inner, Encoder):
            self._encoder = None
            return
        trained = tuple(weight.requires_grad for weight in inner.parameters())
        if inner is not self._encoder or trained != self._trained:
            self._encoder, self._trained = inner, trained
            self._ways.clear()
            self._prints.clear()
        for chain in chains(inner):
            for part in takewhile(lambda part: not is_trained(part), chain):
                part.eval()

    def covers(self, micro_batch: MicroBatch, autocast: torch.dtype | None = None) -> bool:
        """Whether the vectors of a micro-batch are frozen as they are."""
        way = self._way(micro_batch, autocast)
        return bool(way.frozen) and not way.rest

    def begins(self, micro_batch: MicroBatch, autocast: torch.dtype | None = None) -> bool:
        """Whether the first modules that a micro-batch goes through are frozen."""
        return bool(self._way(micro_batch, autocast).frozen)

    def embed(self, batch: Batch, micro_batch: MicroBatch, autocast: torch.dtype | None = None) -> Embeddings:
        """The vectors of a micro-batch that `begins` is true of; the frozen part is computed where it is not known.

        Args:
            batch: where the micro-batch stands.
            micro_batch: of some of its items.
            autocast: type the model computes in.

        Returns:
            as of the model, with a graph of the modules that are trained unless gradients are off.
        """
        encoder, way = self._encoder, self._way(micro_batch, autocast)
        assert encoder is not None
        device = encoder.device
        moved = micro_batch.to(device, non_blocking=True)
        identities_n = None if batch.identities_N is None else batch.identities_N[micro_batch.indices]
        with computing_in(device, autocast):
            found = self._frozen_part(way, moved, identities_n, device)
            if not way.rest:
                return embeddings_of(found)
            return encoder.run(found, way.rest, moved)

    def _frozen_part(
        self, way: Way, moved: MicroBatch, identities_n: Tensor | None, device: torch.device
    ) -> dict[str, Any]:
        """The features behind the frozen modules."""
        if identities_n is None:
            return run(way.frozen, dict(moved.features))
        weights = self._fingerprint(way, kind_and_inputs(moved))
        keys = [(weights, int(identity)) for identity in identities_n]
        known = [self._vectors.get(key) for key in keys]
        found = [vector for vector in known if vector is not None]
        self.reused += len(found)
        if len(found) == len(keys):
            return _features_of(way, moved, found, device)
        features = run(way.frozen, dict(moved.features))
        rows = _rows(way, moved, features)
        if rows is None:
            return features
        for place, key in enumerate(keys):
            vector = known[place]
            if vector is None:
                self._keep(key, rows[place])
            else:
                # The one that was used before: in another micro-batch its last bits differ.
                rows[place] = vector
        return _features_of(way, moved, rows, device)

    def expected_bytes(
        self,
        model: nn.Module,
        typical: Sequence[MicroBatch],
        items: int | None,
        autocast: torch.dtype | None = None,
    ) -> int:
        """What will be kept of a run's items, as far as some of them tell.

        Args:
            model: on its device, in no wrapper.
            typical: items as they come, each alone in a micro-batch.
            items: how many the run has; None where nobody knows.
            autocast: type the model computes in.
        """
        self.rest(model)
        measured: dict[str, tuple[int, int]] = {}  # by kind: bytes of an item, and its rows
        total = 0.0
        for micro_batch in typical:
            way, name = self._way(micro_batch, autocast), kind_and_inputs(micro_batch)
            if self._encoder is None or not way.frozen:
                continue
            device, tokens = self._encoder.device, max(1, micro_batch.cost.tokens)
            if name not in measured:
                with undisturbed(device), computing_in(device, autocast):
                    moved = micro_batch.to(device)
                    rows = _rows(way, moved, run(way.frozen, dict(moved.features))) or [torch.zeros(0)]
                measured[name] = rows[0].nbytes, tokens if rows[0].ndim == 2 else 0
            size, of_tokens = measured[name]
            total += size * tokens / of_tokens if of_tokens else size
        if not total:
            return 0
        return self.limit if items is None else min(self.limit, round(total / len(typical) * items))

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

    def _way(self, micro_batch: MicroBatch, autocast: torch.dtype | None) -> Way:
        """How far what a micro-batch goes through is frozen; looked into once per kind."""
        if self._encoder is None or micro_batch.layers or micro_batch.projected:
            return Way((), ())
        name = kind_and_inputs(micro_batch)
        if name not in self._ways:
            self._ways[name] = way_of(self._encoder, micro_batch, autocast, self._encoder.device)
        return self._ways[name]

    def _fingerprint(self, way: Way, name: str) -> str:
        """Hash of the weights behind a way's frozen part, computed again when one may have changed."""
        tensors = [
            tensor
            for part in way.frozen
            for tensor in part.state_dict(keep_vars=True).values()
            if not tensor.requires_grad  # a dual encoder's other side is trained, and has no part in it
        ]
        marks = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
        if name not in self._prints or self._prints[name][0] != marks:
            digest = hashlib.blake2b(name.encode(), digest_size=8)
            for tensor in tensors:
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
            self._prints[name] = marks, digest.hexdigest()
        return self._prints[name][1]


def _rows(way: Way, moved: MicroBatch, features: dict[str, Any]) -> list[Tensor] | None:
    """(D,) per item, or (T, D) of its own tokens; None where they alone do not tell all that the rest reads."""
    if not way.rest:
        found = embeddings_of(features)
        return list(found.values) if found.mask is None else found.tokens()
    if way.reads_layers():
        return None
    if POOLED in features:
        return None if way.reads_tokens() else list(features[POOLED])
    mask: Tensor | None = moved.features.get(_MASK)
    tokens: Tensor = features[_TOKENS]
    # Tokens of a query's expansion have vectors though the mask leaves them out.
    if mask is None or mask.shape != tokens.shape[:2] or EXPANSION in features:
        return None
    if features[_MASK] is not moved.features[_MASK]:
        return None  # a part has made another one
    return Embeddings(tokens, mask.bool()).tokens()


def _features_of(way: Way, moved: MicroBatch, rows: Sequence[Tensor], device: torch.device) -> dict[str, Any]:
    """The features behind the frozen modules, out of what was kept of each item."""
    rows = [row.to(device, non_blocking=True) for row in rows]
    if rows[0].ndim == 1:
        return moved.features | {POOLED: torch.stack(rows)}
    if not way.rest:
        found = Embeddings.ragged(rows)
        return moved.features | {_TOKENS: found.values, _MASK: found.mask}
    mask_nT = moved.features[_MASK].bool()
    tokens_nTD = rows[0].new_zeros(*mask_nT.shape, rows[0].shape[1])
    tokens_nTD[mask_nT] = torch.cat(rows)
    return moved.features | {_TOKENS: tokens_nTD}
