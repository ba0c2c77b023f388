"""What ranks share, without any: how things are split, packed and numbered."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sightline.errors import TrainingError
from sightline.models.out_of_memory import is_out_of_memory
from sightline.training.distributed import ALONE, Ranks, buckets, share
from sightline.training.gathering import gather_batch
from sightline.training.sampling import BatchOrder, share_of_batches
from sightline.training.weights import add_gradients, layer_names, whole_state_dict


@given(count=st.integers(0, 50), size=st.integers(1, 7))
def test_shares_are_all_of_it_in_order_and_even(count: int, size: int) -> None:
    parts = [list(range(count))[share(count, rank, size)] for rank in range(size)]
    assert [one for part in parts for one in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(rows=st.integers(1, 40), batch=st.integers(1, 9), size=st.integers(1, 4), drop=st.booleans())
def test_ranks_share_the_batches_of_one_process(rows: int, batch: int, size: int, drop: bool) -> None:
    drop = drop and rows >= batch
    alone = BatchOrder(range(100, 100 + rows), batch, seed=3, drop_last=drop)
    several = [
        BatchOrder(range(100, 100 + rows), batch, seed=3, drop_last=drop, ranks=Ranks(rank, size))
        for rank in range(size)
    ]
    for epoch in (0, 1):
        for order in (alone, *several):
            order.set_epoch(epoch)
        together = [[row for part in parts for row in part] for parts in zip(*several, strict=True)]
        assert together == list(alone)
        assert {len(order) for order in several} == {len(alone)}


@given(rows=st.integers(0, 40), batch=st.integers(1, 9), size=st.integers(1, 4))
def test_held_out_batches_stay_whole(rows: int, batch: int, size: int) -> None:
    numbers = list(range(rows))
    shares = [share_of_batches(numbers, batch, Ranks(rank, size)) for rank in range(size)]
    batches = [list(part[i : i + batch]) for part in shares for i in range(0, len(part), batch)]
    assert batches == [numbers[i : i + batch] for i in range(0, rows, batch)]


def test_buckets_keep_types_apart_and_stay_small() -> None:
    tensors = [
        torch.zeros(3),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, 2),
        torch.zeros(9),
        torch.zeros(1),
    ]
    found = list(buckets(tensors, limit=30))
    assert [[one.shape for one in bucket] for bucket in found] == [[(3,), (2, 2)], [(9,)], [(1,)], [(2,)]]
    assert not list(buckets([]))


def test_one_process_alone_asks_nobody() -> None:
    assert ALONE.exchange("x") == ["x"]
    assert ALONE.agree(True)
    assert not ALONE.agree(False)
    assert ALONE.from_main(lambda: 7) == 7
    assert Ranks.of_process() is ALONE
    with pytest.raises(TrainingError, match="mine"), ALONE.together("working"):
        raise TrainingError("mine")
    model = nn.Linear(2, 2)
    add_gradients(model, ALONE)
    assert model.weight.grad is None
    assert list(whole_state_dict(model)) == ["weight", "bias"]


def test_one_process_alone_has_the_whole_batch() -> None:
    from distributed.towers import make_batch

    batch = make_batch([(1, 2, -1), (3, 2, 4)])
    whole = gather_batch(batch, ALONE)
    assert whole.batch is batch
    assert (whole.own_rows, whole.own, whole.first_N) == (slice(0, 2), slice(0, 4), None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            True,
        ),
        (RuntimeError("shapes do not match"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_layers_that_fsdp_gathers_are_those_of_the_backbone(tiny_encoder) -> None:  # type: ignore[no-untyped-def]
    assert layer_names(tiny_encoder("bert")) == ["BertEmbeddings", "BertLayer"]
    assert layer_names(nn.Linear(2, 2)) == []
