"""One ranking out of several whose scores cannot be compared: by ranks, or by scores brought to one scale."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

from sightline.errors import ConfigError

Key = TypeVar("Key", bound=Hashable)


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Key]], *, k: float = 60.0, weights: Sequence[float] | None = None
) -> list[tuple[Key, float]]:
    """Fuse rankings by ``score(d) = sum over the rankings r of  weight_r / (k + rank_r(d))``, ranks from 1.

    Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
    Learning Methods", with their k = 60. What a ranking does not hold adds nothing; of a key that stands
    twice in one ranking the first place counts.

    Args:
        rankings: keys, best first, per ranking.
        k: the larger, the less the first places stand out.
        weights: one per ranking, not negative; 1 each by default. A ranking of weight 0 is left out.

    Returns:
        (key, score), best first. Equal scores: the better single rank first, then the earlier ranking.

    Raises:
        ConfigError: weights that do not fit, or a k that is not positive.
    """
    if k <= 0:
        raise ConfigError(f"fusion needs k above 0, not k={k}")
    weights = _weights(weights, len(rankings))
    scores: dict[Key, float] = {}
    places: dict[Key, tuple[int, int]] = {}
    for number, (ranking, weight) in enumerate(zip(rankings, weights)):
        if not weight:
            continue
        for rank, key in enumerate(dict.fromkeys(ranking), start=1):
            scores[key] = scores.get(key, 0.0) + weight / (k + rank)
            places[key] = min(places.get(key, (rank, number)), (rank, number))
    return sorted(scores.items(), key=lambda entry: (-entry[1], places[entry[0]]))


def score_fusion(
    rankings: Sequence[Sequence[tuple[Key, float]]],
    *,
    weights: Sequence[float] | None = None,
    lowest: Sequence[float | None] | None = None,
    absent: Sequence[float | None] | None = None,
) -> list[tuple[Key, float]]:
    """Fuse scored rankings by a weighted mean of their scores, each ranking's brought to 0..1 first.

    ``score(d) = sum over r of  weight_r * (s_r(d) - low_r) / (high_r - low_r)``, weights adding up to 1: the convex
    combination with theoretical min-max normalisation of Bruch, Gai and Ingber 2023, "An Analysis of Fusion Functions
    for Hybrid Retrieval" (ACM TOIS 42(1)): ``high`` is the best score of this query, ``low`` the least there can be.

    Args:
        rankings: (key, score), best first, per ranking. Of a key that stands twice in one the first place counts.
        weights: one per ranking, not negative; equal by default. A ranking of weight 0 is left out.
        lowest: the least score there can be, per ranking (-1 for cosine, 0 for BM25); None where there is none or it
            is not known, for which the least of the ranking stands.
        absent: score of what a ranking does not hold; None for the lowest.

    Returns:
        (key, score in 0..1), best first. Equal scores: the better single rank first, then the earlier ranking.

    Raises:
        ConfigError: weights, lowest or absent scores that do not fit the rankings.
    """
    weights = _weights(weights, len(rankings))
    lowest = [None] * len(rankings) if lowest is None else lowest
    absent = [None] * len(rankings) if absent is None else absent
    if len(lowest) != len(rankings) or len(absent) != len(rankings):
        raise ConfigError(f"fusion of {len(rankings)} rankings needs a lowest and an absent score for each")
    total = sum(weights) or 1.0
    own: list[dict[Key, float]] = []
    missing: list[float] = []
    places: dict[Key, tuple[int, int]] = {}
    for number, ranking in enumerate(rankings):
        scores: dict[Key, float] = {}
        for key, score in ranking if weights[number] else ():
            if key not in scores:
                scores[key] = score
                place = (len(scores), number)
                places[key] = min(places.get(key, place), place)
        floor, gap = lowest[number], absent[number]
        high = max(scores.values(), default=0.0)
        low = min(scores.values(), default=0.0) if floor is None else floor
        width = (high - low) or 1.0
        share = weights[number] / total
        # A ranking whose scores are all equal and bounded by nothing else says only what it holds.
        flat = high == low
        own.append({key: share if flat else share * (score - low) / width for key, score in scores.items()})
        missing.append(0.0 if gap is None or flat else share * (gap - low) / width)
    fused = {
        key: sum(scores.get(key, rest) for scores, rest in zip(own, missing, strict=True)) for key in places
    }
    return sorted(fused.items(), key=lambda entry: (-entry[1], places[entry[0]]))


def _weights(weights: Sequence[float] | None, count: int) -> list[float]:
    found = [1.0] * count if weights is None else list(weights)
    if len(found) != count:
        raise ConfigError(f"fusion of {count} rankings needs as many weights, not {len(found)}")
    if any(not weight >= 0 for weight in found):
        raise ConfigError(f"fusion needs weights of 0 or more, not {found}")
    return found
