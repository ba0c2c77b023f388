"""Every loss in the step: kept, embedded again or mixed, the gradients of one plain pass, with dropout on."""

from __future__ import annotations

import pytest
import torch

import sightline
from sightline.training.step import Step
from support.loss_cases import CASES, LossCase, gradients, kinds, plain


@pytest.mark.parametrize("kept", [None, 2, 0])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_split_has_the_gradients_of_a_plain_step(case: LossCase, kept: int | None) -> None:
    batches = [case.batch(case.rows, per_group=4), case.batch(case.rows[3:], per_group=3)]
    model = case.model(dropout=0.3).train()
    torch.manual_seed(1)
    parts, expected = plain(model, batches, case.loss, scale=0.5)
    assert max(float(one.abs().max()) for one in expected.values()) > 1e-3, "there is something to compare"
    model = case.model(dropout=0.3).train()
    torch.manual_seed(1)
    step = Step(kept)
    for batch in batches:
        got_parts = step.run(model, batch, case.loss, scale=0.5)
    torch.testing.assert_close(got_parts, parts, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(model), expected, rtol=1e-5, atol=1e-6)


def test_every_public_loss_has_a_case() -> None:
    public = {name for name, home in sightline._HOMES.items() if home.startswith("sightline.losses.")}
    assert public == {kind for case in CASES for kind in kinds(case.loss)}
