"""Contrastive losses over the distinct items of a batch.

Shape letters::

    B  rows of the batch      C  columns
    Q  rows that have an anchor and a positive, of those that are scored here
    M  candidates: distinct documents (positives and hard negatives of all rows), or distinct anchors
    l  some consecutive of the Q rows
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.errors import ConfigError
from sightline.losses import masks
from sightline.losses.base import ScoreTerm
from sightline.losses.joint import DIRECTIONS, HARDNESSES, Direction, FalseNegatives, Hardness, Pairs
from sightline.losses.needs import Compares, Needs
from sightline.losses.scores import score_parts
from sightline.losses.similarity import Similarity, check_similarity, check_temperature, compared_by
from sightline.types import Batch, Embeddings


@dataclass(frozen=True)
class InfoNCE:
    """Cross-entropy of each anchor's positive against every other document of the batch.

    ``-log(exp(s(a, p) / t) / sum_d exp(s(a, d) / t))``, averaged over rows, where d runs over the distinct
    documents of all rows, positives and hard negatives (van den Oord et al. 2018, arXiv:1807.03748). This is
    sentence-transformers' MultipleNegativesRankingLoss with ``scale = 1 / temperature``, with two differences
    that only show when contents repeat: a document that occurs twice counts once, and contents that answer
    the same anchor are not each other's negatives (see `masks.exclusions`).

    Columns: the first is the anchor, the second its positive, all others hard negatives. Absent cells (-1)
    are ignored; a row without anchor or positive adds no term, but its other documents stay negatives.

    Value and gradient are computed a few rows at a time (see `sightline.losses.blockwise`): memory grows with the
    batch, not with its square.

    Args:
        temperature: divides the similarities; above 0.
        symmetric: also score each positive against all distinct anchors, and take the mean of both
            directions (sentence-transformers: ``directions=("query_to_doc", "doc_to_query")`` with
            ``partition_mode="per_direction"``).
        similarity: "cosine", or "dot" for vectors whose length carries meaning. Of token vectors (late interaction)
            each query token's best match in the document is summed; "maxsim" does that with their products, as
            "dot" does, and "meanmaxsim" takes the mean. Such sums grow with the query: a temperature of 1 suits
            them.
        directions: what else stands in each row's softmax beside "query_to_doc", the anchor with all documents:
            "query_to_query" (the anchor with all other anchors), "doc_to_query" (the positive with all anchors),
            "doc_to_doc" (the positive with the documents of other rows; all four: Li et al. 2023, arXiv:2308.03281),
            or "positive_to_positive" (the positive with other positives, as in GISTEmbed). One joint softmax, as with
            ``partition_mode="joint"`` in sentence-transformers.
        hardness: which negatives weigh more the more similar they are: "in_batch_negatives", "hard_negatives" or
            "all_negatives"; None for none.
        hardness_strength: how much: it times the similarity is added to a negative's score, without gradient.
        false_negatives: candidates to leave out because a guide model, or the model itself, finds them too similar.

    Raises:
        ConfigError: an argument is out of range, or (when called) the batch has only one column.
    """

    temperature: float = 0.05
    symmetric: bool = False
    similarity: Similarity = "cosine"
    directions: tuple[Direction, ...] = ("query_to_doc",)
    hardness: Hardness | None = None
    hardness_strength: float = 0.0
    false_negatives: FalseNegatives | None = None

    def __post_init__(self) -> None:
        check_temperature(self.temperature, type(self).__name__)
        check_similarity(self.similarity, type(self).__name__)
        object.__setattr__(self, "directions", tuple(self.directions))
        unknown = [one for one in self.directions if one not in DIRECTIONS]
        if unknown or "query_to_doc" not in self.directions:
            raise ConfigError(
                f"the directions of InfoNCE are 'query_to_doc' and any of {', '.join(DIRECTIONS[1:])}, not "
                f"{', '.join(map(str, self.directions)) or 'none'}"
            )
        if self.symmetric and len(self.directions) > 1:
            raise ConfigError(
                "symmetric gives each direction a softmax of its own and directions share one; use one of the two"
            )
        if self.hardness is not None and self.hardness not in HARDNESSES:
            raise ConfigError(f"InfoNCE knows the hardness {', '.join(HARDNESSES)}, not {self.hardness!r}")
        if self.hardness_strength < 0 or (self.hardness is None) != (self.hardness_strength == 0):
            raise ConfigError("hardness and a hardness_strength above 0 go together; give both or neither")
        if self._judges_itself and self.similarity not in ("cosine", "meanmaxsim"):
            raise ConfigError(
                f'FalseNegatives(by="model") goes by cosines, and the similarity {self.similarity!r} has no bounds '
                'to measure a margin by; use similarity="cosine", of token vectors "meanmaxsim", or by="guide"'
            )

    @property
    def is_plain(self) -> bool:
        """Each row is one item's scores, and no score matters but by itself."""
        return len(self.directions) == 1 and self.hardness is None and self.false_negatives is None

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``{"infonce": scalar}`` from (N, D) embeddings, or (N, T, D) with a mask."""
        if embeddings.values.ndim > 2 and len(self.directions) > 1:
            raise ConfigError("InfoNCE compares token vectors in the direction 'query_to_doc' alone")
        if embeddings.values.ndim > 2 and self._judges_itself and self.similarity == "cosine":
            raise ConfigError(
                'FalseNegatives(by="model") goes by cosines, and of token vectors "cosine" is a sum of them, which '
                'grows with the query; use similarity="meanmaxsim", or by="guide"'
            )
        return score_parts(embeddings, self.plan(batch), self.similarity, loss=type(self).__name__)

    @property
    def needs(self) -> tuple[Needs, ...]:
        """See `losses.needs`."""
        guided = self.false_negatives is not None and self.false_negatives.by == "guide"
        compares: Compares = compared_by(self.similarity)
        advice = ""
        if len(self.directions) > 1:
            compares, advice = "vectors", "token vectors are compared in the direction 'query_to_doc' alone"
        elif self._judges_itself and self.similarity == "cosine":
            compares = "vectors"
            advice = 'with FalseNegatives(by="model") token vectors take similarity="meanmaxsim"'
        name = type(self).__name__
        return (Needs(name, columns=2, guide=guided, compares=compares, alone=3, advice=advice),)

    @property
    def _judges_itself(self) -> bool:
        return self.false_negatives is not None and self.false_negatives.by == "model"

    @property
    def by_rows(self) -> bool:
        """Several ranks share the rows (see `RowLoss`)."""
        return True

    def plan(self, batch: Batch) -> tuple[ScoreTerm, ...]:
        """Each row's anchor against the distinct documents; if symmetric, its positive against the anchors."""
        columns_BC = batch.columns_BC
        if columns_BC.shape[1] < 2:
            raise ConfigError(
                "InfoNCE needs an anchor column and at least one document column, but the batch has only "
                f"{', '.join(batch.column_names) or 'one column'}"
            )
        complete_B = (columns_BC[:, 0] >= 0) & (columns_BC[:, 1] >= 0)
        anchors, positives = columns_BC[complete_B, 0], columns_BC[complete_B, 1]
        # Rows of other processes give candidates and answers, but are scored there.
        rows = slice(None)
        if batch.scored is not None:
            begin, end, _ = batch.scored.indices(len(columns_BC))
            rows = slice(int(complete_B[:begin].sum()), int(complete_B[:end].sum()))
        # A batch without a single complete row has loss 0 (with a graph), not the mean of nothing.
        weight = 1.0 / max(len(anchors), 1)
        if not self.is_plain:
            return self._joint(
                Pairs(
                    columns_BC[complete_B],
                    rows,
                    masks.distinct(columns_BC[:, 1:]),
                    batch.keys_N,
                    batch.guide_NG,
                ),
                weight,
            )
        documents = masks.distinct(columns_BC[:, 1:])
        directions = [(anchors, positives, documents, True)]
        if self.symmetric:
            weight /= 2
            directions.append((positives, anchors, masks.distinct(anchors), False))
        return tuple(
            SoftmaxRows(
                name="infonce",
                left=lefts[rows],
                right=candidates,
                scale=1.0 / self.temperature,
                weight=weight,
                excluded=masks.exclusions(lefts, targets, candidates, batch.keys_N, rows),
                left_asks=left_asks,
            )
            for lefts, targets, candidates, left_asks in directions
        )

    def _joint(self, pairs: Pairs, weight: float) -> tuple[ScoreTerm, ...]:
        """Terms that know of more than one item per row, or of more than its content."""
        hardness = None if self.hardness is None else (self.hardness, self.hardness_strength)
        weight /= 1 + self.symmetric
        forwards = pairs.term(
            "infonce", self.directions, scale=1.0 / self.temperature, weight=weight, hardness=hardness,
            false_negatives=self.false_negatives,
        )  # fmt: skip
        if not self.symmetric:
            return (forwards,)
        backwards = pairs.term(
            "infonce", ("doc_to_query",), scale=1.0 / self.temperature, weight=weight, backwards=True,
            false_negatives=self.false_negatives,
        )  # fmt: skip
        return (forwards, backwards)


