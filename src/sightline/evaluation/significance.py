"""How sure a mean, or a difference of means over the same queries, is.

Sakai, "Evaluating evaluation metrics based on the bootstrap", SIGIR 2006; Smucker, Allan & Carterette, "A
comparison of statistical significance tests for information retrieval evaluation", CIKM 2007. The bootstrap
resamples queries with replacement; the randomisation test swaps the two systems' scores per query.

Questions about one document are not independent: they are easy or hard together. Give ``groups`` (the
document of each query) and whole documents are resampled or swapped, which widens an interval that would
otherwise be too sure of itself (cluster bootstrap; Cameron, Gelbach & Miller 2008).

Shape letters: Q queries, G groups, S resamples of a chunk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sightline.errors import ConfigError, DataError

RESAMPLES = 10_000
_CHUNK = 2**22  # random numbers held at once: 32 MiB


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes:
        mean: the mean of the sample itself.
        low, high: percentile bounds.
        confidence: probability the interval is made for, e.g. 0.95.
    """

    mean: float
    low: float
    high: float
    confidence: float = 0.95

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def bootstrap_mean(
    scores_Q: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean of per-query scores; see `bootstrap_means`."""
    return bootstrap_means([scores_Q], groups=groups, confidence=confidence, resamples=resamples, seed=seed)[
        0
    ]


def bootstrap_means(
    scores_MQ: Sequence[Sequence[float]],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Percentile bootstrap intervals of the means of several metrics, out of the same resampled queries.

    Args:
        scores_MQ: per metric one score per query, in the same order.
        groups: the group of each query (its document); resampled as wholes. By default each query alone.
        confidence: between 0 and 1.
        resamples: bootstrap samples.
        seed: equal seeds give equal intervals.

    Raises:
        DataError: no scores, a score that is not a number, or groups of another length.
        ConfigError: a confidence outside (0, 1) or no resamples.
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise ConfigError(
            f"confidence {confidence} must be between 0 and 1, resamples {resamples} at least 1"
        )
    grouped = [_grouped(scores_Q, groups) for scores_Q in scores_MQ]
    if not grouped:
        return []
    sizes_G = grouped[0][1]
    if any(len(sizes) != len(sizes_G) for _, sizes in grouped):
        raise DataError(f"the metrics have different numbers of scores: {[len(row) for row in scores_MQ]}")
    rng = np.random.default_rng(seed)
    sums_MG, groups_drawn = np.stack([sums for sums, _ in grouped]), len(sizes_G)
    means_MS = np.empty((len(grouped), resamples))
    for part in _chunks(resamples, groups_drawn):
        count = part.stop - part.start
        picks_SG = rng.integers(0, groups_drawn, size=(count, groups_drawn))
        # How often each group was drawn: sums of all metrics are then one product.
        places = (picks_SG + groups_drawn * np.arange(count)[:, None]).ravel()
        times_SG = (
            np.bincount(places, minlength=count * groups_drawn).reshape(count, groups_drawn).astype(float)
        )
        means_MS[:, part] = (sums_MG @ times_SG.T) / (times_SG @ sizes_G)
    tail = (1 - confidence) / 2
    bounds_2M = np.quantile(means_MS, [tail, 1 - tail], axis=1)
    return [
        Interval(float(sums_G.sum() / sizes_G.sum()), float(low), float(high), confidence)
        for (sums_G, _), low, high in zip(grouped, *bounds_2M, strict=True)
    ]


def paired_bootstrap(
    before_Q: Sequence[float],
    after_Q: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of mean(after - before) over the same queries in the same order (see `bootstrap_mean`)."""
    return bootstrap_mean(
        _differences(before_Q, after_Q),
        groups=groups,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def randomization_test(
    before_Q: Sequence[float],
    after_Q: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Two-sided p-value of the paired randomisation (permutation) test on the mean difference.

    If the two systems were the same, every query's (or group's) difference could as well have the other sign:
    p = (1 + resamples whose |sum| is at least the observed one) / (1 + resamples), never exactly 0.
    """
    sums_G, _ = _grouped(_differences(before_Q, after_Q), groups)
    rng = np.random.default_rng(seed)
    # A hair below the observed value, so that rounding doesn't decide between equal sums.
    observed = abs(sums_G.sum()) - 1e-12 * np.abs(sums_G).sum()
    extreme = 0
    for part in _chunks(resamples, len(sums_G)):
        signs_SG = rng.integers(0, 2, size=(part.stop - part.start, len(sums_G)), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs_SG @ sums_G) >= observed).sum())
    return (1 + extreme) / (1 + resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being several (Holm, "A simple sequentially rejective multiple test procedure", 1979).

    Below 0.05 all together only one time in twenty if no system differed: the k-th smallest of m is multiplied by
    m - k + 1, and none is smaller than one before it.
    """
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, p_values[number] * (len(p_values) - place)))
        corrected[number] = largest
    return corrected


def _differences(before_Q: Sequence[float], after_Q: Sequence[float]) -> list[float]:
    if len(before_Q) != len(after_Q):
        raise DataError(
            f"paired tests need the same queries: {len(before_Q)} before but {len(after_Q)} after"
        )
    return [after - before for before, after in zip(before_Q, after_Q)]


def _grouped(scores_Q: Sequence[float], groups: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the scores of every group."""
    values_Q = np.asarray(scores_Q, dtype=np.float64)
    if values_Q.size == 0:
        raise DataError("there are no scores to resample")
    if np.isnan(values_Q).any():
        raise DataError(f"score number {int(np.isnan(values_Q).argmax())} is not a number")
    if groups is None:
        return values_Q, np.ones(len(values_Q))
    if len(groups) != len(values_Q):
        raise DataError(f"{len(values_Q)} scores but {len(groups)} groups: give one group per query")
    numbers: dict[Hashable, int] = {}
    codes_Q = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    return np.bincount(codes_Q, weights=values_Q), np.bincount(codes_Q).astype(np.float64)


def _chunks(resamples: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // width)
    for start in range(0, resamples, step):
        yield slice(start, min(start + step, resamples))
