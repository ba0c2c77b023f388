"""What losses over the scores of pairs read from a batch: scores by row and column, and labels.

The items of such a batch are pairs of a query and a document. A row holds the pairs of one query; its columns are
roles of the documents (positive, negatives) or places in a list.

Shape letters::

    N  distinct pairs of the batch     L  scores per pair (labels of the model)
    B  rows (queries)                  C  columns (documents per query at most)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses.columns import target
from sightline.losses.needs import Needs
from sightline.losses.similarity import at_least_float32
from sightline.types import Batch, Embeddings

# The role of a column whose items are pairs, not queries or documents.
PAIR = "pair"
# The name of a column that holds other rows' documents.
IN_BATCH = "in-batch negative"

Activation = Literal["identity", "sigmoid"]


class PairLoss(ABC):
    """Interface of a loss over the scores of pairs, which trains a `Reranker`.

    Rows of ``embeddings.values`` (N, L) are the scores of the batch's pairs before the model's activation.
    """

    @property
    def in_batch_negatives(self) -> int | None:
        """How many documents of other rows each query is paired with besides its own; None for all of them."""
        return 0

    @property
    def needs_labels(self) -> bool:
        """Whether rows must have a label, or more than one document, the first of them the right one."""
        return True

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`; by default a label for each document."""
        counts = (0,) if self.needs_labels else ()
        return (Needs(type(self).__name__, compares="pairs", counts=counts),)

    @abstractmethod
    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """Named parts, each a scalar tensor; their sum is minimised."""


@dataclass(frozen=True)
class PairScores:
    """Scores of a batch with their labels.

    Attributes:
        scores_BC: in float32 at least; 0 where there is no pair.
        labels_BC: of the same type.
        present_BC: where there is a pair.
    """

    scores_BC: Tensor
    labels_BC: Tensor
    present_BC: Tensor

    def of_lists(self) -> PairScores:
        """Only the rows with a pair, the pairs of each moved to the front, in their order."""
        rows_P = self.present_BC.any(1).nonzero().squeeze(1)
        order_PC = (~self.present_BC[rows_P]).to(torch.uint8).argsort(dim=1, stable=True)
        return PairScores(
            self.scores_BC[rows_P].gather(1, order_PC),
            self.labels_BC[rows_P].gather(1, order_PC),
            self.present_BC[rows_P].gather(1, order_PC),
        )


def is_of_pairs(batch: Batch) -> bool:
    """Whether the batch's items are pairs."""
    return bool(batch.roles) and all(role == PAIR for role in batch.roles)


def pair_scores(embeddings: Embeddings, batch: Batch, *, loss: str) -> tuple[Tensor, Tensor]:
    """(B, C) scores in float32 at least, 0 where there is no pair; and (B, C) where there is one.

    Raises:
        ConfigError: the model gives no scores of pairs, or several per pair.
    """
    values_NL = pair_values(embeddings, batch, loss=loss)
    if values_NL.shape[1] != 1:
        raise ConfigError(
            f"{loss} needs one score per pair, but the model gives {values_NL.shape[1]}; load it with num_labels=1"
        )
    present_BC = batch.columns_BC >= 0
    scores_BC = values_NL[:, 0][batch.columns_BC.clamp_min(0)]
    return scores_BC.masked_fill(~present_BC, 0.0), present_BC


def pair_values(embeddings: Embeddings, batch: Batch, *, loss: str) -> Tensor:
    """(N, L) scores of the batch's pairs, in float32 at least.

    Raises:
        ConfigError: the batch's items are no pairs.
    """
    if not is_of_pairs(batch):
        raise ConfigError(
            f"{loss} is for the scores of a Reranker, but the items of this batch are no pairs; an Encoder needs a "
            "loss over vectors, such as InfoNCE"
        )
    return at_least_float32(embeddings.values)


def labelled_scores(embeddings: Embeddings, batch: Batch, *, loss: str) -> PairScores:
    """Scores with a label each: one per row for rows of one pair, else a list per row.

    Columns of other rows' documents have no labels and are left out.

    Raises:
        ConfigError: as `pair_scores` and `target`; a row has another number of labels than of pairs.
    """
    scores_BC, present_BC = pair_scores(embeddings, batch, loss=loss)
    own = own_columns(batch)
    labels = target(batch, loss=loss, ndims=(1, 2)).to(scores_BC)
    labels_BC = labels[:, None] if labels.ndim == 1 else labels
    if labels_BC.shape[1] != own:
        raise ConfigError(
            f"{loss} needs one label per document: rows have {own} documents, but {labels_BC.shape[1]} labels"
        )
    return PairScores(scores_BC[:, :own], labels_BC, present_BC[:, :own])


def own_columns(batch: Batch) -> int:
    """How many leading columns hold the rows' own documents."""
    return batch.columns_BC.shape[1] - sum(name == IN_BATCH for name in batch.column_names)


def check_activation(activation: str, loss: str) -> None:
    """Raises ConfigError for a name that is none of `Activation`."""
    if activation not in get_args(Activation):
        raise ConfigError(
            f"{loss} knows the activations {', '.join(get_args(Activation))}, not {activation!r}"
        )


def activated(scores: Tensor, activation: Activation) -> Tensor:
    """The scores as the loss compares them."""
    return scores.sigmoid() if activation == "sigmoid" else scores


def mean_of(values: Tensor, present: Tensor) -> Tensor:
    """Mean over what is there; 0, with a graph, over nothing."""
    return values.masked_fill(~present, 0.0).sum() / present.sum().clamp_min(1)
