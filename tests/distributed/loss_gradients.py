"""Run as several ranks: the gradients of every loss, over batches that are accumulated.

Arguments: the folder that gets ``rank<r>.pt`` (case -> parts of the last batch and gradients, or why there are none),
and the names of the cases.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from sightline.training.distributed import Ranks, share
from sightline.training.step import Step
from sightline.training.weights import Replicated
from sightline.types import Batch
from support.loss_cases import CASES, LossCase, Row, gradients


def batches_of(case: LossCase) -> list[tuple[Row, ...]]:
    """Rows that divide unevenly; a single one, so that a rank has none; rows that begin in the middle."""
    return [case.rows, case.rows[:1], case.rows[3:]]


def run(case: LossCase, ranks: Ranks) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """This rank's part of the batches; it keeps another number of graphs than the others."""
    model, batches = case.model(), batches_of(case)
    Replicated(model, ranks)
    step = Step((None, 1, 0)[ranks.rank], ranks=ranks)
    parts: dict[str, Tensor] = {}
    for number, rows in enumerate(batches):
        own = rows[share(len(rows), ranks.rank, ranks.size)]
        batch = case.batch(own, per_group=3) if own else Batch.empty()
        last = number == len(batches) - 1
        parts = step.run(model, batch, case.loss, scale=1 / len(batches), sync=last)
    return parts, gradients(model)


def main(folder: Path, names: Sequence[str]) -> None:
    dist.init_process_group("gloo")
    ranks = Ranks.of_process()
    found: dict[str, object] = {}
    for case in CASES:
        if case.name not in names:
            continue
        try:
            found[case.name] = run(case, ranks)
        except Exception as error:  # the test of this case says so; the others go on
            found[case.name] = f"{type(error).__name__}: {error}"
    torch.save(found, folder / f"rank{ranks.rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
