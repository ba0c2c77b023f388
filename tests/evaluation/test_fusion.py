"""Reciprocal rank fusion against its formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError
from sightline.evaluation.fusion import reciprocal_rank_fusion, score_fusion

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


def test_scores_are_brought_to_one_scale_and_added() -> None:
    vector = [("a", 0.8), ("b", 0.4), ("c", -0.1)]
    text = [("b", 12.0), ("d", 6.0)]
    fused = dict(score_fusion([vector, text], weights=(3, 1), lowest=(-1.0, 0.0)))
    assert fused == pytest.approx(
        {"a": 0.75, "b": 0.75 * 1.4 / 1.8 + 0.25, "c": 0.75 * 0.9 / 1.8, "d": 0.25 * 0.5}
    )
    assert [key for key, _ in score_fusion([vector, text], weights=(3, 1), lowest=(-1.0, 0.0))] == [*"bacd"]


def test_the_least_found_stands_for_the_least_there_can_be() -> None:
    fused = dict(score_fusion([[("a", 9.0), ("b", 5.0), ("c", 4.0)]]))
    assert fused == pytest.approx({"a": 1.0, "b": 0.2, "c": 0.0})
    assert dict(score_fusion([[("a", -3.0)]])) == {"a": 1.0}


def test_what_a_ranking_does_not_hold_scores_as_told() -> None:
    rankings = [[("a", 1.0), ("b", 0.5)], [("c", 4.0)]]
    fused = dict(score_fusion(rankings, lowest=(0.0, 0.0), absent=(0.5, None)))
    assert fused == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25 + 0.5})


def test_scores_of_weight_zero_repeats_and_ties() -> None:
    assert score_fusion([[("a", 1.0)], [("b", 1.0)]], weights=(0, 1)) == [("b", 1.0)]
    assert score_fusion([]) == score_fusion([[], []]) == []
    assert dict(score_fusion([[("a", 2.0), ("b", 1.0), ("a", 0.0)]], lowest=(0.0,))) == {"a": 1.0, "b": 0.5}
    assert [key for key, _ in score_fusion([[("a", 1.0)], [("b", 7.0)]], lowest=(0, 0))] == ["a", "b"]


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-5, 5)), max_size=15), st.floats(0.5, 20))
def test_the_scale_of_scores_makes_no_difference(ranking: list[tuple[int, float]], factor: float) -> None:
    scored = sorted(ranking, key=lambda entry: -entry[1])
    other = [(key, 1.0) for key in range(3)]
    plain = dict(score_fusion([scored, other], lowest=(-5.0, 0.0)))
    scaled = [(key, factor * score) for key, score in scored]
    again = dict(score_fusion([scaled, other], lowest=(-5.0 * factor, 0.0)))
    assert again == pytest.approx(plain, abs=1e-9)
    assert all(-1e-12 <= score <= 1 + 1e-12 for score in plain.values())


@pytest.mark.parametrize(
    "options", [{"weights": (1,)}, {"lowest": (0,)}, {"absent": (0,)}, {"weights": (1, -1)}]
)
def test_scores_that_cannot_be_fused_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="fusion"):
        score_fusion([[("a", 1.0)], [("b", 1.0)]], **options)  # type: ignore[arg-type]
