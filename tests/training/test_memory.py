"""How many graphs are kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.training.memory import GraphBudget, available_bytes, fitting, graph_bytes, positions


@given(st.lists(st.floats(0.1, 100), max_size=12), st.floats(0, 500))
def test_what_is_kept_fits_beside_the_largest_of_the_rest(sizes: list[float], room: float) -> None:
    kept = fitting(sizes, room)
    if sum(sizes) <= room:
        assert kept == len(sizes)
        return
    assert kept < len(sizes)
    if kept:
        assert sum(sizes[:kept]) + max(sizes[kept:]) <= room
    assert sum(sizes[: kept + 1]) + max(sizes[kept + 1 :], default=0.0) > room


def test_graphs_are_counted_without_weights_and_leave_no_trace(
    make_encoder: Callable, make_batch: Callable
) -> None:
    model, batch = make_encoder().train(), make_batch(per_group=36)
    state = torch.get_rng_state()
    small, large = (
        graph_bytes(model, mb) for mb in (make_batch(per_group=9).micro_batches[0], batch.micro_batches[0])
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    # 36 items of up to 12 words of 24 float32: the dropped-out word vectors alone.
    words = positions(batch.micro_batches[0]) * 24 * 4
    assert words < large < 40 * words
    assert large > 2 * small
    model.requires_grad_(False)
    assert graph_bytes(model, batch.micro_batches[0]) == 0


def test_the_budget_decides(make_encoder: Callable, make_batch: Callable) -> None:
    model, batch = make_encoder().train(), make_batch(per_group=8)
    budget = GraphBudget()
    assert budget.kept(model, batch) == 9
    assert list(budget.bytes_per_position) == ["[('group', 'text')]"]
    budget.bytes_free = 0.0
    assert budget.kept(model, batch) == 0
    needed = [positions(mb) * budget.bytes_per_position["[('group', 'text')]"] for mb in batch.micro_batches]
    budget.bytes_free = sum(needed) * 0.6
    assert 2 <= budget.kept(model, batch) <= 6


def test_available_memory_is_a_sane_number() -> None:
    assert 10**7 < available_bytes(torch.device("cpu")) < 10**14


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_available_memory_of_a_gpu() -> None:
    assert available_bytes(torch.device("cuda")) > 0
