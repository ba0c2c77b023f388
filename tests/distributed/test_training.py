"""The Trainer on several gloo ranks: it ends where one process with the whole batch ends; a rank that dies ends it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from distributed.launching import all_well, launch
from distributed.training_run import ROWS, train
from sightline.models.encoder import Encoder
from support import tiny_models


def check_same_end(several: Path, alone: Path, expected: dict[str, Any], *, rtol: float = 1e-5) -> None:
    """Both ranks logged what one process did, shared the encoding, and ended with its weights."""
    got = [json.loads((several / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert got[0]["logs"] == got[1]["logs"], "every rank logs and returns the same"
    for mine, line in zip(got[0]["logs"], expected["logs"], strict=True):
        assert mine == pytest.approx(line, rel=rtol), line
    assert [line for line in expected["logs"] if "eval_map" in line], "it did evaluate"
    assert got[0]["checkpoints"] == expected["checkpoints"] == ["checkpoint-2", "checkpoint-4"]
    # Queries and documents, twice: each rank encoded its share of them.
    assert expected["encoded"] == 4 * len(ROWS)
    assert [one["encoded"] for one in got] == [4 * 7, 4 * 6]
    torch.testing.assert_close(
        torch.load(several / "weights.pt"), torch.load(alone / "weights.pt"), rtol=rtol, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["replicated", "sharded"])
def test_two_ranks_end_where_one_process_ends(tmp_path: Path, kind: str) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    kinds = [kind, "saves"] if kind == "sharded" else [kind]
    tiny_models.bert(tmp_path / "bert", dropout=0.0)
    all_well(launch("training_run.py", 2, str(tmp_path), *kinds))
    check_same_end(tmp_path / kind, alone, train(alone, 1))
    if kind == "sharded":
        check_saves(tmp_path / "saves")


def check_saves(folder: Path) -> None:
    """What a sharded model wrote was compared with what all its weights gave: one is whole, the other refused."""
    trained = torch.load(folder / "weights.pt")
    for name in ("trainer", "run's"):
        found = Encoder.from_pretrained(folder / name, device="cpu")
        torch.testing.assert_close(found.state_dict(), trained)
        assert "Sightline on 13 rows" in (folder / name / "README.md").read_text()
    assert not (folder / "refused").exists()
    mine, others = ((folder / f"rank{rank}.txt").read_text().splitlines() for rank in range(2))
    assert len(mine) == len(others) == 2
    for line in mine:
        assert line.startswith("CheckpointError")
        assert "its vectors for text as query differ by" in line
    for line in others:
        assert line.startswith("PeerError rank 0 of 2 failed while saving the model")


def test_late_interaction_and_adapters_end_where_one_process_ends(tmp_path: Path) -> None:
    """Trained and evaluated by MaxSim over token vectors; an adapter in a frozen model."""
    tiny_models.bert(tmp_path / "bert", dropout=0.0)
    all_well(launch("training_run.py", 2, str(tmp_path), "late", "adapter"))
    for kind in ("late", "adapter"):
        alone = tmp_path / f"{kind} alone"
        alone.mkdir()
        check_same_end(tmp_path / kind, alone, train(alone, 1, kind=kind))


def test_a_rank_that_dies_ends_the_run_with_a_message(tmp_path: Path) -> None:
    ended = launch("training_run.py", 2, str(tmp_path), "dies")
    assert [one.code for one in ended] == [1, -signal.SIGKILL]
    assert "LostRankError: rank 0 of 2 lost another rank while" in ended[0].errors
    assert "its process ended or stopped answering" in ended[0].errors
    assert not list((tmp_path / "dies" / "run").glob("checkpoint-*"))
