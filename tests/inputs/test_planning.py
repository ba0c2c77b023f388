"""Which items share a micro-batch."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError
from sightline.inputs.planning import PASS_COST, plan
from sightline.types import Cost

COSTS = st.builds(Cost, st.integers(0, 600), st.integers(0, 900))


def padded(costs: list[Cost], rows: list[int]) -> int:
    """What a forward pass of these rows pays for."""
    return len(rows) * max(costs[row].tokens for row in rows) + sum(costs[row].patches for row in rows) // 4


@given(
    items=st.lists(st.tuples(COSTS, st.sampled_from("abc")), max_size=60),
    budget=st.none() | st.integers(1, 3_000),
    most=st.none() | st.integers(1, 9),
)
def test_every_item_once_under_the_budget_and_with_its_own_group(
    items: list[tuple[Cost, str]], budget: int | None, most: int | None
) -> None:
    costs, groups = [cost for cost, _ in items], [group for _, group in items]
    planned = plan(costs, groups, token_budget=budget, max_items=most)
    assert sorted(row for rows in planned for row in rows) == list(range(len(items)))
    for rows in planned:
        assert rows
        assert len({groups[row] for row in rows}) == 1
        assert most is None or len(rows) <= most
        # An item dearer than the budget stands alone; no other micro-batch is over it.
        assert budget is None or len(rows) == 1 or padded(costs, rows) <= budget


@given(st.lists(st.tuples(COSTS, st.sampled_from("ab")), max_size=30))
def test_without_limits_a_group_is_one_micro_batch(items: list[tuple[Cost, str]]) -> None:
    costs, groups = [cost for cost, _ in items], [group for _, group in items]
    assert len(plan(costs, groups, token_budget=None)) == len(set(groups))


@given(st.lists(COSTS, min_size=1, max_size=40), st.integers(1, 2_000))
def test_the_dearest_micro_batch_comes_first(costs: list[Cost], budget: int) -> None:
    planned = plan(costs, [""] * len(costs), token_budget=budget)
    longest = [max(costs[row].tokens for row in rows) for rows in planned]
    assert longest == sorted(longest, reverse=True)


def test_an_item_above_the_budget_stands_alone() -> None:
    costs = [Cost(10), Cost(500), Cost(10), Cost(0, 4_000)]
    planned = plan(costs, ["x"] * 4, token_budget=100)
    assert sorted(map(sorted, planned)) == [[0, 2], [1], [3]]


def test_like_lengths_share_a_micro_batch() -> None:
    source = random.Random(0)
    costs = [Cost(int(min(2_000, 8 + source.expovariate(1 / 120)))) for _ in range(2_000)]
    planned = plan(costs, [""] * len(costs), token_budget=4_096)
    paid = sum(padded(costs, rows) for rows in planned)
    assert paid < 1.05 * sum(cost.tokens for cost in costs)


@pytest.mark.parametrize(
    "limits", [{"token_budget": 0}, {"token_budget": -3}, {"token_budget": 9, "max_items": 0}]
)
def test_a_limit_below_one_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        plan([Cost(1)], [""], **limits)


def test_padding_is_under_three_percent_on_mixed_lengths() -> None:
    source = random.Random(1)
    costs = [Cost(source.randint(7, 256)) for _ in range(192)]
    for budget in (2_048, 4_096, 65_536):
        planned = plan(costs, [""] * len(costs), token_budget=budget)
        paid = sum(padded(costs, rows) for rows in planned)
        assert sum(cost.tokens for cost in costs) > 0.97 * paid


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7), st.integers(12, 60))
def test_no_other_division_pays_less(tokens: list[int], budget: int) -> None:
    tokens = sorted(tokens, reverse=True)

    def least(rest: list[int]) -> int:
        if not rest:
            return 0
        return min(
            count * rest[0] + PASS_COST + least(rest[count:])
            for count in range(1, len(rest) + 1)
            if count == 1 or count * rest[0] <= budget
        )

    planned = plan([Cost(one) for one in tokens], [""] * len(tokens), token_budget=budget)
    paid = sum(len(rows) * tokens[rows[0]] + PASS_COST for rows in planned)
    assert paid == least(tokens)


@given(st.lists(COSTS, min_size=1, max_size=40), st.integers(1, 2_000))
def test_packed_texts_fill_micro_batches_by_their_own_tokens(costs: list[Cost], budget: int) -> None:
    planned = plan(costs, ["x"] * len(costs), token_budget=budget, packed={"x"})
    assert sorted(row for rows in planned for row in rows) == list(range(len(costs)))
    texts = [rows for rows in planned if all(costs[row].patches == 0 for row in rows)]
    assert all(len({costs[row].patches == 0 for row in rows}) == 1 for rows in planned)
    for rows, later in itertools.pairwise(texts):
        used = sum(costs[row].tokens for row in rows)
        assert len(rows) == 1 or used <= budget
        assert used + costs[later[0]].tokens > budget, "the next text would have fitted"
