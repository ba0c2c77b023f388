"""Limits of a micro-batch that worker processes share."""

from __future__ import annotations

import multiprocessing
import pickle

import pytest

from sightline.errors import ConfigError
from sightline.training.limits import Limits, parse_bytes


def _read(limits: Limits, asked: multiprocessing.Queue, told: multiprocessing.Queue) -> None:
    while asked.get():
        told.put((limits.token_budget, limits.max_items))


def test_a_process_that_runs_already_sees_a_change() -> None:
    context = multiprocessing.get_context("fork")
    asked, told = context.Queue(), context.Queue()
    limits = Limits(4096, None)
    process = context.Process(target=_read, args=(limits, asked, told))
    process.start()
    asked.put(True)
    assert told.get(timeout=20) == (4096, None)
    limits.set(2048, 3)
    asked.put(True)
    assert told.get(timeout=20) == (2048, 3)
    asked.put(False)
    process.join(20)
    assert process.exitcode == 0


def test_limits_are_checked_and_travel() -> None:
    with pytest.raises(ConfigError, match="max_items must be at least 1 or None, not 0"):
        Limits(None, 0)
    copy = pickle.loads(pickle.dumps(Limits(7, None)))
    assert (copy.token_budget, copy.max_items) == (7, None)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("8GB", 8 * 10**9), ("1.5 GiB", 3 * 2**29), ("512mb", 512 * 10**6), (1e6, 10**6), ("77", 77)],
)
def test_bytes_are_read(value: float | str, wanted: int) -> None:
    assert parse_bytes(value, "memory_budget") == wanted


@pytest.mark.parametrize(
    "value", ["8 bananas", "GB", "", "-3GB", 0, -1.0, float("nan"), float("inf"), "1..2GB"]
)
def test_what_is_no_size_is_refused(value: float | str) -> None:
    with pytest.raises(ConfigError, match="memory_budget"):
        parse_bytes(value, "memory_budget")
