"""The Trainer on several gloo ranks: it ends where one process with the whole batch ends; stopped, it goes on."""

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
from sightline.training.saving import Checkpoints
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


# Stopped and gone on with: sharded under plain SGD, which keeps nothing by weight; and under AdamW, with dropout.
STOPPED = ("sharded", "dropout", "dropout sharded")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks have made, a folder per kind; one launch, for starting a process takes longer than training."""
    work = tmp_path_factory.mktemp("several")
    tiny_models.bert(work / "bert", dropout=0.0)
    stopped = [name for kind in STOPPED for name in (kind, f"{kind} stopped")]
    kinds = dict.fromkeys(["replicated", "late", "adapter", "saves", *stopped])
    all_well(launch("training_run.py", 2, str(work), *kinds))
    return work


@pytest.mark.parametrize("kind", ["replicated", "sharded", "late", "adapter"])
def test_two_ranks_end_where_one_process_ends(several: Path, kind: str) -> None:
    """Also where vectors of tokens are trained and evaluated by MaxSim, and an adapter in a frozen model."""
    alone = several / f"{kind} alone"
    alone.mkdir()
    model = kind if kind in ("late", "adapter") else ""
    check_same_end(several / kind, alone, train(alone, 1, kind=model))


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


def test_what_a_sharded_model_wrote_is_compared(several: Path) -> None:
    check_saves(several / "saves")


def same_weights(one: Path, other: Path) -> bool:
    weights, expected = (torch.load(folder / "weights.pt") for folder in (one, other))
    return weights.keys() == expected.keys() and all(torch.equal(weights[n], expected[n]) for n in expected)


@pytest.mark.parametrize("kind", STOPPED)
def test_ranks_that_are_stopped_go_on_as_if_they_had_not_been(several: Path, kind: str) -> None:
    """SIGTERM reaches one rank only; all save and stop, go on, and end with the same bits."""
    stopped = several / f"{kind} stopped"
    assert same_weights(stopped, several / kind)
    assert [path.name for path in Checkpoints(stopped / "run").all()] == [
        "checkpoint-1", "checkpoint-2", "checkpoint-4"
    ]  # fmt: skip


def test_ranks_of_which_one_dies_end_with_a_message_and_go_on(several: Path, tmp_path: Path) -> None:
    ended = launch("training_run.py", 2, str(tmp_path), "dropout killed")
    assert [one.code for one in ended] == [1, -signal.SIGKILL]
    assert "LostRankError: rank 0 of 2 lost another rank while" in ended[0].errors
    assert "its process ended or stopped answering" in ended[0].errors
    killed = tmp_path / "dropout killed"
    assert [path.name for path in Checkpoints(killed / "run").all()] == ["checkpoint-2"]
    all_well(launch("training_run.py", 2, str(tmp_path), "dropout killed"))
    assert same_weights(killed, several / "dropout")
    assert [path.name for path in Checkpoints(killed / "run").all()] == ["checkpoint-2", "checkpoint-4"]
