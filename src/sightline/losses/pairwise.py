"""Losses over pairs with a label or a score: the first two columns of each row, and one target column.

Shape letters::

    B  rows of the batch     P  rows whose two cells are there     D  embedding dimension
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, relu

from sightline.errors import ConfigError
from sightline.losses.columns import target, whole_rows
from sightline.losses.distances import Distance, check_distance, pair_distances
from sightline.losses.needs import LabelRange, Needs
from sightline.losses.similarity import check_temperature
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class _Pairs:
    """What losses over two columns and a target need."""

    _labels: ClassVar[LabelRange | None] = None
    _alone: ClassVar[int | None] = 2

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        name = type(self).__name__
        return (
            Needs(name, columns=2, target=(1,), compares="vectors", labels=self._labels, alone=self._alone),
        )


@dataclass(frozen=True)
class _Margin(_Pairs):
    """Arguments of the contrastive losses."""

    _labels = LabelRange(0, 1, otherwise="1 says that the two belong together, 0 that they do not")

    margin: float = 0.5
    distance: Distance = "cosine"

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ConfigError(f"{type(self).__name__} needs a margin above 0, not {self.margin}")
        check_distance(self.distance, type(self).__name__)


@dataclass(frozen=True)
class _Temperature(_Pairs):
    """The argument of the losses that rank pairs."""

    _alone = None

    temperature: float = 0.05

    def __post_init__(self) -> None:
        check_temperature(self.temperature, type(self).__name__)


@dataclass(frozen=True)
class CosineSimilarity(_Pairs):
    """Mean squared difference between the cosine of a pair and its score.

    ``mean((cos(a, b) - score)^2)``; sentence-transformers' CosineSimilarityLoss with its default MSELoss. Scores lie
    between -1 and 1, as cosines do.
    """

    _labels = LabelRange(-1, 1, otherwise="divide scores of a larger scale by its top; CoSENT takes any")

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"cosine_similarity": scalar}`` from (N, D) embeddings and a score per row."""
        left_PD, right_PD, scores_P = _pairs(embeddings, batch, type(self).__name__)
        squared_P = (cosine_similarity(left_PD, right_PD) - scores_P).square()
        return {"cosine_similarity": _mean(squared_P)}


@dataclass(frozen=True)
class Contrastive(_Margin):
    """Pulls pairs labelled 1 together and pushes pairs labelled 0 apart up to a margin.

    ``mean((y d^2 + (1 - y) max(0, margin - d)^2) / 2)`` over pairs at distance d (Hadsell et al. 2006). Labels
    between 0 and 1 weigh both terms. sentence-transformers' ContrastiveLoss.

    Args:
        margin: distance at which unequal pairs are let be; above 0.
        distance: "cosine" (one minus the cosine), "euclidean" or "manhattan".
    """

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"contrastive": scalar}`` from (N, D) embeddings and a label per row."""
        left_PD, right_PD, labels_P = _pairs(embeddings, batch, type(self).__name__)
        distances_P = pair_distances(left_PD, right_PD, self.distance)
        near_P = labels_P * distances_P.square()
        far_P = (1 - labels_P) * relu(self.margin - distances_P).square()
        return {"contrastive": _mean((near_P + far_P) / 2)}


@dataclass(frozen=True)
class OnlineContrastive(_Margin):
    """`Contrastive` over the hard pairs of the batch alone, summed.

    Hard are pairs labelled 1 that are further apart than the nearest pair labelled 0, and pairs labelled 0 that
    are nearer than the furthest pair labelled 1; where there is no pair of the other label, those beyond the mean
    of their own. sentence-transformers' OnlineContrastiveLoss. Pairs with any other label are left out.

    Args:
        margin: distance at which unequal pairs are let be; above 0.
        distance: "cosine" (one minus the cosine), "euclidean" or "manhattan".
    """

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"online_contrastive": scalar}`` from (N, D) embeddings and a label per row."""
        left_PD, right_PD, labels_P = _pairs(embeddings, batch, type(self).__name__)
        distances_P = pair_distances(left_PD, right_PD, self.distance)
        equal, unequal = distances_P[labels_P == 1], distances_P[labels_P == 0]
        hard_unequal = unequal[unequal < (equal.max() if len(equal) else unequal.mean())]
        hard_equal = equal[equal > (unequal.min() if len(unequal) else equal.mean())]
        return {
            "online_contrastive": hard_equal.square().sum() + relu(self.margin - hard_unequal).square().sum()
        }


