"""Several gloo ranks: the gradients are those of one process on the whole batch, with one reduction per step.

`gradients.py` holds the cases: losses, uneven and empty shares, items on several ranks, a tower that only one rank
runs, accumulation, graphs kept here and embedded again there, running out of memory on one rank.
"""

from __future__ import annotations

import pytest

from distributed.launching import all_well, launch


@pytest.mark.parametrize(("kind", "ranks"), [("replicated", 2), ("replicated", 3), ("sharded", 2)])
def test_gradients_are_those_of_one_process(kind: str, ranks: int) -> None:
    all_well(launch("gradients.py", ranks, kind))


@pytest.mark.parametrize("ranks", [2, 3])
def test_losses_over_pairs(ranks: int) -> None:
    all_well(launch("pair_gradients.py", ranks))
