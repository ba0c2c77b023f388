"""What a single ranking finds, and how vectors are compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Lance's names; with unit vectors dot is the cosine, and the cheaper of the two.
METRICS = {"cosine": "dot", "dot": "dot", "euclidean": "l2"}


@dataclass(frozen=True, slots=True)
class Match:
    """One row found by a single ranking: Lance's row id, place of the page in the index, page id, score."""

    row: int
    position: int
    page_id: str
    score: float


def ordered(matches: Iterable[Match]) -> list[Match]:
    """Best first; equal scores in the order of the pages, whatever order they were found in."""
    return sorted(matches, key=lambda match: (-match.score, match.position))
