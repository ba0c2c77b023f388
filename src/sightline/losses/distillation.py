"""Losses that learn from a teacher: its scores, or its vectors.

Shape letters::

    B  rows of the batch     P  rows whose cells are there     n  documents per query     D  embedding dimension
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, softmax

from sightline.errors import ConfigError
from sightline.losses.columns import target, whole_rows
from sightline.losses.needs import Needs
from sightline.losses.pair_scores import (
    Activation,
    PairLoss,
    activated,
    check_activation,
    is_of_pairs,
    mean_of,
    own_columns,
    pair_scores,
)
from sightline.losses.scores import document_scores
from sightline.losses.similarity import Similarity, check_similarity, compared_by
from sightline.types import Batch, Embeddings

Comparison = Literal["cosine", "mse", "l2"]


@dataclass(frozen=True)
class MarginMSE(PairLoss):
    """The student's margins between positive and negatives against the teacher's.

    ``mean(((s(q, p) - s(q, n)) - (t(q, p) - t(q, n)))^2)`` over all negatives (Hofstätter et al. 2020,
    arXiv:2010.02666). sentence-transformers' MarginMSELoss, of embedding models and of rerankers.

    Columns: query, positive, negatives; for a `Reranker`, whose scores are the student's, also a list of documents.
    The target is the teacher's margin (one negative), its margins (a list as long as there are negatives), or its
    scores of the positive and the negatives (one longer).

    Args:
        similarity: of the student, as of `InfoNCE`; a reranker has none.
        activation: of the student's scores; "sigmoid" for a teacher whose scores lie between 0 and 1.
    """

    similarity: Similarity = "dot"
    activation: Activation = "identity"

    def __post_init__(self) -> None:
        check_similarity(self.similarity, type(self).__name__)
        check_activation(self.activation, type(self).__name__)

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        return (
            Needs(
                type(self).__name__,
                columns=3,
                target=(1, 2),
                compares=compared_by(self.similarity),
                counts=(-1, 0),
                documents=2,
            ),
        )

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"margin_mse": scalar}`` from embeddings and the teacher's margins or scores."""
        name = type(self).__name__
        scores_Pn, present_Pn, rows_P = self._student(embeddings, batch)
        wanted = target(batch, loss=name, ndims=(1, 2)).to(scores_Pn)[rows_P]
        wanted_Pn = wanted[:, None] if wanted.ndim == 1 else wanted
        negatives = scores_Pn.shape[1] - 1
        if wanted_Pn.shape[1] == negatives + 1:
            wanted_Pn = wanted_Pn[:, :1] - wanted_Pn[:, 1:]
        elif wanted_Pn.shape[1] != negatives:
            raise ConfigError(
                f"{name} needs {negatives} margins or {negatives + 1} scores per row for {negatives} negatives, "
                f"but the target has {wanted_Pn.shape[1]}"
            )
        squared_Pn = (scores_Pn[:, :1] - scores_Pn[:, 1:] - wanted_Pn).square()
        return {"margin_mse": mean_of(squared_Pn, present_Pn)}

    def _student(self, embeddings: Embeddings, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(P, 1 + n) scores of positive and negatives, (P, n) which negatives are there, and (P,) the rows' numbers."""
        name = type(self).__name__
        if not is_of_pairs(batch):
            scores_Pn, rows_P = document_scores(embeddings, batch, self.similarity, loss=name)
            scores_Pn = activated(scores_Pn, self.activation)
            return scores_Pn, torch.ones_like(scores_Pn[:, 1:], dtype=torch.bool), rows_P
        scores_BC, present_BC = pair_scores(embeddings, batch, loss=name)
        own = own_columns(batch)
        if own < 2:
            raise ConfigError(f"{name} compares a query's documents, but rows have only one")
        rows_P = present_BC[:, 0].nonzero().squeeze(1)
        scores_Pn = activated(scores_BC[rows_P, :own], self.activation)
        return scores_Pn, present_BC[rows_P, 1:own], rows_P


@dataclass(frozen=True)
class DistillKL:
    """Kullback-Leibler divergence of the student's distribution over a query's documents from the teacher's.

    ``t_s^2 KL(softmax(teacher / t_t) || softmax(s(q, d) / t_s))``, averaged over queries (Hinton et al. 2015,
    arXiv:1503.02531; Lin et al. 2020, arXiv:2010.11386). sentence-transformers' DistillKLDivLoss.

    Columns: query and two documents or more. The target is the list of the teacher's scores, one per document.

    Args:
        similarity: of the student, as of `InfoNCE`.
        temperature: of the student, above 0.
        teacher_temperature: by default the student's.
    """

    similarity: Similarity = "dot"
    temperature: float = 1.0
    teacher_temperature: float | None = None

    def __post_init__(self) -> None:
        check_similarity(self.similarity, type(self).__name__)
        for value in (self.temperature, self.teacher_temperature):
            if value is not None and not value > 0:
                raise ConfigError(f"DistillKL needs temperatures above 0, not {value}")

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        return (
            Needs(
                type(self).__name__,
                columns=3,
                target=(2,),
                compares=compared_by(self.similarity),
                counts=(0,),
            ),
        )

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"distill_kl": scalar}`` from embeddings and the teacher's (B, n) scores."""
        name = type(self).__name__
        scores_Pn, rows_P = document_scores(embeddings, batch, self.similarity, loss=name)
        wanted_Pn = target(batch, loss=name, ndims=(2,)).to(scores_Pn)[rows_P]
        if wanted_Pn.shape[1] != scores_Pn.shape[1]:
            raise ConfigError(
                f"{name} needs {scores_Pn.shape[1]} teacher scores per row, one per document column, but the "
                f"target has {wanted_Pn.shape[1]}"
            )
        student_Pn = log_softmax(scores_Pn / self.temperature, 1)
        teacher_Pn = softmax(wanted_Pn / (self.teacher_temperature or self.temperature), 1)
        divergence = kl_div(student_Pn, teacher_Pn, reduction="sum")
        return {"distill_kl": divergence * self.temperature**2 / max(len(rows_P), 1)}


