"""Which of the documents found for a question are its hard negatives: a pure function of ranks and scores.

Names and meanings are those of sentence-transformers' ``mine_hard_negatives``.

Shape letters: Q questions, K candidates per question (best first, -1 where there is none), G right documents of a
question, padded with -2.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from sightline.errors import ConfigError

Strategy = Literal["top", "random"]

# Why a candidate is no negative, in the order in which they are looked at; the first that holds counts.
REASONS = (
    "right answer",
    "same content as the right answer",
    "absolute margin",
    "relative margin",
    "max_score",
    "min_score",
)
_KEPT, _NONE = 0, 255


@dataclass(frozen=True, slots=True)
class MiningRules:
    """How negatives are chosen among the documents that are found for a question.

    Scores are those of the model's similarity, or of the reranker where there is one. Where a question has several
    right documents, margins go by the lowest of their scores.

    Attributes:
        num_negatives: how many per question, at most.
        range_min: leave out so many of the best candidates that pass the filters.
        range_max: look at no more candidates than this; by default ten times ``num_negatives`` beyond ``range_min``
            and the right documents, or just enough of them where nothing filters.
        absolute_margin: a negative scores at least this much below the right document.
        relative_margin: a negative scores at least this share of the right document's score below it: 0.05 leaves out
            what reaches more than 95 % (TopK-PercPos of NV-Retriever, arXiv:2407.15831).
        max_score, min_score: a negative scores at most and at least this.
        sampling_strategy: "top" takes the best candidates, "random" draws among them.
        seed: of the draws.

    Raises:
        ConfigError: values that leave nothing to choose from.
    """

    num_negatives: int = 5
    range_min: int = 0
    range_max: int | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = 0.05
    max_score: float | None = None
    min_score: float | None = None
    sampling_strategy: Strategy = "top"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise ConfigError(f"num_negatives must be at least 1, not {self.num_negatives}")
        if self.range_min < 0:
            raise ConfigError(f"range_min must not be negative, but is {self.range_min}")
        if self.range_max is not None and self.range_max - self.range_min < self.num_negatives:
            raise ConfigError(
                f"range_min={self.range_min} and range_max={self.range_max} leave fewer than the "
                f"{self.num_negatives} negatives asked for; widen the range or ask for fewer"
            )
        if self.sampling_strategy not in get_args(Strategy):
            raise ConfigError(f"sampling_strategy must be 'top' or 'random', not {self.sampling_strategy!r}")
        for name in ("absolute_margin", "relative_margin", "max_score", "min_score"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value):
                raise ConfigError(f"{name} must be a finite number, not {value}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def window(self, most: int) -> int:
        """Candidates that are looked at per question, beside ``most`` right documents."""
        if self.range_max is not None:
            return self.range_max
        filters = (self.absolute_margin, self.relative_margin, self.max_score, self.min_score)
        many = self.sampling_strategy == "random" or any(value is not None for value in filters)
        return self.range_min + (10 if many else 1) * self.num_negatives + most


@dataclass(frozen=True, slots=True)
class Mined:
    """What was mined for one question; documents by number.

    Attributes:
        positives: its right documents.
        positive_scores: their scores.
        negatives: the best first.
        scores: their scores.
        ranks: their places, from 1, among the candidates that are not right answers.
        dropped: how many candidates were left out, by `REASONS`.
    """

    positives: tuple[int, ...]
    positive_scores: tuple[float, ...]
    negatives: tuple[int, ...]
    scores: tuple[float, ...]
    ranks: tuple[int, ...]
    dropped: dict[str, int]


def choose(
    candidates_QK: np.ndarray,
    scores_QK: np.ndarray,
    positives: Sequence[Sequence[int]],
    positive_scores: Sequence[Sequence[float]],
    copies: Sequence[Sequence[int]],
    rules: MiningRules,
    window: int,
    names: Sequence[str],
) -> list[Mined]:
    """The negatives of each question.

    Args:
        candidates_QK: numbers of documents, best first, -1 where there is none.
        scores_QK: their scores.
        positives: right documents of each question, at least one.
        positive_scores: their scores.
        copies: documents of each question that show the same as a right one.
        rules: what is chosen.
        window: as of `MiningRules.window`.
        names: of the questions; with the seed, they decide what is drawn at random, and nothing else does.
    """
    reason_QK = np.full(candidates_QK.shape, _KEPT, np.uint8)
    lowest_Q1 = np.array([min(scores) for scores in positive_scores], np.float32)[:, None]

    def drop(number: int, which_QK: np.ndarray) -> None:
        reason_QK[which_QK & (reason_QK == _KEPT)] = number + 1

    reason_QK[candidates_QK < 0] = _NONE
    drop(0, _among(candidates_QK, positives))
    drop(1, _among(candidates_QK, copies))
    ranks_QK = (reason_QK == _KEPT).cumsum(1)
    # The comparisons of the reference, so that scores at the edge fall to the same side.
    if rules.absolute_margin is not None:
        drop(2, scores_QK + np.float32(rules.absolute_margin) > lowest_Q1)
    if rules.relative_margin is not None:
        drop(3, scores_QK > lowest_Q1 - np.abs(lowest_Q1) * np.float32(rules.relative_margin))
    if rules.max_score is not None:
        drop(4, scores_QK > np.float32(rules.max_score))
    if rules.min_score is not None:
        drop(5, scores_QK < np.float32(rules.min_score))
    kept_QK = reason_QK == _KEPT
    place_QK = kept_QK.cumsum(1) - 1
    usable_QK = kept_QK & (place_QK >= rules.range_min) & (place_QK < window)
    if rules.sampling_strategy == "top":
        usable_QK &= place_QK < rules.range_min + rules.num_negatives
    mined = []
    for row, name in enumerate(names):
        usable = np.flatnonzero(usable_QK[row])
        if rules.sampling_strategy == "random" and len(usable) > rules.num_negatives:
            chance = random.Random(f"{rules.seed}\0{name}")
            usable = np.sort(chance.sample(usable.tolist(), rules.num_negatives))
        counts = np.bincount(reason_QK[row], minlength=len(REASONS) + 1)[1 : len(REASONS) + 1].tolist()
        mined.append(
            Mined(
                tuple(positives[row]),
                tuple(positive_scores[row]),
                tuple(candidates_QK[row, usable].tolist()),
                tuple(scores_QK[row, usable].tolist()),
                tuple(ranks_QK[row, usable].tolist()),
                {reason: count for reason, count in zip(REASONS, counts, strict=True) if count},
            )
        )
    return mined


def _among(candidates_QK: np.ndarray, wanted: Sequence[Sequence[int]]) -> np.ndarray:
    """(Q, K) which candidates are among those of their question."""
    width = max(map(len, wanted), default=0)
    found_QK = np.zeros(candidates_QK.shape, bool)
    if not width:
        return found_QK
    wanted_QG = np.full((len(wanted), width), -2, np.int64)
    for row, numbers in enumerate(wanted):
        wanted_QG[row, : len(numbers)] = numbers
    for column in range(width):
        found_QK |= candidates_QK == wanted_QG[:, column, None]
    return found_QK