@dataclass(frozen=True)
class SoftmaxRows:
    """Cross-entropy of each row's target among its candidates; a `ScoreTerm`.

    Attributes:
        name, left, right, scale, weight: see `ScoreTerm`.
        excluded: each row's target, and the candidates that are no negatives of it.
        left_asks: see `losses.late.DirectedTerm`.
    """

    name: str
    left: Tensor
    right: Tensor
    scale: float
    weight: float
    excluded: masks.Exclusions
    left_asks: bool = True

    def rows(self, scores_lR: Tensor, begin: int, gradient_lR: Tensor | None) -> Tensor:
        """(l,) negative log-probability of the targets; the gradient is probability minus one at the target."""
        end = begin + len(scores_lR)
        excluded = self.excluded.of_rows(begin, end)
        if excluded is not None:
            scores_lR[excluded] = -torch.inf
        target_l1 = self.excluded.target_Q[begin:end, None]
        target_score_l = scores_lR.gather(1, target_l1).squeeze(1)
        if gradient_lR is None:
            return scores_lR.logsumexp(1) - target_score_l
        torch.softmax(scores_lR, 1, out=gradient_lR)
        # The normaliser out of the largest score and its probability, which cannot underflow.
        losses_l = scores_lR.amax(1) - gradient_lR.amax(1).log_() - target_score_l
        gradient_lR.scatter_add_(1, target_l1, gradient_lR.new_full(target_l1.shape, -1.0))
        return losses_l
