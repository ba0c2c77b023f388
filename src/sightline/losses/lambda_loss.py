"""Reranker losses over pairs of documents of one query: the one with the higher label is to score higher.

Shape letters::

    P  rows that have a document     C  columns (documents per query at most)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sightline.errors import ConfigError
from sightline.losses.pair_scores import (
    Activation,
    PairLoss,
    PairScores,
    activated,
    check_activation,
    labelled_scores,
)
from sightline.types import Batch, Embeddings

LambdaWeighting = Literal["none", "ndcg1", "ndcg2", "lambdarank", "ndcg2++"]
Logarithm = Literal["binary", "natural"]

_LEAST_DCG = 1e-10


@dataclass(frozen=True)
class Lambda(PairLoss):
    """LambdaLoss: RankNet's pairs of documents, each weighted by what it matters to NDCG.

    ``-w_ij log2(sigmoid(sigma (s_i - s_j)))`` over documents i with a higher label than j, averaged over all such pairs
    of the batch (Wang et al. 2018, doi:10.1145/3269206.3271784). Ranks are those of the scores as they stand; gains
    are ``2^label - 1`` over the best possible DCG, labels below 0 counting 0. sentence-transformers' LambdaLoss.

    Args:
        weighting: "ndcg2++" (`mu` times "ndcg2" plus "lambdarank", the paper's best), "ndcg2", "lambdarank", "ndcg1"
            (which takes every pair of documents, whatever their labels), or "none".
        k: leave out pairs of which neither stands among the first k by score, and count the best DCG to rank k.
        sigma: factor of the difference, above 0.
        mu: see ``weighting``.
        logarithm: "binary", or "natural" without the factor 1 / log(2).
        activation: of the scores.

    Raises:
        ConfigError: an argument is unknown or out of range.
    """

    weighting: LambdaWeighting = "ndcg2++"
    k: int | None = None
    sigma: float = 1.0
    mu: float = 10.0
    logarithm: Logarithm = "binary"
    activation: Activation = "identity"

    def __post_init__(self) -> None:
        if self.weighting not in get_args(LambdaWeighting):
            raise ConfigError(
                f"Lambda knows the weightings {', '.join(get_args(LambdaWeighting))}, not {self.weighting!r}"
            )
        _check(type(self).__name__, self.k, self.sigma, self.logarithm, self.activation)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"lambda": scalar}`` from (N, 1) scores and a label per document."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__)
        return {"lambda": self.value(found)}

    def value(self, found: PairScores) -> Tensor:
        """The loss of scores and labels, a scalar."""
        lists = found.of_lists()
        scores_PC = activated(lists.scores_BC, self.activation)
        order_PC = (
            scores_PC.detach()
            .masked_fill(~lists.present_BC, -torch.inf)
            .argsort(dim=1, descending=True, stable=True)
        )
        scores_PC = scores_PC.gather(1, order_PC)
        labels_PC = lists.labels_BC.gather(1, order_PC)
        # Absent documents have sunk to the end, so the mask needs no sorting.
        present_PC = lists.present_BC
        pairs_PCC = present_PC[:, :, None] & present_PC[:, None, :]
        if self.weighting != "ndcg1":
            pairs_PCC = pairs_PCC & (labels_PC[:, :, None] > labels_PC[:, None, :])
        if self.k is not None:
            first_C = torch.arange(scores_PC.shape[1], device=scores_PC.device) < self.k
            pairs_PCC = pairs_PCC & (first_C[:, None] | first_C[None, :])
        losses_PCC = logsigmoid(self.sigma * (scores_PC[:, :, None] - scores_PC[:, None, :]))
        if self.weighting != "none":
            losses_PCC = losses_PCC * self._weights(labels_PC, present_PC)
        total = losses_PCC.masked_fill(~pairs_PCC, 0.0).sum()
        if self.logarithm == "binary":
            total = total / math.log(2)
        return -total / pairs_PCC.sum().clamp_min(1)

    def _weights(self, labels_PC: Tensor, present_PC: Tensor) -> Tensor:
        """Weights of the pairs of ranks, broadcastable to (P, C, C)."""
        rank_C = torch.arange(1, labels_PC.shape[1] + 1, device=labels_PC.device, dtype=labels_PC.dtype)
        discount_C = torch.log2(1 + rank_C)
        powers_PC = (torch.exp2(labels_PC.clamp_min(0)) - 1).masked_fill(~present_PC, 0.0)
        best_PC = powers_PC.sort(1, descending=True).values / discount_C
        gain_PC = powers_PC / best_PC[:, : self.k].sum(1, keepdim=True).clamp_min(_LEAST_DCG)
        if self.weighting == "ndcg1":
            return (gain_PC / discount_C)[:, :, None]
        apart_PCC = (gain_PC[:, :, None] - gain_PC[:, None, :]).abs()
        by_rank_CC = (1 / discount_C[:, None] - 1 / discount_C[None, :]).abs()
        if self.weighting == "lambdarank":
            return by_rank_CC * apart_PCC
        # The difference of two discounts as far apart as the ranks are, at the top of the list.
        distance_CC = (rank_C[:, None] - rank_C[None, :]).abs()
        at_top_CC = 1 / torch.log2(1 + distance_CC.clamp_min(1)) - 1 / torch.log2(2 + distance_CC)
        at_top_CC = at_top_CC.masked_fill(distance_CC == 0, 0.0)
        if self.weighting == "ndcg2":
            return at_top_CC * apart_PCC
        return (self.mu * at_top_CC + by_rank_CC) * apart_PCC


@dataclass(frozen=True)
class RankNet(PairLoss):
    """Pairs of documents of a query: log-odds that the one with the higher label comes first.

    ``-log2(sigmoid(sigma (s_i - s_j)))`` over documents i with a higher label than j, averaged over all such pairs of
    the batch (Burges et al. 2005, doi:10.1145/1102351.1102363). sentence-transformers' RankNetLoss.

    Args:
        k, sigma, logarithm, activation: as of `Lambda`.
    """

    k: int | None = None
    sigma: float = 1.0
    logarithm: Logarithm = "binary"
    activation: Activation = "identity"

    def __post_init__(self) -> None:
        _check(type(self).__name__, self.k, self.sigma, self.logarithm, self.activation)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"ranknet": scalar}`` from (N, 1) scores and a label per document."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__)
        plain = Lambda("none", self.k, self.sigma, logarithm=self.logarithm, activation=self.activation)
        return {"ranknet": plain.value(found)}


def _check(loss: str, k: int | None, sigma: float, logarithm: str, activation: str) -> None:
    if k is not None and k < 1:
        raise ConfigError(f"{loss} needs a k of at least 1, or None, not {k}")
    if not sigma > 0:
        raise ConfigError(f"{loss} needs a sigma above 0, not {sigma}")
    if logarithm not in get_args(Logarithm):
        raise ConfigError(f"{loss} knows the logarithms {', '.join(get_args(Logarithm))}, not {logarithm!r}")
    check_activation(activation, loss)
