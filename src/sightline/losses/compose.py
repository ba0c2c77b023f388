"""Losses built from losses.

Shape letters::

    N  distinct items of the batch     D  embedding dimension     L, R  sides of a score matrix
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses.base import Loss, ScoreLoss
from sightline.losses.contrastive import single_vectors
from sightline.losses.similarity import prefix_cosines
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class Matryoshka:
    """A loss applied to prefixes of the vectors, so that vectors can be cut short after training.

    ``sum_d weight_d * loss(normalize(values[:, :d]))`` (Kusupati et al. 2022, arXiv:2205.13147). Every
    prefix is brought to unit length, the full one too, as sentence-transformers' MatryoshkaLoss does: that is
    how cut vectors are compared when searching. A `ScoreLoss` gets the cosines of all prefixes from one pass
    over the dimensions; any other loss is called once per prefix.

    Args:
        loss: any loss.
        dims: prefix lengths, e.g. ``(1024, 512, 256, 128, 64)``; include the model's own dimension to keep
            it good.
        weights: one factor per dim, 1 each by default.

    Raises:
        ConfigError: no dims, a dim that is repeated or below 1, weights that do not match or are negative;
            when called, a dim above the embedding dimension.
    """

    loss: Loss
    dims: Sequence[int]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.dims:
            raise ConfigError("Matryoshka needs at least one dimension in dims")
        if any(dim != int(dim) or dim < 1 for dim in self.dims):
            raise ConfigError(f"Matryoshka dims must be whole numbers above 0, not {list(self.dims)}")
        if len(set(self.dims)) < len(self.dims):
            raise ConfigError(f"Matryoshka dims must differ from each other: {list(self.dims)}")
        weights = [1.0] * len(self.dims) if self.weights is None else self.weights
        if len(weights) != len(self.dims):
            raise ConfigError(
                f"Matryoshka has {len(self.dims)} dims but {len(weights)} weights; give one per dim"
            )
        if any(weight < 0 for weight in weights):
            raise ConfigError(f"Matryoshka weights must not be negative: {list(weights)}")
        object.__setattr__(self, "dims", tuple(int(dim) for dim in self.dims))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in weights))

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """The inner loss's parts, one of each per dim, times the dim's weight: ``{"infonce_dim64": ...}``."""
        largest = max(self.dims)
        if largest > embeddings.dim:
            raise ConfigError(
                f"Matryoshka cannot cut to {largest} dimensions: the model's embeddings have "
                f"{embeddings.dim}; take out the larger dims"
            )
        by_dim = dict(self._parts_by_dim(embeddings, batch))
        weights = self.weights or ()
        return {
            f"{name}_dim{dim}": weight * part
            for dim, weight in zip(self.dims, weights, strict=True)
            for name, part in by_dim[dim].items()
        }

    def _parts_by_dim(self, embeddings: Embeddings, batch: Batch) -> Iterator[tuple[int, dict[str, Tensor]]]:
        if isinstance(self.loss, ScoreLoss):
            plan = self.loss.plan(batch)
            values_ND = single_vectors(embeddings)
            for dim, scores_LR in prefix_cosines(values_ND[plan.left], values_ND[plan.right], self.dims):
                yield dim, plan.parts(scores_LR)
        else:
            for dim in self.dims:
                yield dim, self.loss(embeddings.truncate(dim, normalize=True), batch)
