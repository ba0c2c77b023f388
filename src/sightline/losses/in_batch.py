"""The contrastive loss of rerankers: a query's right document against its own and other queries' wrong ones.

Shape letters::

    B  rows (queries)     C  columns: positive, negatives, in-batch negatives     P  rows with a positive
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses.needs import Needs
from sightline.losses.pair_scores import Activation, PairLoss, activated, check_activation, pair_scores
from sightline.losses.similarity import check_temperature
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class InBatchRanking(PairLoss):
    """Cross-entropy of each query's positive among all documents it was paired with.

    ``-log(exp(f(s_0) / t) / sum_c exp(f(s_c) / t))``, averaged over queries. The first document of a row is its
    positive, further ones are hard negatives; the Trainer pairs each query with documents of other rows of the batch
    besides, drawn by a seed, none of which stands in the query's own row or answers an equal query.
    sentence-transformers' MultipleNegativesRankingLoss for rerankers, and its cached twin, with
    ``scale = 1 / temperature``.

    Args:
        negatives: documents of other rows per query; None for all of the batch, 0 for hard negatives alone.
        temperature: t, above 0.
        activation: f.

    Raises:
        ConfigError: an argument is out of range; when called, there is nothing to compare a positive with.
    """

    negatives: int | None = 4
    temperature: float = 0.1
    activation: Activation = "sigmoid"

    def __post_init__(self) -> None:
        if self.negatives is not None and self.negatives < 0:
            raise ConfigError(
                f"InBatchRanking needs a number of negatives from 0 up, or None, not {self.negatives}"
            )
        check_temperature(self.temperature, type(self).__name__)
        check_activation(self.activation, type(self).__name__)

    @property
    def in_batch_negatives(self) -> int | None:
        return self.negatives

    @property
    def needs_labels(self) -> bool:
        return False

    @property
    def needs(self) -> tuple[Needs, ...]:
        documents = 2 if self.negatives == 0 else 1
        return (Needs(type(self).__name__, compares="pairs", documents=documents, alone=3),)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"in_batch_ranking": scalar}`` from (N, 1) scores."""
        scores_BC, present_BC = pair_scores(embeddings, batch, loss=type(self).__name__)
        if self.negatives == 0 and scores_BC.shape[1] < 2:
            raise ConfigError(
                "InBatchRanking has nothing to compare the positives with: rows have no negatives of their own, and "
                "negatives=0 takes none of other rows"
            )
        rows_P = present_BC[:, 0].nonzero().squeeze(1)
        scaled_PC = activated(scores_BC[rows_P], self.activation) / self.temperature
        logs_PC = scaled_PC.masked_fill(~present_BC[rows_P], -torch.inf).log_softmax(1)
        return {"in_batch_ranking": -logs_PC[:, 0].sum() / max(len(rows_P), 1)}
