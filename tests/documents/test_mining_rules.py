"""The choice of negatives against a naive loop, and what must hold whatever the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.documents.mining_rules import REASONS, Mined, MiningRules, choose
from sightline.errors import ConfigError

PLAIN = MiningRules(num_negatives=2, relative_margin=None)


def naive(
    candidates: list[int],
    scores: list[float],
    right: list[int],
    positive: float,
    copies: list[int],
    rules: MiningRules,
    window: int,
) -> tuple[list[int], list[int], dict[str, int]]:
    dropped = dict.fromkeys(REASONS, 0)
    left, rank = [], 0
    for number, given_score in zip(candidates, scores, strict=True):
        score, edge = np.float32(given_score), np.float32(positive)
        if number < 0:
            continue
        if number in right:
            dropped["right answer"] += 1
            continue
        if number in copies:
            dropped["same content as the right answer"] += 1
            continue
        rank += 1
        if rules.absolute_margin is not None and score + np.float32(rules.absolute_margin) > edge:
            dropped["absolute margin"] += 1
        elif rules.relative_margin is not None and score > edge - abs(edge) * np.float32(
            rules.relative_margin
        ):
            dropped["relative margin"] += 1
        elif rules.max_score is not None and score > np.float32(rules.max_score):
            dropped["max_score"] += 1
        elif rules.min_score is not None and score < np.float32(rules.min_score):
            dropped["min_score"] += 1
        else:
            left.append((number, rank))
    left = left[:window][rules.range_min : rules.range_min + rules.num_negatives]
    return [n for n, _ in left], [r for _, r in left], {k: v for k, v in dropped.items() if v}


def mined(
    candidates: list[int], scores: list[float], rules: MiningRules, *, name: str = "q", window: int = 99
) -> Mined:
    (found,) = choose(
        np.array([candidates]), np.array([scores], np.float32), [[0]], [[0.5]], [[]], rules, window, [name]
    )
    return found


@given(
    st.lists(st.tuples(st.integers(-1, 9), st.floats(-1, 1, width=32)), min_size=1, max_size=12),
    st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 9), max_size=2, unique=True),
    st.floats(-1, 1, width=32),
    st.builds(
        MiningRules,
        num_negatives=st.integers(1, 3),
        range_min=st.integers(0, 2),
        absolute_margin=st.none() | st.floats(0, 0.5),
        relative_margin=st.none() | st.floats(0, 0.5),
        max_score=st.none() | st.floats(0, 1),
        min_score=st.none() | st.floats(-1, 0),
    ),
    st.integers(1, 9),
)
def test_the_choice_is_that_of_a_loop(
    found: list[tuple[int, float]],
    right: list[int],
    copies: list[int],
    positive: float,
    rules: MiningRules,
    window: int,
) -> None:
    numbers, scores = [number for number, _ in found], [score for _, score in found]
    copies = [number for number in copies if number not in right]
    (one,) = choose(
        np.array([numbers]),
        np.array([scores], np.float32),
        [right],
        [[positive] * len(right)],
        [copies],
        rules,
        window,
        ["q"],
    )
    negatives, ranks, dropped = naive(numbers, scores, right, positive, copies, rules, window)
    assert (list(one.negatives), list(one.ranks), one.dropped) == (negatives, ranks, dropped)
    assert not set(one.negatives) & {*right, *copies, -1}


def test_the_lowest_right_score_sets_the_margin() -> None:
    rules = replace(PLAIN, absolute_margin=0.1)
    (found,) = choose(
        np.array([[5, 6, 7]]),
        np.array([[0.75, 0.45, 0.35]], np.float32),
        [[1, 2]],
        [[0.9, 0.5]],
        [[]],
        rules,
        9,
        ["q"],
    )
    assert found.negatives == (7,)
    assert found.dropped == {"absolute margin": 2}


def test_a_margin_below_a_negative_score_goes_the_right_way() -> None:
    rules = replace(PLAIN, relative_margin=0.05)
    (found,) = choose(
        np.array([[5, 6]]), np.array([[-4.1, -4.3]], np.float32), [[1]], [[-4.0]], [[]], rules, 9, ["q"]
    )
    assert found.negatives == (6,)


def test_random_draws_depend_on_seed_and_name_alone() -> None:
    rules = replace(PLAIN, sampling_strategy="random", num_negatives=4)
    candidates, scores = list(range(1, 31)), [0.4 - 0.01 * n for n in range(30)]
    first = mined(candidates, scores, rules)
    assert len(first.negatives) == 4
    assert list(first.ranks) == sorted(first.ranks)
    assert first == mined(candidates, scores, rules)
    others = {mined(candidates, scores, rules, name=name).negatives for name in "abcdef"}
    seeds = {mined(candidates, scores, replace(rules, seed=seed)).negatives for seed in range(6)}
    assert len(others) > 1
    assert len(seeds) > 1
    # Beside other questions the draw is the same.
    both = choose(
        np.array([candidates] * 2),
        np.array([scores] * 2, np.float32),
        [[0]] * 2,
        [[0.5]] * 2,
        [[]] * 2,
        rules,
        99,
        ["z", "q"],
    )
    assert both[1] == first
    inside = mined(candidates, scores, replace(rules, range_min=3), window=8)
    assert set(inside.ranks) <= set(range(4, 9))


def test_every_draw_is_possible() -> None:
    rules = replace(PLAIN, sampling_strategy="random", num_negatives=1)
    drawn = {mined([1, 2, 3, 4], [0.1] * 4, rules, name=str(n), window=3).negatives[0] for n in range(60)}
    assert drawn == {1, 2, 3}


def test_the_window() -> None:
    assert PLAIN.window(1) == 3
    assert replace(PLAIN, relative_margin=0.1, range_min=4).window(2) == 26
    assert replace(PLAIN, sampling_strategy="random").window(1) == 21
    assert replace(PLAIN, range_max=7).window(3) == 7


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"num_negatives": 0}, "at least 1"),
        ({"range_min": -1}, "not be negative"),
        ({"range_min": 3, "range_max": 6, "num_negatives": 4}, "widen the range"),
        ({"sampling_strategy": "best"}, "'top' or 'random'"),
        ({"max_score": float("nan")}, "finite"),
    ],
)
def test_rules_that_leave_nothing_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MiningRules(**wrong)  # type: ignore[arg-type]
