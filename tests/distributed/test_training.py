"""The Trainer on several gloo ranks: it ends where one process with the whole batch ends; a rank that dies ends it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from distributed.launching import all_well, launch
from distributed.training_run import ROWS, train


@pytest.mark.parametrize("kind", ["replicated", "sharded"])
def test_two_ranks_end_where_one_process_ends(tmp_path: Path, kind: str) -> None:
    alone, several = tmp_path / "alone", tmp_path / "several"
    alone.mkdir()
    several.mkdir()
    all_well(launch("training_run.py", 2, str(several), kind))
    expected = train(alone, 1)
    got = [json.loads((several / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert got[0]["logs"] == got[1]["logs"], "every rank logs and returns the same"
    for mine, line in zip(got[0]["logs"], expected["logs"], strict=True):
        assert mine == pytest.approx(line, rel=1e-5), line
    assert [line for line in expected["logs"] if "eval_map" in line], "it did evaluate"
    assert got[0]["checkpoints"] == expected["checkpoints"] == ["checkpoint-2", "checkpoint-4"]
    # Queries and documents, twice: each rank encoded its share of them.
    assert expected["encoded"] == 4 * len(ROWS)
    assert [one["encoded"] for one in got] == [4 * 7, 4 * 6]
    torch.testing.assert_close(
        torch.load(several / "weights.pt"), torch.load(alone / "weights.pt"), rtol=1e-5, atol=1e-6
    )


def test_a_rank_that_dies_ends_the_run_with_a_message(tmp_path: Path) -> None:
    ended = launch("training_run.py", 2, str(tmp_path), "dies")
    assert [one.code for one in ended] == [1, -signal.SIGKILL]
    assert "LostRankError: rank 0 of 2 lost another rank while" in ended[0].errors
    assert "its process ended or stopped answering" in ended[0].errors
    assert not list((tmp_path / "run").glob("checkpoint-*"))
