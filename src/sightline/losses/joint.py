"""The softmax of a contrastive loss over several kinds of comparisons, with false negatives left out.

Shape letters::

    Q  rows of the softmax: one query with its target each     g  items that each of them compares (1 or 2)
    R  candidates        L  rows of the scores: Q times g      l  some consecutive of them
    n  documents of a row        G  dimension of the guide's vectors        N  distinct items of the batch
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sightline.errors import ConfigError
from sightline.losses import masks

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc", "positive_to_positive"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
Hardness = Literal["in_batch_negatives", "hard_negatives", "all_negatives"]
HARDNESSES: tuple[Hardness, ...] = get_args(Hardness)


@dataclass(frozen=True)
class FalseNegatives:
    """Candidates that are too much like the query to be wrong answers; they are left out.

    Left out is what is more similar to the query than ``s(query, positive) - margin``, or with ``relative``
    than ``s(query, positive) - margin * |s(query, positive)|`` (0.05 keeps what is below 95 percent of it). The
    cosines s are those of a guide (Solatorio 2024, arXiv:2402.16829), of which `Trainer(guide=...)` takes one,
    or of the model that is trained. A negative margin leaves room above the positive, as a model that judges itself
    should have (Zhang et al. 2025, arXiv:2506.05176, use -0.1).

    Args:
        margin: distance to the positive.
        relative: as a share of the positive's similarity.
        by: "guide" or "model".
    """

    margin: float = 0.0
    relative: bool = False
    by: Literal["guide", "model"] = "guide"

    def __post_init__(self) -> None:
        if self.by not in ("guide", "model"):
            raise ConfigError(f'FalseNegatives go by "guide" or "model", not {self.by!r}')
        if not -2 <= self.margin <= 2:
            raise ConfigError(f"the margin of FalseNegatives must lie between -2 and 2, not {self.margin}")

    def limit(self, positives: Tensor) -> Tensor:
        """The highest similarity that a negative may have."""
        return positives - (positives.abs() * self.margin if self.relative else self.margin)


@dataclass(frozen=True)
class Bar:
    """Candidates that are no negatives of their row, by content.

    Attributes:
        excluded: row by row.
        among_R: to which candidates it applies; None for all.
    """

    excluded: masks.Exclusions
    among_R: Tensor | None = None

    def fill(self, scores_qR: Tensor, begin: int) -> None:
        """Takes them out of the softmax of the rows from ``begin`` on."""
        found = self.excluded.of_rows(begin, begin + len(scores_qR))
        if found is None:
            return
        row, candidate = found
        if self.among_R is not None:
            kept = self.among_R[candidate]
            row, candidate = row[kept], candidate[kept]
        scores_qR[row, candidate] = -torch.inf


@dataclass(frozen=True)
class Side:
    """What one item of each row is compared with.

    Attributes:
        items_Q: the item of each row.
        allowed_R: its candidates.
        bars: those that are no negatives, by content.
        own_Qn: further candidates that are not, by their position; -1 for none.
        kept_Q: a candidate of each row that no guide takes out; -1 for none.
    """

    items_Q: Tensor
    allowed_R: Tensor
    bars: tuple[Bar, ...]
    own_Qn: Tensor | None
    kept_Q: Tensor


@dataclass(frozen=True)
class Weighting:
    """Adds ``strength`` times the unscaled similarity to negatives' scores, without gradient.

    Lan et al. 2025 (arXiv:2503.04812, eq. 5); Schechter Vera et al. 2025 (arXiv:2509.20354) for hard negatives alone.

    Attributes:
        mode: which negatives.
        strength: above 0.
        documents_R: which candidates are documents.
        own_Qn: the row's own documents by their position, the positive first; -1 where absent.
    """

    mode: Hardness
    strength: float
    documents_R: Tensor
    own_Qn: Tensor

    def apply(self, scores_qR: Tensor, begin: int, scale: float) -> None:
        """Changes the scores of the rows from ``begin`` on."""
        factor = 1 + self.strength / scale
        own_qn = self.own_Qn[begin : begin + len(scores_qR)]
        row, place = (own_qn >= 0).nonzero(as_tuple=True)
        candidate = own_qn[row, place]
        before = scores_qR[row, candidate]
        if self.mode != "hard_negatives":
            scores_qR *= torch.where(self.documents_R, factor, 1.0).to(scores_qR.dtype)
        if self.mode == "in_batch_negatives":
            scores_qR[row, candidate] = before
            return
        scores_qR[row, candidate] = before * factor
        positive = place == 0  # after the others: a positive that is also a hard negative stays one
        scores_qR[row[positive], candidate[positive]] = before[positive]


@dataclass(frozen=True)
class Guided:
    """Finds false negatives by the guide's vectors, or by the model's own scores where there are none.

    Attributes:
        rule: what is too similar.
        vectors_NG: the guide's unit vectors of all items; None to go by the model.
        right_RG: those of the candidates.
    """

    rule: FalseNegatives
    vectors_NG: Tensor | None = None
    right_RG: Tensor | None = None

    def similarities(self, items: Tensor, scores_qR: Tensor, scale: float) -> Tensor:
        """(q, R) similarity of some items to the candidates."""
        if self.vectors_NG is None or self.right_RG is None:
            return scores_qR / scale
        return self.vectors_NG[items] @ self.right_RG.t()


@dataclass(frozen=True)
class JointRows:
    """Cross-entropy of each row's target among all that its items are compared with; a `ScoreTerm`.

    Rows of the scores that belong together stand one after the other: the query's, then the positive's.

    Attributes:
        name, left, right, scale, weight: see `ScoreTerm`.
        sides: one per row of the scores that belongs to a row of the softmax; the first has the target.
        target_Q: position of the target among the candidates.
        weighting: of negatives by their hardness.
        guided: how false negatives are found.
        left_asks: see `losses.late.DirectedTerm`.
    """

    name: str
    left: Tensor
    right: Tensor
    scale: float
    weight: float
    sides: tuple[Side, ...]
    target_Q: Tensor
    weighting: Weighting | None = None
    guided: Guided | None = None
    left_asks: bool = True

    @property
    def group(self) -> int:
        """Rows of the scores that are to be worked on together."""
        return len(self.sides)

    def rows(self, scores_lR: Tensor, begin: int, gradient_lR: Tensor | None) -> Tensor:
        """(l,) negative log-probability of the targets, at the first row of each group; 0 at the others."""
        group, candidates = self.group, scores_lR.shape[1]
        count, first = len(scores_lR) // group, begin // group
        scores_qgR = scores_lR.view(count, group, candidates)
        target_q1 = self.target_Q[first : first + count, None]
        limit_q1 = None
        for number, side in enumerate(self.sides):
            scores_qR = scores_qgR[:, number]
            false_qR = None
            if self.guided is not None:
                alike_qR = self.guided.similarities(
                    side.items_Q[first : first + count], scores_qR, self.scale
                )
                if limit_q1 is None:
                    limit_q1 = self.guided.rule.limit(alike_qR.gather(1, target_q1))
                false_qR = alike_qR > limit_q1
                _keep(false_qR, side.kept_Q[first : first + count])
            if number == 0 and self.weighting is not None:
                self.weighting.apply(scores_qR, first, self.scale)
            if false_qR is not None:
                scores_qR.masked_fill_(false_qR, -torch.inf)
            scores_qR.masked_fill_(~side.allowed_R, -torch.inf)
            for bar in side.bars:
                bar.fill(scores_qR, first)
            if side.own_Qn is not None:
                own_qn = side.own_Qn[first : first + count]
                row, place = (own_qn >= 0).nonzero(as_tuple=True)
                scores_qR[row, own_qn[row, place]] = -torch.inf
        flat_qC = scores_lR.view(count, group * candidates)
        target_score_q = flat_qC.gather(1, target_q1).squeeze(1)
        values_l = scores_lR.new_zeros(len(scores_lR))
        values_l[::group] = flat_qC.logsumexp(1) - target_score_q
        if gradient_lR is not None:
            slope_qC = gradient_lR.view(count, group * candidates)
            torch.softmax(flat_qC, 1, out=slope_qC)
            slope_qC.scatter_add_(1, target_q1, slope_qC.new_full(target_q1.shape, -1.0))
        return values_l


def _keep(false_qR: Tensor, kept_q: Tensor) -> None:
    row = (kept_q >= 0).nonzero().squeeze(1)
    false_qR[row, kept_q[row]] = False


@dataclass(frozen=True)
class Pairs:
    """The rows of a batch that have an anchor and a positive.

    Attributes:
        cells_PC: their items.
        scored: which of them are scored here; all of them are candidates and answers.
        documents: distinct documents of all rows, also of incomplete ones.
        keys_N: content of each item.
        guide_NG: the guide's vector of each item, or None.
    """

    cells_PC: Tensor
    scored: slice
    documents: Tensor
    keys_N: Tensor
    guide_NG: Tensor | None

    def term(
        self,
        name: str,
        directions: tuple[Direction, ...],
        *,
        scale: float,
        weight: float,
        backwards: bool = False,
        hardness: tuple[Hardness, float] | None = None,
        false_negatives: FalseNegatives | None = None,
    ) -> JointRows:
        """The softmax over some directions.

        Args:
            name, scale, weight: see `ScoreTerm`.
            directions: what each row's items are compared with.
            backwards: the positive is the query and the anchor its target; for "doc_to_query" alone.
            hardness: how negatives are weighted, and how much.
            false_negatives: what is left out.

        Raises:
            ConfigError: there is no guide.
        """
        anchors, positives = self.cells_PC[:, 0], self.cells_PC[:, 1]
        queries = masks.distinct(anchors)
        wanted = [queries] if {"query_to_query", "doc_to_query"} & set(directions) else []
        if set(directions) - {"query_to_query", "doc_to_query"}:
            wanted.append(self.documents)
        right = masks.distinct(torch.cat(wanted))
        query_R, document_R = torch.isin(right, queries), torch.isin(right, self.documents)
        positive_R = torch.isin(right, positives)
        nothing_R = torch.zeros_like(query_R)
        own_Qn = _positions(self.cells_PC[self.scored, 1:], right)

        def exclusions(left: Tensor, target: Tensor, among_R: Tensor | None = None) -> Bar:
            return Bar(masks.exclusions(left, target, right, self.keys_N, self.scored), among_R)

        sides = []
        if not backwards:
            allowed_R = document_R if "query_to_doc" in directions else nothing_R
            allowed_R = allowed_R | (query_R if "query_to_query" in directions else nothing_R)
            bars = (exclusions(anchors, positives),)
            sides.append(Side(anchors[self.scored], allowed_R, bars, None, own_Qn[:, 0]))
        if backwards or {"doc_to_query", "doc_to_doc", "positive_to_positive"} & set(directions):
            allowed_R, others = nothing_R, list[Bar]()
            own, kept_Q = None, torch.full_like(own_Qn[:, 0], -1)
            if "doc_to_query" in directions:
                allowed_R = allowed_R | query_R
                others.append(exclusions(positives, anchors, query_R))
                kept_Q = _positions(anchors[self.scored], right)
            if {"doc_to_doc", "positive_to_positive"} & set(directions):
                allowed_R = allowed_R | (document_R if "doc_to_doc" in directions else positive_R)
                others.append(exclusions(anchors, positives, document_R & ~query_R))
                own = own_Qn
            sides.append(Side(positives[self.scored], allowed_R, tuple(others), own, kept_Q))
        weighting = guided = None
        if hardness is not None and not backwards:
            weighting = Weighting(*hardness, document_R, own_Qn)
        if false_negatives is not None:
            guided = self._guided(false_negatives, right)
        target_Q = sides[0].kept_Q
        left = torch.stack([side.items_Q for side in sides], 1).flatten()
        return JointRows(
            name, left, right, scale, weight, tuple(sides), target_Q, weighting, guided, left_asks=not backwards
        )  # fmt: skip

    def _guided(self, rule: FalseNegatives, right: Tensor) -> Guided:
        if rule.by == "model":
            return Guided(rule)
        if self.guide_NG is None:
            raise ConfigError(
                "this loss finds false negatives by a guide, but there is none; give Trainer(guide=an Encoder), or "
                'use FalseNegatives(by="model")'
            )
        unit_NG = normalize(self.guide_NG, dim=1)
        return Guided(rule, unit_NG, unit_NG[right])


def _positions(items: Tensor, within: Tensor) -> Tensor:
    """Where items stand in the ascending list ``within``; -1 for those that do not, and for absent ones."""
    place = masks.positions(items, within).clamp_max(len(within) - 1)
    return torch.where(within[place] == items, place, -1)
