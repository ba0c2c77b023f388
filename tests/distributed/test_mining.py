"""Mining by two ranks: each does a part, and the file is that of one process, byte for byte."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from distributed.launching import launch
from distributed.mining_run import Encodes, EndsEarlyError, Scores, columns, mine, small_pieces
from sightline.documents.mining import JOURNAL
from sightline.documents.negatives import NEGATIVES
from support.mined_pages import mined_pages
from support.tiny_rerankers import bert_scores


def test_two_ranks_mine_what_one_process_does(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    made, model = mined_pages(tmp_path), tiny("bert")
    bert_scores(tmp_path / "scores")
    whole, resumed, killed, command = (
        Path(shutil.copytree(made, tmp_path / name)) for name in ("whole", "resumed", "killed", "command")
    )
    encoder = Encodes.from_pretrained(model, device="cpu")
    scores = Scores.from_pretrained(tmp_path / "scores", device="cpu")
    with small_pieces():
        mine(whole, encoder, scores)
        expected, encoded, scored = (whole / NEGATIVES).read_bytes(), encoder.encoded, scores.scored
        by_columns = columns(encoder)
        with pytest.raises(EndsEarlyError):
            mine(resumed, encoder, scores, until=6)
    shutil.rmtree(tmp_path / "resumed-vectors")  # they are embedded again, by two
    assert (resumed / JOURNAL).exists()

    ended = launch("mining_run.py", 2, str(tmp_path), str(model), str(tmp_path / "scores"))
    assert [one.code for one in ended] == [0, -signal.SIGKILL], "\n".join(one.errors for one in ended)
    told = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]

    assert (resumed / NEGATIVES).read_bytes() == expected
    for path in (tmp_path / "whole-vectors").glob("*.json"):
        assert (tmp_path / "resumed-vectors" / path.name).read_bytes() == path.read_bytes()
    assert sum(one["encoded"] for one in told) == encoded, "nothing is embedded twice"
    assert min(one["encoded"] for one in told) >= encoded // 3
    assert sum(one["scored"] for one in told) < scored, "what the journal holds is not scored again"
    assert min(one["scored"] for one in told) >= sum(one["scored"] for one in told) // 3

    assert told[0]["columns"] == told[1]["columns"] == json.loads(json.dumps(by_columns))
    assert "negatives for" in told[0]["command"]
    assert not told[1]["command"], "one process alone prints the report"
    assert (command / NEGATIVES).exists()
    assert told[1]["failure"] == "ValueError: damaged"
    assert told[0]["failure"] == "PeerError: rank 1 of 2 failed while searching: ValueError: damaged"

    lost = (tmp_path / "lost.txt").read_text()
    assert "rank 0 of 2 lost another rank while" in lost
    assert not (killed / NEGATIVES).exists()
    assert len((killed / JOURNAL).read_bytes().splitlines()) > 2, "what was done is kept"
    with small_pieces():
        mine(killed, encoder, scores)  # by one process, after two
    assert (killed / NEGATIVES).read_bytes() == expected
