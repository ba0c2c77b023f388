"""Contrastive losses over the distinct items of a batch.

Shape letters::

    B  rows of the batch      C  columns          Q  rows that have an anchor and a positive
    A  distinct anchors       M  distinct documents (positives and hard negatives of all rows)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses import masks
from sightline.losses.base import ScorePlan
from sightline.losses.similarity import SIMILARITIES, Similarity, score_matrix
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class InfoNCE:
    """Cross-entropy of each anchor's positive against every other document of the batch.

    ``-log(exp(s(a, p) / t) / sum_d exp(s(a, d) / t))``, averaged over rows, where d runs over the distinct
    documents of all rows, positives and hard negatives (van den Oord et al. 2018, arXiv:1807.03748). This is
    sentence-transformers' MultipleNegativesRankingLoss with ``scale = 1 / temperature``, with two differences
    that only show when contents repeat: a document that occurs twice counts once, and contents that answer
    the same anchor are not each other's negatives (see `masks.allowed_candidates`).

    Columns: the first is the anchor, the second its positive, all others hard negatives. Absent cells (-1)
    are ignored; a row without anchor or positive adds no term, but its other documents stay negatives.

    Args:
        temperature: divides the similarities; above 0.
        symmetric: also score each positive against all distinct anchors, and take the mean of both
            directions (sentence-transformers: ``directions=("query_to_doc", "doc_to_query")`` with
            ``partition_mode="per_direction"``).
        similarity: "cosine", or "dot" for vectors whose length carries meaning.

    Raises:
        ConfigError: an argument is out of range, or (when called) the batch has only one column.
    """

    temperature: float = 0.05
    symmetric: bool = False
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"InfoNCE needs a temperature above 0, not {self.temperature}")
        if self.similarity not in SIMILARITIES:
            raise ConfigError(
                f"InfoNCE knows the similarities {', '.join(SIMILARITIES)}, not {self.similarity!r}"
            )

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"infonce": scalar}`` from (N, D) embeddings."""
        plan = self.plan(batch)
        values_ND = single_vectors(embeddings)
        scores_AM = score_matrix(values_ND[plan.left], values_ND[plan.right], self.similarity)
        return plan.parts(scores_AM)

    def plan(self, batch: Batch) -> ScorePlan:
        """Distinct anchors against distinct documents."""
        columns_BC = batch.columns_BC
        if columns_BC.shape[1] < 2:
            raise ConfigError(
                "InfoNCE needs an anchor column and at least one document column, but the batch has only "
                f"{', '.join(batch.column_names) or 'one column'}"
            )
        complete_B = (columns_BC[:, 0] >= 0) & (columns_BC[:, 1] >= 0)
        anchor_Q, positive_Q = columns_BC[complete_B, 0], columns_BC[complete_B, 1]
        anchor_A, document_M = masks.distinct(anchor_Q), masks.distinct(columns_BC[:, 1:])
        row_Q, target_Q = masks.positions(anchor_Q, anchor_A), masks.positions(positive_Q, document_M)
        allowed_QM = masks.allowed_candidates(anchor_Q, positive_Q, document_M, batch.keys_N)
        back_QA = (
            masks.allowed_candidates(positive_Q, anchor_Q, anchor_A, batch.keys_N) if self.symmetric else None
        )

        def parts(scores_AM: Tensor) -> dict[str, Tensor]:
            logits_AM = scores_AM / self.temperature
            losses_Q = cross_entropy(logits_AM[row_Q], target_Q, allowed_QM)
            if back_QA is not None:
                losses_Q = (losses_Q + cross_entropy(logits_AM.T[target_Q], row_Q, back_QA)) / 2
            # A batch without a single complete row has loss 0 (with a graph), not the mean of nothing.
            return {"infonce": losses_Q.sum() / max(len(losses_Q), 1)}

        return ScorePlan(anchor_A, document_M, parts)


def cross_entropy(logits_QM: Tensor, target_Q: Tensor, allowed_QM: Tensor) -> Tensor:
    """(Q,) negative log-probability of each row's target among its allowed candidates."""
    logits_QM = logits_QM.masked_fill(~allowed_QM, -torch.inf)
    targets_Q = logits_QM.gather(1, target_Q[:, None]).squeeze(1)
    return logits_QM.logsumexp(1) - targets_Q


def single_vectors(embeddings: Embeddings) -> Tensor:
    """The (N, D) values of single-vector embeddings."""
    if embeddings.values.ndim != 2:
        raise ConfigError(
            "this loss compares one vector per item, but the model gives one per token; use a pooled model"
        )
    return embeddings.values
