"""Every loss on several gloo ranks, with accumulation: the gradients of one process on the whole batches.

One launch per number of ranks goes through the cases of `support.loss_cases`; see `loss_gradients.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from distributed.launching import all_well, launch
from distributed.loss_gradients import batches_of
from support.loss_cases import CASES, LossCase, plain

Found = Callable[[int], list[dict[str, Any]]]

# What differs with the number of ranks is how batches are put together: of each kind one.
ON_THREE = {
    "infonce, by a guide, directions", "batch hard, euclidean", "embedding distillation, projected", "layers",
    "margin mse of pairs, margins", "in-batch ranking and labels", "listnet",
}  # fmt: skip
RUNS = [(case, 2) for case in CASES] + [(case, 3) for case in CASES if case.name in ON_THREE]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """``found(2)``: what each of two ranks wrote."""
    known: dict[int, list[dict[str, Any]]] = {}

    def of(ranks: int) -> list[dict[str, Any]]:
        if ranks not in known:
            folder = tmp_path_factory.mktemp(f"ranks{ranks}")
            names = [case.name for case, wanted in RUNS if wanted == ranks]
            all_well(launch("loss_gradients.py", ranks, str(folder), *names))
            known[ranks] = [torch.load(folder / f"rank{rank}.pt") for rank in range(ranks)]
        return known[ranks]

    return of


@pytest.mark.parametrize(("case", "ranks"), RUNS, ids=lambda one: getattr(one, "name", None))
def test_gradients_are_those_of_one_process(case: LossCase, ranks: int, found: Found) -> None:
    batches = [case.batch(rows) for rows in batches_of(case)]
    parts, expected = plain(case.model(), batches, case.loss, scale=1 / len(batches))
    assert max(float(one.abs().max()) for one in expected.values()) > 1e-3, "there is something to compare"
    for rank, one in enumerate(found(ranks)):
        assert not isinstance(one[case.name], str), f"rank {rank}: {one[case.name]}"
        got_parts, got = one[case.name]
        torch.testing.assert_close(got_parts, parts, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_the_cases_on_three_ranks_exist() -> None:
    assert {case.name for case in CASES} >= ON_THREE
