"""One loss over the batches of all ranks, with the gradients that one process on all of it would get.

Every rank embeds its own items. Their vectors, cut off from the model, are gathered on every rank, where they are
the leaves of the loss. A loss that can (`RowLoss`) computes on each rank the terms of that rank's rows against the
documents of all ranks; summed over the ranks, the gradients at the leaves are those of the whole loss. Any other
loss is computed as a whole on every rank. Either way each rank sends the gradient at its own vectors into its own
graphs, and the sum over the ranks of the weights' gradients is exactly that of one process: no rank's rows weigh
more because its share of the batch is smaller.

An item that stands on several ranks (equal content, role and prompt) is one item of the whole batch, as in one
process: the first rank's vector stands for it, and the others get no gradient. Items and rows are numbered rank
after rank, which is the order one process meets them in.

Shape letters::

    N  distinct items of the whole batch     M  vectors of all ranks     m  vectors of this rank
    B  rows     C  columns     D  embedding dimension     T  tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sightline.losses.base import Loss, RowLoss
from sightline.losses.compose import loss_of
from sightline.training.distributed import Ranks
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class WholeBatch:
    """The batch of all ranks, as one of them sees it.

    Attributes:
        batch: every rank's rows over the N distinct items; without micro-batches.
        own_rows: which of the rows are this rank's.
        own: which of the M vectors are this rank's.
        first_N: which of the M vectors stands for each distinct item; None if they are the same.
    """

    batch: Batch
    own_rows: slice
    own: slice
    first_N: Tensor | None = None


def gather_batch(batch: Batch, ranks: Ranks) -> WholeBatch:
    """What all ranks are about to embed. A rank without rows gives a batch of none.

    Raises:
        LostRankError: a rank does not answer.
    """
    if ranks.size == 1:
        return WholeBatch(batch, slice(0, batch.num_rows), slice(0, batch.num_items))
    given = _Given.of(batch)
    all_given = ranks.exchange(given, "exchanging batches")
    columns = [one.columns_BC for one in all_given if len(one.columns_BC)] or [given.columns_BC]
    keys_M = np.concatenate([one.keys_M for one in all_given])
    number_M = np.arange(len(keys_M))
    first_N = None
    identities = [one.identities_M for one in all_given if len(one.keys_M)]
    if identities and all(known is not None for known in identities):
        number_M, first = _distinct(np.concatenate(identities))
        if len(first) < len(keys_M):
            first_N = first
    begins = np.cumsum([0, *(len(one.keys_M) for one in all_given)])
    width = max(one.shape[1] for one in columns)
    numbered = [
        _widened(np.where(one.columns_BC < 0, -1, number_M[one.columns_BC + begin]), width, -1)
        for one, begin in zip(all_given, begins, strict=False)
        if len(one.columns_BC)
    ]
    # Rows of lists may be longer on one rank than on the others.
    speaker = max(all_given, key=lambda one: one.columns_BC.shape[1] if len(one.columns_BC) else 0)
    rows_before = sum(len(one.columns_BC) for one in all_given[: ranks.rank])
    whole = Batch(
        micro_batches=(),
        keys_N=torch.from_numpy(keys_M if first_N is None else keys_M[first_N]),
        columns_BC=torch.from_numpy(np.concatenate(numbered or columns)),
        roles=speaker.roles,
        column_names=speaker.column_names,
        targets={name: _targets(name, all_given) for name in speaker.targets},
        rows=tuple(row for one in all_given for row in one.rows),
        dataset=speaker.dataset,
        guide_NG=_guide(all_given, first_N),
        layers=speaker.layers,
        projected=speaker.projected,
    )
    return WholeBatch(
        whole,
        own_rows=slice(rows_before, rows_before + batch.num_rows),
        own=slice(int(begins[ranks.rank]), int(begins[ranks.rank + 1])),
        first_N=None if first_N is None else torch.from_numpy(first_N),
    )


def loss_and_gradient(
    own: Embeddings | None,
    whole: WholeBatch,
    loss: Loss,
    *,
    scale: float | Tensor = 1.0,
    ranks: Ranks,
    device: torch.device,
) -> tuple[dict[str, Tensor], Tensor]:
    """The whole batch's loss, and its gradient at this rank's vectors.

    Args:
        own: this rank's m vectors in item order, cut off from the model; None on a rank without items.
        whole: of `gather_batch`.
        loss: computed in float32, or in float64 for vectors that are.
        scale: factor of the gradient, the same on every rank.
        ranks: who takes part.
        device: where the loss is computed.

    Returns:
        The parts, detached and the same on every rank; and the gradient (m, D) or (m, T, D).

    Raises:
        PeerError: another rank failed in it.
        LostRankError: a rank does not answer.
    """
    gathered = _gather_vectors(own, ranks, device)
    loss = loss_of(loss, whole.batch.dataset)
    by_rows = ranks.size > 1 and isinstance(loss, RowLoss) and loss.by_rows
    with ranks.together("computing the loss"):
        values, mask = gathered.values, gathered.mask
        if whole.first_N is not None:
            first_N = whole.first_N.to(device)
            values, mask = values[first_N], None if mask is None else mask[first_N]
        leaf = values.detach().requires_grad_()
        batch = on_device(whole.batch, device)
        if by_rows:
            batch = replace(batch, scored=whole.own_rows)
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            parts = loss(as_asked(leaf, mask, batch), batch)
            total = torch.stack(list(parts.values())).sum()
            if total.requires_grad:
                (total * scale).backward()
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        values_P = torch.stack([part.detach() for part in parts.values()])
    if by_rows:
        ranks.add([gradient, values_P], "adding the gradients of the loss")
    if whole.first_N is not None:
        spread = gradient.new_zeros(gathered.values.shape)
        spread[whole.first_N.to(device)] = gradient
        gradient = spread
    return dict(zip(parts, values_P.unbind(), strict=True)), gradient[whole.own]


def as_asked(values: Tensor, mask: Tensor | None, batch: Batch) -> Embeddings:
    """What a loss sees of an encoder's vectors: its own apart from those it was asked for besides.

    Args:
        values: (N, D), or (N, (1 + S) D + T) of a batch with S layers and a projection to T dimensions.
        mask: of token vectors.
        batch: what was asked for.
    """
    if not batch.layers and not batch.projected:
        return Embeddings(values, mask)
    dim = (values.shape[-1] - batch.projected) // (1 + len(batch.layers))
    return Embeddings(values[:, :dim], mask, beside=values[:, dim:])


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's indices, keys and targets on ``device``; its micro-batches stay where they are."""
    return replace(
        batch,
        keys_N=batch.keys_N.to(device),
        columns_BC=batch.columns_BC.to(device),
        targets={name: target.to(device) for name, target in batch.targets.items()},
        guide_NG=None if batch.guide_NG is None else batch.guide_NG.to(device),
    )


