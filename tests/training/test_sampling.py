"""The order of batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightline.errors import ConfigError
from sightline.training.sampling import BatchOrder


@given(
    count=st.integers(1, 60),
    size=st.integers(1, 17),
    seed=st.integers(0, 2**32),
    epoch=st.integers(0, 5),
    drop_last=st.booleans(),
)
def test_every_row_once_and_the_length_is_right(
    count: int, size: int, seed: int, epoch: int, drop_last: bool
) -> None:
    rows = [3 * n for n in range(count)]
    if drop_last and count < size:
        with pytest.raises(ConfigError, match="do not fill one batch"):
            BatchOrder(rows, size, drop_last=True)
        return
    order = BatchOrder(rows, size, seed=seed, drop_last=drop_last)
    order.set_epoch(epoch)
    batches = list(order)
    assert len(batches) == len(order)
    drawn = [row for batch in batches for row in batch]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(rows)
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(drawn) == (count // size * size if drop_last else count)
    assert list(order) == batches, "the same epoch gives the same order"


def test_epochs_and_seeds_differ() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = BatchOrder(range(100), 10, seed=seed)
        batches.set_epoch(epoch)
        return list(batches)

    seen = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert all(a != b for number, a in enumerate(seen) for b in seen[:number])


def test_unshuffled_keeps_the_order() -> None:
    assert list(BatchOrder(range(5), 2, shuffle=False)) == [[0, 1], [2, 3], [4]]


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        BatchOrder(range(5), 0)
