"""Reciprocal rank fusion: one ranking out of several whose scores cannot be compared."""

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
    weights = [1.0] * len(rankings) if weights is None else list(weights)
    if len(weights) != len(rankings):
        raise ConfigError(f"fusion of {len(rankings)} rankings needs as many weights, not {len(weights)}")
    if k <= 0 or any(not weight >= 0 for weight in weights):
        raise ConfigError(f"fusion needs k above 0 and weights of 0 or more, not k={k}, {weights}")
    scores: dict[Key, float] = {}
    places: dict[Key, tuple[int, int]] = {}
    for number, (ranking, weight) in enumerate(zip(rankings, weights)):
        if not weight:
            continue
        for rank, key in enumerate(dict.fromkeys(ranking), start=1):
            scores[key] = scores.get(key, 0.0) + weight / (k + rank)
            places[key] = min(places.get(key, (rank, number)), (rank, number))
    return sorted(scores.items(), key=lambda entry: (-entry[1], places[entry[0]]))
