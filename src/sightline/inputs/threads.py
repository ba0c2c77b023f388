"""Threads beside the one that runs the model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier

import torch


def single_threaded(threads: int, name: str) -> ThreadPoolExecutor:
    """An executor whose threads run torch's operators on one core each.

    A thread that runs one parallel operator gets a pool of OpenMP threads of its own. With more of them than
    cores, libgomp puts waiting threads to sleep at once, in all pools: the model's many short operators then
    wait for threads to wake up, and run no faster than on one core.
    """
    before = torch.get_num_threads()
    executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
    # Started now and all of them, because the number is taken over by threads that start later.
    together = Barrier(threads)

    def begin() -> None:
        together.wait()
        torch.set_num_threads(1)
        # A thread takes over the process's number with its first parallel operator; after that it keeps its own.
        torch.ones(100_000).add_(1)

    wait([executor.submit(begin) for _ in range(threads)])
    torch.set_num_threads(before)
    return executor
