"""How small the vectors of a model can be kept without a loss that matters, and what that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sightline.evaluation.rows import Row, groups_of
from sightline.evaluation.significance import RESAMPLES, paired_bootstrap
from sightline.evaluation.storage import Cost, Storage
from sightline.evaluation.summary import metric_label

TOLERATED = 0.02
"""A loss of the primary metric that is accepted for smaller vectors."""
ERROR = 0.05
"""How often, at most, any of the ways that are compared may look tolerable without being it."""
# Resamples beyond a bound at least, so that the bound of a wide interval is no single resample's.
_BEYOND = 20


@dataclass(frozen=True)
class Choice:
    """The smallest way to keep a row's vectors whose loss is surely tolerable.

    Attributes:
        storage: how the vectors are kept.
        score: of the primary metric.
        full: the same with whole float32 vectors.
        bytes_per_page, full_bytes: of the vectors.
        cost: as it was measured; None where it was not.
        compared: how many smaller ways there were, for which the interval is corrected.
    """

    storage: Storage
    score: float
    full: float
    bytes_per_page: float
    full_bytes: float
    cost: Cost | None
    compared: int


def smallest(row: Row, *, tolerated: float = TOLERATED) -> Choice | None:
    """The choice for a row; None where there is nothing to choose between.

    A way is taken where the paired bootstrap interval of its difference from the whole vectors stays above
    ``-tolerated``; the whole vectors themselves always are. Whoever looks at m ways finds one that seems good by chance
    m times as easily, so the interval is of 1 - 0.05 / m (Bonferroni; Dunn, "Multiple comparisons among means", 1961):
    all m together are right 95 times in 100.
    """
    result = row.result
    whole = result.per_query()
    options = _options(row)
    if len(options) < 2:
        return None
    qids, groups = list(whole), groups_of(result)
    full_bytes = max(storage.bytes_per_vector for storage, _, _ in options)
    scale = _vectors_per_page(row, full_bytes)
    compared = sum(storage.bytes_per_vector < full_bytes for storage, _, _ in options)
    confidence = 1 - ERROR / max(1, compared)
    resamples = max(RESAMPLES, round(2 * _BEYOND / (1 - confidence)))
    for storage, scores, cost in sorted(options, key=lambda one: one[0].bytes_per_vector):
        gap = paired_bootstrap(
            [whole[qid] for qid in qids],
            [scores[qid] for qid in qids],
            groups=groups,
            confidence=confidence,
            resamples=resamples,
        )
        if gap.low >= -tolerated:
            score = sum(scores.values()) / len(scores)
            full = result.scores[result.primary]
            size = scale * storage.bytes_per_vector
            return Choice(storage, score, full, size, scale * full_bytes, cost, compared)
    return None


def advised(row: Row) -> list[str]:
    """The choice in sentences, with the speed where it was measured; none where there is nothing to say."""
    choice, metric = smallest(row), metric_label(row.result.primary)
    if choice is None:
        return []
    millions = choice.bytes_per_page * 10**6 / 10**9
    size = f"{choice.bytes_per_page:,.0f} bytes a page, {millions:,.2f} GB for a million pages"
    if choice.bytes_per_page >= choice.full_bytes:
        told = (
            f"Keep the whole vectors ({size}): of no smaller way to keep them these questions rule out a loss of "
            f"{metric} above {TOLERATED} ({_interval(choice)})."
        )
    else:
        times = choice.full_bytes / choice.bytes_per_page
        told = (
            f"Vectors of {choice.storage.dim} dimensions in {choice.storage.precision} are enough ({size}): "
            f"{times:,.3g} times smaller, with {metric} {choice.score:.3f} in place of {choice.full:.3f}; a loss above "
            f"{TOLERATED} is ruled out ({_interval(choice)})."
        )
    cost = choice.cost
    if cost is None or cost.ms_per_query is None:
        return [told]
    speed = f"{told} A search over {cost.pages:,} pages takes {cost.ms_per_query:.3g} ms"
    return [f"{speed} ({cost.hardware})." if cost.hardware else f"{speed}."]


def _interval(choice: Choice) -> str:
    if choice.compared < 2:
        return "95% interval"
    return f"95% interval, corrected for the {choice.compared} smaller ways compared (Bonferroni)"


def _options(row: Row) -> Sequence[tuple[Storage, Mapping[str, float], Cost | None]]:
    """Every way that was measured: how, the scores, and what it takes."""
    result = row.result
    primary = result.primary
    measured = [one for one in result.cells if not one.depth]
    if measured:
        return [(one.storage, one.scores.per_query[primary], one.cost) for one in measured]
    return [(Storage(dim), found.per_query[primary], None) for dim, found in result.by_dim.items()]


def _vectors_per_page(row: Row, full_bytes: int) -> float:
    """1 for a vector a page; of token vectors their mean number."""
    cost = row.result.cost
    return 1.0 if cost is None else cost.bytes_per_page / full_bytes