@dataclass(frozen=True)
class _Given:
    """What one rank tells the others of its batch. Arrays, because a tensor is sent with all of its storage."""

    keys_M: np.ndarray
    identities_M: Any
    columns_BC: np.ndarray
    roles: tuple[Any, ...]
    column_names: tuple[str, ...]
    targets: dict[str, np.ndarray]
    rows: tuple[int, ...]
    dataset: str
    guide_MG: np.ndarray | None
    layers: tuple[int, ...]
    projected: int

    @staticmethod
    def of(batch: Batch) -> _Given:
        identities = batch.identities_N
        return _Given(
            batch.keys_N.cpu().numpy(),
            None if identities is None else identities.cpu().numpy(),
            batch.columns_BC.cpu().numpy(),
            batch.roles,
            batch.column_names,
            {name: target.cpu().numpy() for name, target in batch.targets.items()},
            batch.rows,
            batch.dataset,
            None if batch.guide_NG is None else batch.guide_NG.cpu().numpy(),
            batch.layers,
            batch.projected,
        )


def _guide(all_given: list[_Given], first_N: np.ndarray | None) -> Tensor | None:
    """A guide's vectors of the whole batch; ranks without items have none."""
    vectors = [one.guide_MG for one in all_given if one.guide_MG is not None]
    if not vectors:
        return None
    guide_MG = torch.from_numpy(np.concatenate(vectors))
    return guide_MG if first_N is None else guide_MG[torch.from_numpy(first_N)]


def _targets(name: str, all_given: Sequence[_Given]) -> Tensor:
    """One target of all rows; lists are filled up with zeros."""
    found = [one.targets[name] for one in all_given if name in one.targets]
    if all(values.ndim == 2 for values in found):
        width = max(values.shape[1] for values in found)
        found = [_widened(values, width, 0) for values in found]
    return torch.from_numpy(np.concatenate(found))


def _widened(values: np.ndarray, width: int, fill: int) -> np.ndarray:
    """(rows, width) with ``fill`` at the end of each row."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)


def _distinct(identities_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of each one among the distinct ones, which are numbered as they come; and where each comes first."""
    _, first, inverse = np.unique(identities_M, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return number[inverse], first[order]


def _gather_vectors(own: Embeddings | None, ranks: Ranks, device: torch.device) -> Embeddings:
    """The vectors of all ranks, rank after rank, at the precision of the loss."""
    if ranks.size == 1:
        assert own is not None
        return Embeddings(_full(own.values), own.mask)
    mine = None
    if own is not None:
        mask_type = None if own.mask is None else own.mask.dtype
        mine = (tuple(own.values.shape), own.values.dtype, mask_type)
    told = ranks.exchange(mine, "exchanging sizes")
    _, dtype, mask_type = next(one for one in told if one is not None)
    width = next(one[0] for one in told if one is not None)[1:]
    shapes = [(0, *width) if one is None else one[0] for one in told]
    values = torch.zeros((0, *width), dtype=dtype, device=device) if own is None else own.values
    vectors = ranks.gather(values.detach(), shapes)
    if mask_type is None:
        return Embeddings(_full(torch.cat(vectors)))
    mask = torch.zeros((0, width[0]), device=device) if own is None or own.mask is None else own.mask
    masks = ranks.gather(mask.to(torch.uint8), [shape[:2] for shape in shapes])
    pieces = [Embeddings(one, seen.to(mask_type)) for one, seen in zip(vectors, masks, strict=True)]
    whole = Embeddings.concatenate(pieces)
    return Embeddings(_full(whole.values), whole.mask)


def _full(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