@dataclass(frozen=True)
class CoSENT(_Temperature):
    """Ranks the cosines of pairs as their scores are ranked.

    ``log(1 + sum exp((cos_i - cos_j) / t))`` over all i, j of the batch where pair j has the higher score (Huang et
    al. 2024, doi:10.1109/TASLP.2024.3402087). Only the order of the scores matters. sentence-transformers'
    CoSENTLoss with ``scale = 1 / temperature``. Memory grows with the batch, not with its square.

    Args:
        temperature: divides the cosines; above 0.
    """

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"cosent": scalar}`` from (N, D) embeddings and a score per row."""
        left_PD, right_PD, labels_P = _pairs(embeddings, batch, type(self).__name__)
        return {"cosent": _ranked(cosine_similarity(left_PD, right_PD) / self.temperature, labels_P)}


@dataclass(frozen=True)
class AnglE(_Temperature):
    """`CoSENT` with the angle between two vectors, read as complex ones, instead of their cosine.

    The halves of a vector are real and imaginary parts; a pair's similarity is the absolute value of the sum over
    the parts of their quotient, brought to unit length (Li and Li 2024, arXiv:2309.12871). Unlike the cosine it
    does not flatten out where vectors almost agree. sentence-transformers' AnglELoss with
    ``scale = 1 / temperature``.

    Args:
        temperature: divides the similarities; above 0.
    """

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"angle": scalar}`` from (N, D) embeddings, D even, and a score per row."""
        if embeddings.dim % 2:
            raise ConfigError(f"AnglE needs an even number of dimensions, not {embeddings.dim}")
        left_PD, right_PD, labels_P = _pairs(embeddings, batch, type(self).__name__)
        return {"angle": _ranked(angle_similarity(left_PD, right_PD) / self.temperature, labels_P)}


def angle_similarity(left_PD: Tensor, right_PD: Tensor) -> Tensor:
    """(P,) ``|sum(re + im)|`` of the unit-length quotient of two vectors read as complex ones; see `AnglE`.

    The real parts add up to the cosine, the imaginary ones to the cosine with one vector turned by a right angle.
    """
    left_PD, right_PD = normalize(left_PD, dim=1), normalize(right_PD, dim=1)
    left_re, left_im = left_PD.chunk(2, dim=1)
    right_re, right_im = right_PD.chunk(2, dim=1)
    return ((left_PD * right_PD).sum(1) + (left_im * right_re - left_re * right_im).sum(1)).abs()


def _ranked(similarities_P: Tensor, labels_P: Tensor) -> Tensor:
    """``log(1 + sum exp(s_i - s_j))`` over all i, j with ``labels_i < labels_j``."""
    labels_P, order_P = labels_P.sort()
    similarities_P = similarities_P[order_P]
    # For each pair the sum over all pairs of a higher label is the sum over a suffix.
    suffix_P = torch.logcumsumexp(-similarities_P.flip(0), 0).flip(0)
    suffix_P = torch.cat((suffix_P, suffix_P.new_full((1,), -torch.inf)))
    higher_P = torch.searchsorted(labels_P, labels_P, right=True)
    terms = similarities_P + suffix_P[higher_P]
    return torch.logsumexp(torch.cat((terms.new_zeros(1), terms)), 0)


def _pairs(embeddings: Embeddings, batch: Batch, loss: str) -> tuple[Tensor, Tensor, Tensor]:
    """Left and right vectors (P, D) and targets (P,)."""
    (left_PD, right_PD), rows_P = whole_rows(embeddings, batch, loss=loss, columns=2)
    return left_PD, right_PD, target(batch, loss=loss).to(left_PD)[rows_P]


def _mean(values_P: Tensor) -> Tensor:
    """0, with a graph, where there is nothing to take the mean of."""
    return values_P.sum() / max(len(values_P), 1)