@dataclass(frozen=True)
class EmbeddingDistillation:
    """The student's vectors against the teacher's for the same contents.

    ``mean(1 - cos)``, ``mean((x - t)^2)`` or ``mean(|x - t|)`` (Reimers and Gurevych 2020, arXiv:2004.09813; Kim et
    al. 2023, arXiv:2301.12005), averaged over the columns. sentence-transformers' EmbedDistillLoss and MSELoss.

    The target is one vector per row, for all of its columns (such as a sentence and its translations), or one vector
    per column.

    Args:
        comparison: "cosine", "mse" or "l2".
        projection: the teacher's dimension, where it is another than the model's. The `Trainer` then trains a
            linear layer into the teacher's space along, which stands in checkpoints and not in saved models. A model
            can instead be given a Dense head of that dimension, which stays part of it.
    """

    comparison: Comparison = "cosine"
    projection: int | None = None

    def __post_init__(self) -> None:
        if self.comparison not in get_args(Comparison):
            raise ConfigError(
                f"EmbeddingDistillation knows {', '.join(get_args(Comparison))}, not {self.comparison!r}"
            )
        if self.projection is not None and self.projection < 1:
            raise ConfigError(f"projection must be the teacher's dimension, not {self.projection}")

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        return (
            Needs(
                type(self).__name__,
                target=(2, 3),
                projection=self.projection or 0,
                compares="vectors",
                teacher=True,
            ),
        )

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"embedding_distillation": scalar}`` from (N, D) embeddings and (B, D) or (B, C, D) teacher vectors."""
        name = type(self).__name__
        columns = batch.columns_BC.shape[1]
        if self.projection is not None:
            if embeddings.beside is None or not batch.projected:
                raise ConfigError(f"{name} compares projected vectors, and the model was not asked for them")
            embeddings = Embeddings(embeddings.beside[:, -self.projection :])
        vectors_CPD, rows_P = whole_rows(embeddings, batch, loss=name, columns=columns)
        wanted = target(batch, loss=name, ndims=(2, 3)).to(vectors_CPD)[rows_P]
        if wanted.ndim == 3 and wanted.shape[1] != columns:
            raise ConfigError(
                f"{name} needs one teacher vector per row, or {columns} (one per column), not {wanted.shape[1]}"
            )
        if wanted.shape[-1] != vectors_CPD.shape[-1]:
            raise ConfigError(
                f"the teacher's vectors have {wanted.shape[-1]} dimensions and the model's "
                f"{vectors_CPD.shape[-1]}; use projection={wanted.shape[-1]}"
            )
        wanted_CPD = (wanted[:, None] if wanted.ndim == 2 else wanted).transpose(0, 1)
        if self.comparison == "cosine":
            apart = 1 - cosine_similarity(vectors_CPD, wanted_CPD, dim=-1)
        elif self.comparison == "mse":
            apart = (vectors_CPD - wanted_CPD).square().mean(-1)
        else:
            apart = (vectors_CPD - wanted_CPD).norm(dim=-1)
        return {"embedding_distillation": apart.sum() / max(apart.numel(), 1)}
