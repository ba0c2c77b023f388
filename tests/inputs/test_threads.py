"""Threads beside the model run torch's operators on one core, and leave the others as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from sightline.inputs.threads import single_threaded


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def cores_used() -> int:
    torch.ones(200_000).mul_(
        2
    )  # a parallel operator, with which a thread would take over the process's number
    return torch.get_num_threads()


def test_each_thread_keeps_to_one_core_and_the_main_thread_to_its_own_number() -> None:
    with single_threaded(3, "test") as executor:
        assert [future.result() for future in [executor.submit(cores_used) for _ in range(6)]] == [1] * 6
        assert cores_used() == 2
    assert torch.get_num_threads() == 2
