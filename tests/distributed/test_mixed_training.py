"""Several datasets, a stream, a guide and drawn layers on two ranks: they end where one process ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from distributed.launching import all_well, launch
from distributed.mixed_run import train
from support import tiny_models


def test_two_ranks_end_where_one_process_ends(tmp_path: Path) -> None:
    alone, several = tmp_path / "alone", tmp_path / "several"
    alone.mkdir()
    several.mkdir()
    tiny_models.bert(tmp_path / "bert", dropout=0.0)
    tiny_models.bert(tmp_path / "guide", seed=3)
    all_well(launch("mixed_run.py", 2, str(several)))
    expected = train(alone, 1)["logs"]
    got = [json.loads((several / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert got[0] == got[1], "every rank logs the same"
    assert len(expected) == 6
    for mine, line in zip(got[0], expected, strict=True):
        assert mine == pytest.approx(line, rel=1e-4, abs=1e-5), line  # a batch of one row has no gradient
    torch.testing.assert_close(
        torch.load(several / "weights.pt"), torch.load(alone / "weights.pt"), rtol=1e-4, atol=1e-5
    )
