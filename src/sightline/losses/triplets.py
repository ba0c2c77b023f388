"""Triplet losses: of given triplets, and of those that the labels of a batch make.

Shape letters::

    B  rows of the batch     P  rows whose cells are there     D  embedding dimension
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from sightline.errors import ConfigError
from sightline.losses.columns import target, whole_rows
from sightline.losses.distances import Distance, all_distances, check_distance, pair_distances
from sightline.losses.needs import LabelRange, Needs
from sightline.types import Batch, Embeddings

Mining = Literal["hard", "semi-hard", "all"]


@dataclass(frozen=True)
class Triplet:
    """Each anchor is to be nearer to its positive than to its negative by a margin.

    ``mean(max(0, d(a, p) - d(a, n) + margin))`` over the first three columns (Schroff et al. 2015,
    arXiv:1503.03832). sentence-transformers' TripletLoss.

    Args:
        margin: above 0. Cosine distances lie between 0 and 2, so its default of 5 is for euclidean ones.
        distance: "euclidean", "cosine" (one minus the cosine) or "manhattan".
    """

    margin: float = 5.0
    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ConfigError(f"Triplet needs a margin above 0, not {self.margin}")
        check_distance(self.distance, type(self).__name__)

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        return (Needs(type(self).__name__, columns=3, compares="vectors"),)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"triplet": scalar}`` from (N, D) embeddings of anchor, positive and negative columns."""
        (anchors, positives, negatives), rows = whole_rows(
            embeddings, batch, loss=type(self).__name__, columns=3
        )
        near_P = pair_distances(anchors, positives, self.distance)
        far_P = pair_distances(anchors, negatives, self.distance)
        return {"triplet": relu(near_P - far_P + self.margin).sum() / max(len(rows), 1)}


@dataclass(frozen=True)
class BatchTriplet:
    """Triplets out of single items with class labels: items of one label are to be nearer than all others.

    Of the first column and a whole-number label per row (Hermans et al. 2017, arXiv:1703.07737). An anchor's
    triplets are

    - "hard": its furthest positive with its nearest negative; the mean over all anchors
      (sentence-transformers: BatchHardTripletLoss, with ``margin=None`` BatchHardSoftMarginTripletLoss),
    - "semi-hard": each positive with the nearest negative beyond it, or else the furthest one; the mean over all
      positive pairs (BatchSemiHardTripletLoss; Schroff et al. 2015, arXiv:1503.03832),
    - "all": every positive with every negative; the mean over the triplets that are above 0 (BatchAllTripletLoss).

    An anchor without a positive or negative in the batch counts with a distance of 0 to it, or of its furthest
    item, as in sentence-transformers. Use batches that hold several items of each label.

    Args:
        mining: which triplets.
        margin: above 0; None for ``log(1 + exp(d(a, p) - d(a, n)))`` with "hard".
        distance: "euclidean", "cosine" (one minus the cosine) or "manhattan".
    """

    mining: Mining = "hard"
    margin: float | None = 5.0
    distance: Distance = "euclidean"

    def __post_init__(self) -> None:
        if self.mining not in get_args(Mining):
            raise ConfigError(
                f"BatchTriplet knows the minings {', '.join(get_args(Mining))}, not {self.mining!r}"
            )
        if self.margin is None and self.mining != "hard":
            raise ConfigError("BatchTriplet without a margin needs mining='hard'")
        if self.margin is not None and not self.margin > 0:
            raise ConfigError(f"BatchTriplet needs a margin above 0, not {self.margin}")
        check_distance(self.distance, type(self).__name__)

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        labels = LabelRange(whole=True)
        return (Needs(type(self).__name__, target=(1,), compares="vectors", labels=labels, alone=None),)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"batch_triplet": scalar}`` from (N, D) embeddings and a label per row."""
        name = type(self).__name__
        (values_PD,), rows_P = whole_rows(embeddings, batch, loss=name, columns=1)
        labels_P = target(batch, loss=name).to(values_PD.device)[rows_P]
        distances_PP = all_distances(values_PD, self.distance)
        same_PP = labels_P[:, None] == labels_P[None, :]
        if self.mining == "hard":
            loss = _hard(distances_PP, same_PP, self.margin)
        elif self.mining == "semi-hard":
            loss = _semi_hard(distances_PP, same_PP, self.margin or 0.0)
        else:
            loss = _all(distances_PP, same_PP, self.margin or 0.0)
        return {"batch_triplet": loss}


def _others(same_PP: Tensor) -> Tensor:
    """(P, P) which items are positives of which: those of its label but itself."""
    return same_PP & ~torch.eye(len(same_PP), dtype=torch.bool, device=same_PP.device)


def _hard(distances_PP: Tensor, same_PP: Tensor, margin: float | None) -> Tensor:
    if not len(distances_PP):
        return distances_PP.sum()
    furthest_P = (distances_PP * _others(same_PP)).amax(1)
    largest_P1 = distances_PP.amax(1, keepdim=True)
    nearest_P = (distances_PP + largest_P1 * same_PP).amin(1)
    apart_P = furthest_P - nearest_P
    return softplus(apart_P).mean() if margin is None else relu(apart_P + margin).mean()


def _semi_hard(distances_PP: Tensor, same_PP: Tensor, margin: float) -> Tensor:
    positives_PP = _others(same_PP)
    if not positives_PP.any():
        return distances_PP.sum() * 0
    ascending_PP = distances_PP.masked_fill(same_PP, torch.inf).sort(stable=True, dim=1).values
    places_PP = torch.searchsorted(
        ascending_PP.detach().contiguous(), distances_PP.detach().contiguous(), right=True
    )
    beyond_PP = ascending_PP.gather(1, places_PP.clamp_max(len(distances_PP) - 1))
    lowest_P1 = distances_PP.amin(1, keepdim=True)
    furthest_P1 = ((distances_PP - lowest_P1) * ~same_PP).amax(1, keepdim=True) + lowest_P1
    negatives_PP = torch.where(torch.isfinite(beyond_PP), beyond_PP, furthest_P1)
    return relu(distances_PP - negatives_PP + margin)[positives_PP].sum() / positives_PP.sum()


def _all(distances_PP: Tensor, same_PP: Tensor, margin: float) -> Tensor:
    # One row per (anchor, positive) against all negatives: as many numbers as there are candidate triplets.
    anchors, positives = _others(same_PP).nonzero(as_tuple=True)
    apart = distances_PP[anchors, positives, None] - distances_PP[anchors] + margin
    violations = relu(apart) * ~same_PP[anchors]
    # Below this a triplet counts as satisfied, as in sentence-transformers.
    return violations.sum() / (violations > 1e-16).sum().clamp_min(1)
