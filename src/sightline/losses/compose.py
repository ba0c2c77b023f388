"""Losses built from losses.

Shape letters::

    N  distinct items of the batch     D  embedding dimension     K  dims
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses.base import Loss, RowLoss, ScoreLoss
from sightline.losses.blockwise import prefix_parts
from sightline.losses.columns import single_vectors
from sightline.losses.needs import Needs, needs_of
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

    @property
    def needs(self) -> tuple[Needs, ...]:
        """Those of the inner loss, and vectors as long as the longest prefix."""
        return (Needs(type(self).__name__, dims=max(self.dims)), *needs_of(self.loss))

    @property
    def by_rows(self) -> bool:
        """Several ranks share the rows if the inner loss lets them (see `RowLoss`)."""
        return isinstance(self.loss, RowLoss) and self.loss.by_rows

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """The inner loss's parts, one of each per dim, times the dim's weight: ``{"infonce_dim64": ...}``."""
        largest = max(self.dims)
        if largest > embeddings.dim:
            raise ConfigError(
                f"Matryoshka cannot cut to {largest} dimensions: the model's embeddings have "
                f"{embeddings.dim}; take out the larger dims"
            )
        weights = self.weights or ()
        # The prefixes of token vectors have best matches of their own, so they are compared one by one.
        if isinstance(self.loss, ScoreLoss) and embeddings.mask is None:
            parts = prefix_parts(
                single_vectors(embeddings),
                self.loss.plan(batch),
                self.dims,
                similarity="cosine",
                weights=weights,
            )
            return {
                f"{name}_dim{dim}": part_K[number]
                for number, dim in enumerate(self.dims)
                for name, part_K in parts.items()
            }
        return {
            f"{name}_dim{dim}": weight * part
            for dim, weight in zip(self.dims, weights, strict=True)
            for name, part in self.loss(embeddings.truncate(dim, normalize=True), batch).items()
        }


@dataclass(frozen=True)
class Sum:
    """Several losses on the same batch, added up.

    Args:
        losses: any losses; their parts must have different names.
        weights: one factor per loss, 1 each by default.

    Raises:
        ConfigError: no losses, weights that do not match; when called, two parts of one name.
    """

    losses: Sequence[Loss]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.losses:
            raise ConfigError("Sum needs at least one loss")
        weights = [1.0] * len(self.losses) if self.weights is None else list(self.weights)
        if len(weights) != len(self.losses):
            raise ConfigError(f"Sum has {len(self.losses)} losses but {len(weights)} weights; give one each")
        object.__setattr__(self, "losses", tuple(self.losses))
        object.__setattr__(self, "weights", tuple(float(weight) for weight in weights))

    @property
    def needs(self) -> tuple[Needs, ...]:
        """Those of all losses."""
        return needs_of(*self.losses)

    @property
    def by_rows(self) -> bool:
        """Several ranks share the rows if all of the losses let them (see `RowLoss`)."""
        return all(isinstance(loss, RowLoss) and loss.by_rows for loss in self.losses)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """The parts of all losses, each times its loss's weight."""
        parts: dict[str, Tensor] = {}
        for loss, weight in zip(self.losses, self.weights or (), strict=True):
            for name, part in loss(embeddings, batch).items():
                if name in parts:
                    raise ConfigError(f"two losses of the Sum have a part {name!r}; use one of them")
                parts[name] = weight * part
        return parts


@dataclass(frozen=True)
class ByDataset:
    """Another loss for the batches of each dataset; a batch holds rows of one.

    Args:
        losses: loss by the name of its dataset.

    Raises:
        ConfigError: when called, for a dataset that has none.
    """

    losses: Mapping[str, Loss]

    @property
    def by_rows(self) -> bool:
        """See `RowLoss`; several ranks ask the loss of the batch's dataset itself."""
        return all(isinstance(loss, RowLoss) and loss.by_rows for loss in self.losses.values())

    def of(self, dataset: str) -> Loss:
        """The loss of one dataset."""
        if dataset not in self.losses:
            known = ", ".join(map(repr, self.losses))
            raise ConfigError(f"there is a loss for the datasets {known}, but none for {dataset!r}")
        return self.losses[dataset]

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """The parts of the loss of the batch's dataset."""
        return self.of(batch.dataset)(embeddings, batch)


def loss_of(loss: Loss, dataset: str) -> Loss:
    """What is minimised for the batches of one dataset."""
    return loss.of(dataset) if isinstance(loss, ByDataset) else loss
