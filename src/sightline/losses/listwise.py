"""Reranker losses that look at all documents of a query together, and at the order of their labels.

Shape letters::

    B  rows (queries)     C  columns (documents per query at most)     P  rows that have a document
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from sightline.errors import ConfigError
from sightline.losses.pair_scores import (
    Activation,
    PairLoss,
    PairScores,
    activated,
    check_activation,
    labelled_scores,
    mean_of,
)
from sightline.types import Batch, Embeddings

Weighting = Literal["exponential", "logarithmic"]


@dataclass(frozen=True)
class ListNet(PairLoss):
    """Cross-entropy between the distributions that labels and scores give over a query's documents.

    ``-sum_d softmax(y)_d log(softmax(f(s))_d)``, averaged over queries (Cao et al. 2007,
    doi:10.1145/1273496.1273513). sentence-transformers' ListNetLoss.

    Args:
        activation: f; "sigmoid" compares scores between 0 and 1.
    """

    activation: Activation = "identity"

    def __post_init__(self) -> None:
        check_activation(self.activation, type(self).__name__)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"listnet": scalar}`` from (N, 1) scores and a label per document."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__).of_lists()
        absent_PC = ~found.present_BC
        scores_PC = activated(found.scores_BC, self.activation).masked_fill(absent_PC, -torch.inf)
        wanted_PC = found.labels_BC.masked_fill(absent_PC, -torch.inf).softmax(1)
        # Filled after the logarithm: nothing times minus infinity would be no number.
        logs_PC = log_softmax(scores_PC, 1).masked_fill(absent_PC, 0.0)
        return {"listnet": -(wanted_PC * logs_PC).sum() / max(len(logs_PC), 1)}


@dataclass(frozen=True)
class ListMLE(PairLoss):
    """Likelihood of the right order, drawn document after document by score.

    ``-sum_r log(exp(s_r) / sum_{q >= r} exp(s_q))`` over ranks r of the right order, averaged over queries (Xia et al.
    2008, doi:10.1145/1390156.1390306). sentence-transformers' ListMLELoss.

    Args:
        in_given_order: the documents of a row are in the right order as they stand; False sorts them by label, equal
            labels in the order given.
        activation: of the scores.
    """

    in_given_order: bool = True
    activation: Activation = "identity"

    def __post_init__(self) -> None:
        check_activation(self.activation, type(self).__name__)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"listmle": scalar}`` from (N, 1) scores and a label per document."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__)
        logs_PC, _ = _log_likelihoods(found, self.in_given_order, self.activation)
        return {"listmle": -logs_PC.sum() / max(len(logs_PC), 1)}


@dataclass(frozen=True)
class PListMLE(PairLoss):
    """`ListMLE` in which the upper ranks weigh more.

    The terms of a query are multiplied by ``2^(n - r) - 1`` for ranks r of n documents, or by ``1 / log(1 + r)``,
    scaled to add up to 1 (Lan et al. 2014, Position-Aware ListMLE, UAI). sentence-transformers' PListMLELoss.

    Args:
        in_given_order: as of `ListMLE`.
        weighting: "exponential" or "logarithmic".
        activation: of the scores.
    """

    in_given_order: bool = True
    weighting: Weighting = "exponential"
    activation: Activation = "identity"

    def __post_init__(self) -> None:
        check_activation(self.activation, type(self).__name__)
        if self.weighting not in get_args(Weighting):
            raise ConfigError(
                f"PListMLE knows the weightings {', '.join(get_args(Weighting))}, not {self.weighting!r}"
            )

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"plistmle": scalar}`` from (N, 1) scores and a label per document."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__)
        logs_PC, present_PC = _log_likelihoods(found, self.in_given_order, self.activation)
        weights_PC = self._weights(present_PC).to(logs_PC)
        return {"plistmle": -(weights_PC * logs_PC).sum() / max(len(logs_PC), 1)}

    def _weights(self, present_PC: Tensor) -> Tensor:
        """Weight of each rank, in float64; a query's add up to 1, or to 0 where none has any."""
        rank_C = torch.arange(1, present_PC.shape[1] + 1, device=present_PC.device, dtype=torch.float64)
        if self.weighting == "exponential":
            # Divided by 2^n, which the scaling takes out again: long lists overflow otherwise.
            count_P1 = present_PC.sum(1, keepdim=True).double()
            weights_PC = torch.exp2(-rank_C) - torch.exp2(-count_P1)
        else:
            weights_PC = torch.log1p(rank_C).reciprocal().expand(present_PC.shape)
        weights_PC = weights_PC.masked_fill(~present_PC, 0.0)
        return weights_PC / weights_PC.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)


@dataclass(frozen=True)
class ADRMSE(PairLoss):
    """Squared distance between the ranks that labels and scores give, the upper ranks weighing more.

    ``(r - q)^2 / log2(1 + r)``, averaged over all documents of the batch, for the rank r by label (equal labels share
    the mean of their ranks) and the smooth rank by score ``q_i = 1 + sum_{j != i} sigmoid(alpha (s_j - s_i))`` (Schlatt
    et al. 2025, Rank-DistiLLM, arXiv:2405.07920). sentence-transformers' ADRMSELoss.

    Args:
        alpha: above 0; the larger, the nearer q comes to a whole rank.
        activation: of the scores.
    """

    alpha: float = 1.0
    activation: Activation = "identity"

    def __post_init__(self) -> None:
        check_activation(self.activation, type(self).__name__)
        if not self.alpha > 0:
            raise ConfigError(f"ADRMSE needs an alpha above 0, not {self.alpha}")

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"adr_mse": scalar}`` from (N, 1) scores and a label per document."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__).of_lists()
        scores_PC = activated(found.scores_BC, self.activation)
        others_PCC = found.present_BC[:, None, :] & ~torch.eye(
            scores_PC.shape[1], dtype=torch.bool, device=scores_PC.device
        )
        above_PCC = torch.sigmoid(self.alpha * (scores_PC[:, None, :] - scores_PC[:, :, None]))
        ranks_PC = 1 + above_PCC.masked_fill(~others_PCC, 0.0).sum(2)
        labels_PC = found.labels_BC
        higher_PCC = (labels_PC[:, None, :] > labels_PC[:, :, None]) & others_PCC
        alike_PCC = (labels_PC[:, None, :] == labels_PC[:, :, None]) & others_PCC
        wanted_PC = 1 + (higher_PCC.sum(2) + alike_PCC.sum(2) / 2).to(ranks_PC)
        errors_PC = (wanted_PC - ranks_PC).square() / torch.log2(1 + wanted_PC)
        return {"adr_mse": mean_of(errors_PC, found.present_BC)}


def _log_likelihoods(
    found: PairScores, in_given_order: bool, activation: Activation
) -> tuple[Tensor, Tensor]:
    """(P, C) log-probability of each rank's document among those not yet drawn, 0 beyond the list; and its mask."""
    lists = found.of_lists()
    scores_PC = activated(lists.scores_BC, activation)
    absent_PC = ~lists.present_BC
    if not in_given_order:
        order_PC = lists.labels_BC.masked_fill(absent_PC, -torch.inf).argsort(
            dim=1, descending=True, stable=True
        )
        scores_PC = scores_PC.gather(1, order_PC)
    # A finite floor: the sum over nothing but minus infinities has no gradient.
    floored_PC = scores_PC.masked_fill(absent_PC, torch.finfo(scores_PC.dtype).min)
    rest_PC = floored_PC.flip(1).logcumsumexp(1).flip(1)
    return (scores_PC - rest_PC).masked_fill(absent_PC, 0.0), lists.present_BC
