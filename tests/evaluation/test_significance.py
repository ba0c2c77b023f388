"""Intervals and p-values against exact enumeration and known coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sightline.errors import ConfigError, DataError
from sightline.evaluation.significance import (
    bootstrap_mean,
    bootstrap_means,
    holm,
    paired_bootstrap,
    randomization_test,
)


def test_interval_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    scores = np.random.default_rng(1).beta(2, 3, size=120)
    ours = bootstrap_mean(scores)
    theirs = bootstrap((scores,), np.mean, method="percentile", n_resamples=20_000, rng=3).confidence_interval
    assert ours.mean == pytest.approx(scores.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2e-3)


def test_equal_seeds_give_equal_intervals_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = list(np.random.default_rng(2).random(50))
    first = bootstrap_mean(scores, seed=7)
    assert first == bootstrap_mean(scores, seed=7)
    assert first != bootstrap_mean(scores, seed=8)
    monkeypatch.setattr("sightline.evaluation.significance._CHUNK", 333)
    assert first == bootstrap_mean(scores, seed=7)


def test_coverage_of_the_paired_interval() -> None:
    """95% intervals of 200 made experiments contain the true difference about 95% of the time."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        before = rng.random(80)
        after = before + 0.05 + rng.normal(0, 0.2, 80)
        interval = paired_bootstrap(before, after, resamples=500)
        covered += interval.low <= 0.05 <= interval.high
    assert 178 <= covered <= 200


def test_p_value_equals_full_enumeration() -> None:
    before = [0.1, 0.4, 0.3, 0.5, 0.2, 0.9, 0.6, 0.1, 0.7, 0.4]
    after = [0.3, 0.5, 0.2, 0.9, 0.6, 0.9, 0.7, 0.3, 0.6, 0.8]
    differences = np.subtract(after, before)
    flips = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    exact = float((np.abs(flips @ differences) >= abs(differences.sum()) - 1e-12).mean())
    assert randomization_test(before, after, resamples=40_000) == pytest.approx(exact, abs=0.01)


def test_no_difference_and_clear_difference() -> None:
    scores = list(np.linspace(0, 1, 60))
    same = paired_bootstrap(scores, scores)
    assert (same.mean, same.low, same.high, same.excludes_zero) == (0.0, 0.0, 0.0, False)
    assert randomization_test(scores, scores) == 1.0
    better = [score + 0.1 + 0.01 * (i % 3) for i, score in enumerate(scores)]
    assert paired_bootstrap(scores, better).excludes_zero
    assert randomization_test(scores, better, resamples=999) == pytest.approx(0.001)
    assert paired_bootstrap(better, scores).high < 0


def test_groups_are_resampled_as_wholes() -> None:
    """20 documents with 10 identical questions each carry the information of 20 questions, not 200."""
    per_document = np.random.default_rng(4).random(20)
    scores = np.repeat(per_document, 10)
    documents = np.repeat(np.arange(20), 10).tolist()
    grouped, alone = bootstrap_mean(scores, groups=documents), bootstrap_mean(scores)
    few = bootstrap_mean(per_document)
    assert grouped.mean == pytest.approx(alone.mean)
    assert (grouped.low, grouped.high) == pytest.approx((few.low, few.high))
    assert (grouped.high - grouped.low) > 2.5 * (alone.high - alone.low)
    before = np.zeros(200)
    assert randomization_test(before, scores - 0.4, groups=documents) > randomization_test(
        before, scores - 0.4
    )


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(DataError, match="2 before but 1 after"):
        paired_bootstrap([0.1, 0.2], [0.1])
    with pytest.raises(DataError, match="no scores"):
        bootstrap_mean([])
    with pytest.raises(DataError, match="score number 1 is not a number"):
        bootstrap_mean([0.1, float("nan")])
    with pytest.raises(DataError, match="one group per query"):
        bootstrap_mean([0.1, 0.2], groups=["a"])
    with pytest.raises(ConfigError, match="confidence"):
        bootstrap_mean([0.1], confidence=95)


def test_several_metrics_from_the_same_draws() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(50), rng.random(50)
    together = bootstrap_means([first, second])
    for found, scores in zip(together, (first, second), strict=True):
        alone = bootstrap_mean(scores)
        assert (found.mean, found.low, found.high) == pytest.approx((alone.mean, alone.low, alone.high))
    # The interval of a sum is that of the summed scores only where the draws are the same.
    total = bootstrap_means([first, -first])
    assert total[0].low == pytest.approx(-total[1].high)
    assert bootstrap_means([]) == []
    with pytest.raises(DataError, match="different numbers of scores"):
        bootstrap_means([[0.1, 0.2], [0.1]])


def test_holm() -> None:
    # Holm's own example of three: 0.01 * 3, 0.02 * 2, and the last not below the one before.
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
