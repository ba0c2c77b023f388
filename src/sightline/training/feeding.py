"""The DataLoader that feeds batches from worker processes."""

from __future__ import annotations

import os
import sys

import torch
from torch.utils.data import DataLoader

from sightline.training.batches import BatchBuilder, Delivery
from sightline.training.rows import Rows
from sightline.training.sampling import BatchOrder


def make_loader(
    rows: Rows,
    builder: BatchBuilder,
    order: BatchOrder,
    *,
    num_workers: int = 0,
    prefetch_factor: int | None = None,
    persistent_workers: bool = False,
    multiprocessing_context: str | None = None,
) -> DataLoader[Delivery]:
    """Batches on the CPU, in the order of ``order``, prepared ahead in ``num_workers`` processes.

    Nothing is moved to the device here: the step moves one micro-batch at a time.
    """
    return DataLoader(
        rows,
        batch_sampler=order,
        collate_fn=builder,
        num_workers=num_workers,
        prefetch_factor=prefetch_factor if num_workers else None,
        persistent_workers=persistent_workers and num_workers > 0,
        multiprocessing_context=multiprocessing_context if num_workers else None,
        worker_init_fn=init_worker,
    )


def init_worker(_: int) -> None:
    """One core per worker: the tokenizer's own threads, forked half-way through, would deadlock or warn."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)


def spare_cores() -> int:
    """Worker processes to use by default: one per core this process may use but the first, at most eight."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(8, max(1, cores - 1))
