"""How a hybrid search makes one ranking of pages out of two: what is tunable, and its checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sightline.errors import SearchIndexError
from sightline.evaluation.fusion import reciprocal_rank_fusion, score_fusion
from sightline.search.matches import Match

FusionMethod = Literal["rrf", "scores"]
FUSIONS: tuple[str, ...] = get_args(FusionMethod)

# The least score there can be, by measure; where there is none, the least of the pages found stands for it.
_LOWEST = {"cosine": -1.0, "bm25": 0.0}


@dataclass(frozen=True)
class Fusion:
    """How the ranking by vectors and the ranking by words become one.

    Attributes:
        method: "rrf" adds up reciprocal ranks, "scores" adds up normalised scores (`evaluation.fusion`).
        weights: of the vector and of the full-text ranking.
        k: of reciprocal ranks.

    Raises:
        SearchIndexError: an unknown method, weights that are no two numbers of 0 or more, or both 0; a k not above 0.
    """

    method: str = "rrf"
    weights: tuple[float, float] = (1.0, 1.0)
    k: float = 60.0

    def __post_init__(self) -> None:
        if self.method not in FUSIONS:
            raise SearchIndexError(f"fusion {self.method!r} is unknown; choose from {', '.join(FUSIONS)}")
        if len(self.weights) != 2 or any(not math.isfinite(weight) or weight < 0 for weight in self.weights):
            raise SearchIndexError(
                f"weights are two numbers of 0 or more, of vectors and of words, not {self.weights}"
            )
        if not any(self.weights):
            raise SearchIndexError("weights of 0 for both rankings leave nothing to rank by; raise one")
        if not (math.isfinite(self.k) and self.k > 0):
            raise SearchIndexError(f"the k of reciprocal ranks must be above 0, not {self.k}")

    def fuse(
        self, vector: Sequence[Match], text: Sequence[Match], *, limit: int, similarity: str
    ) -> list[tuple[Match, float]]:
        """The pages of both rankings with their fused scores, best first.

        Args:
            vector, text: best first, at most ``limit`` each.
            limit: how many were asked for; a ranking with fewer holds every page that it could.
            similarity: what the scores of ``vector`` are ("cosine", "dot", ...); those of ``text`` are BM25.
        """
        matches = {match.page_id: match for match in (*vector, *text)}
        if self.method == "rrf":
            rankings = [[match.page_id for match in ranking] for ranking in (vector, text)]
            fused = reciprocal_rank_fusion(rankings, k=self.k, weights=self.weights)
        else:
            lowest = [_LOWEST.get(similarity), _LOWEST["bm25"]]
            fused = score_fusion(
                [[(match.page_id, match.score) for match in ranking] for ranking in (vector, text)],
                weights=self.weights,
                lowest=lowest,
                # What is missing from a ranking that was cut scores at most what the last of it does.
                absent=[
                    ranking[-1].score if len(ranking) >= limit and ranking else None
                    for ranking in (vector, text)
                ],
            )
        return [(matches[page_id], score) for page_id, score in fused]


def check_weights(weights: Sequence[float]) -> tuple[float, float]:
    """Two weights as `Fusion` holds them.

    Raises:
        SearchIndexError: they are not two.
    """
    if len(weights) != 2:
        raise SearchIndexError(f"weights are two numbers, of vectors and of words, not {list(weights)}")
    return float(weights[0]), float(weights[1])
