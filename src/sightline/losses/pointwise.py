"""Reranker losses that look at each pair by itself, and at its label.

Shape letters::

    N  distinct pairs     L  labels of the model     B  rows     C  columns     P  pairs that are there
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sightline.errors import ConfigError
from sightline.losses.columns import target
from sightline.losses.needs import LabelRange, Needs
from sightline.losses.pair_scores import (
    Activation,
    PairLoss,
    activated,
    check_activation,
    labelled_scores,
    mean_of,
    own_columns,
    pair_values,
)
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class BinaryCrossEntropy(PairLoss):
    """Binary cross-entropy of each pair's score, read as the log-odds that the document answers the query.

    ``-(w y log(sigmoid(s)) + (1 - y) log(1 - sigmoid(s)))``, averaged over pairs. Labels lie between 0 and 1; a query
    with a positive and negatives needs none (1 for the first document, 0 for the others). sentence-transformers'
    BinaryCrossEntropyLoss.

    Args:
        pos_weight: w; about the number of negatives per positive evens out the two kinds. Above 0.

    Raises:
        ConfigError: an argument is out of range; when called, a label is.
    """

    pos_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.pos_weight > 0:
            raise ConfigError(f"BinaryCrossEntropy needs a pos_weight above 0, not {self.pos_weight}")

    @property
    def needs(self) -> tuple[Needs, ...]:
        labels = LabelRange(0, 1, otherwise="ScoreMSE takes any")
        return (Needs(type(self).__name__, compares="pairs", counts=(0,), labels=labels),)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"binary_cross_entropy": scalar}`` from (N, 1) scores and a label per pair."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__)
        outside = found.labels_BC[found.present_BC & ((found.labels_BC < 0) | (found.labels_BC > 1))]
        if outside.numel():
            raise ConfigError(
                f"BinaryCrossEntropy needs labels between 0 and 1, found {float(outside[0])}; ScoreMSE takes any"
            )
        losses_BC = binary_cross_entropy_with_logits(
            found.scores_BC,
            found.labels_BC,
            pos_weight=found.scores_BC.new_tensor(self.pos_weight),
            reduction="none",
        )
        return {"binary_cross_entropy": mean_of(losses_BC, found.present_BC)}


@dataclass(frozen=True)
class ScoreMSE(PairLoss):
    """Mean squared difference between each pair's score and its label, a teacher's score usually.

    ``mean((f(s) - y)^2)``; sentence-transformers' MSELoss for rerankers.

    Args:
        activation: f; "sigmoid" for a teacher whose scores lie between 0 and 1.
    """

    activation: Activation = "identity"

    def __post_init__(self) -> None:
        check_activation(self.activation, type(self).__name__)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"score_mse": scalar}`` from (N, 1) scores and a label per pair."""
        found = labelled_scores(embeddings, batch, loss=type(self).__name__)
        squared_BC = (activated(found.scores_BC, self.activation) - found.labels_BC).square()
        return {"score_mse": mean_of(squared_BC, found.present_BC)}


@dataclass(frozen=True)
class CrossEntropy(PairLoss):
    """Cross-entropy of each pair's class, for a model with a score per class.

    ``-log(softmax(s)[y])``, averaged over pairs; with a list of L probabilities as label, the cross-entropy against
    them. sentence-transformers' CrossEntropyLoss.

    Args:
        label_smoothing: share of the target that is spread over all classes, from 0 to below 1.

    Raises:
        ConfigError: an argument is out of range; when called, a class is, or rows have several documents.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(
                f"CrossEntropy needs a label_smoothing from 0 to below 1, not {self.label_smoothing}"
            )

    @property
    def needs(self) -> tuple[Needs, ...]:
        return (Needs(type(self).__name__, compares="pairs", classes=True),)

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"cross_entropy": scalar}`` from (N, L) scores and a class, or L probabilities, per pair."""
        name = type(self).__name__
        values_NL = pair_values(embeddings, batch, loss=name)
        labels = target(batch, loss=name, ndims=(1, 2))
        if own_columns(batch) != 1:
            raise ConfigError(
                f"{name} needs rows of one pair with its class, but rows have {own_columns(batch)} documents; "
                "labelled_pairs makes such rows"
            )
        classes = values_NL.shape[1]
        pairs_P = batch.columns_BC[:, 0]
        there_P = pairs_P >= 0
        scores_PL, labels = values_NL[pairs_P[there_P]], labels[there_P]
        wanted = labels.to(scores_PL)
        if labels.ndim == 1:
            wanted = _classes(labels, classes)
        elif labels.shape[1] != classes:
            raise ConfigError(
                f"{name} needs the number of a class, or {classes} probabilities, per pair, not {labels.shape[1]}"
            )
        losses = cross_entropy(scores_PL, wanted, reduction="sum", label_smoothing=self.label_smoothing)
        return {"cross_entropy": losses / max(len(scores_PL), 1)}


def _classes(labels_P: Tensor, classes: int) -> Tensor:
    """Labels as class numbers."""
    numbers_P = labels_P.long()
    wrong = labels_P[(numbers_P != labels_P) | (numbers_P < 0) | (numbers_P >= classes)]
    if wrong.numel():
        raise ConfigError(
            f"CrossEntropy needs class numbers from 0 to {classes - 1} for a model with {classes} labels, "
            f"found {float(wrong[0]):g}"
        )
    return numbers_P
