"""Reciprocal rank fusion against its formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError
from sightline.evaluation.fusion import reciprocal_rank_fusion

RANKINGS = st.lists(st.lists(st.integers(0, 12), unique=True, max_size=10), max_size=4)


def test_two_rankings_by_hand() -> None:
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["b", "d"]])
    assert [key for key, _ in fused] == ["b", "a", "d", "c"]
    scores = dict(fused)
    assert scores["b"] == pytest.approx(1 / 62 + 1 / 61)
    assert scores["a"] == pytest.approx(1 / 61)
    assert scores["c"] == pytest.approx(1 / 63)
    assert scores["d"] == pytest.approx(1 / 62)


def test_weights_tilt_and_zero_leaves_out() -> None:
    rankings = [["a", "b"], ["b", "c"]]
    assert [key for key, _ in reciprocal_rank_fusion(rankings, weights=(0, 1))] == ["b", "c"]
    assert reciprocal_rank_fusion(rankings, weights=(10, 1))[1][0] == "a"
    assert reciprocal_rank_fusion([["a", "b"], ["c"]], weights=(1, 3))[0][0] == "c"


def test_ties_go_to_the_better_rank_then_the_earlier_ranking() -> None:
    assert [key for key, _ in reciprocal_rank_fusion([["a", "b"], ["c", "d"]])] == ["a", "c", "b", "d"]


def test_small_k_favours_first_places() -> None:
    rankings = [["a", "x", "b"], ["y", "z", "b"]]
    assert reciprocal_rank_fusion(rankings, k=60)[0][0] == "b"
    assert reciprocal_rank_fusion(rankings, k=0.1)[0][0] == "a"


def test_nothing_fuses_to_nothing_and_one_ranking_keeps_its_order() -> None:
    assert reciprocal_rank_fusion([]) == []
    assert reciprocal_rank_fusion([[], []]) == []
    assert [key for key, _ in reciprocal_rank_fusion([["c", "a", "b"], []])] == ["c", "a", "b"]
    assert reciprocal_rank_fusion([["a", "b", "a"]]) == reciprocal_rank_fusion([["a", "b"]])


@given(RANKINGS)
def test_scores_follow_the_formula(rankings: list[list[int]]) -> None:
    fused = reciprocal_rank_fusion(rankings, k=60)
    expected: dict[int, float] = {}
    for ranking in rankings:
        for place, key in enumerate(ranking):
            expected[key] = expected.get(key, 0.0) + 1 / (60 + place + 1)
    assert dict(fused) == pytest.approx(expected)
    assert [score for _, score in fused] == sorted(expected.values(), reverse=True) or fused == []


@pytest.mark.parametrize(
    "options", [{"weights": (1,)}, {"weights": (1, -1)}, {"k": 0}, {"weights": (1, float("nan"))}]
)
def test_what_cannot_be_fused_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="fusion"):
        reciprocal_rank_fusion([["a"], ["b"]], **options)  # type: ignore[arg-type]
