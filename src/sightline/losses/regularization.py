"""Losses on how vectors spread, whatever they belong to; to be added to another loss.

Shape letters::

    B  rows of the batch     P  items of a column     D  embedding dimension
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from sightline.errors import ConfigError
from sightline.losses.columns import single_vectors
from sightline.losses.needs import Needs
from sightline.losses.similarity import at_least_float32
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class OrthogonalRegularization:
    """Global orthogonal regularisation: unrelated vectors are to be as if drawn evenly from the sphere.

    Per column, over all pairs of different rows, ``mean(cos)^2`` and ``max(0, mean(cos^2) - 1 / D)``; the means over
    the columns (Zhang et al. 2017, arXiv:1708.06320). sentence-transformers' GlobalOrthogonalRegularizationLoss.

    Args:
        mean_weight: of the first part; 0 leaves it out.
        second_moment_weight: of the second.
    """

    mean_weight: float = 1.0
    second_moment_weight: float = 1.0

    def __post_init__(self) -> None:
        weights = (self.mean_weight, self.second_moment_weight)
        if min(weights) < 0 or max(weights) == 0:
            raise ConfigError(
                f"OrthogonalRegularization needs weights of 0 or more, one of them above 0, not {weights}"
            )

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        return (Needs(type(self).__name__, compares="vectors"),)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"gor_mean": scalar, "gor_second_moment": scalar}`` from (N, D) embeddings."""
        values_ND = normalize(at_least_float32(single_vectors(embeddings)), dim=1)
        means, moments = [], []
        for column_B in batch.columns_BC.unbind(1):
            unit_PD = values_ND[column_B[column_B >= 0]]
            pairs = max(len(unit_PD) * (len(unit_PD) - 1), 1)
            # Sums over all pairs out of sums over the items: the (P, P) matrix is needed for neither.
            own = unit_PD.square().sum(1)
            means.append(((unit_PD.sum(0).square().sum() - own.sum()) / pairs).square())
            second = ((unit_PD.t() @ unit_PD).square().sum() - own.square().sum()) / pairs
            moments.append(relu(second - 1 / embeddings.dim))
        parts = {}
        if self.mean_weight:
            parts["gor_mean"] = self.mean_weight * torch.stack(means).mean()
        if self.second_moment_weight:
            parts["gor_second_moment"] = self.second_moment_weight * torch.stack(moments).mean()
        return parts
