"""Each stage killed five times at random moments and started again: what it leaves equals what an undisturbed one leaves.

Ingestion with OCR and mining are in files of their own (`test_killed_ingest.py`, `test_killed_mining.py`), so are the
trainer's saves, operation by operation (`test_killed_runs.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.stages import Road, contents, killed_again_and_again, small_road


@pytest.fixture(scope="module")
def roads(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Road, Road]:
    """The same folder twice: one that nothing disturbs, and one where everything is killed."""
    whole = small_road(tmp_path_factory.mktemp("road") / "whole", tiny("bert"))
    return whole, whole.copy(tmp_path_factory.mktemp("killed") / "killed")


# One after the other, as on the road: each works with what the one before has left.
@pytest.mark.parametrize(
    ("stage", "result"),
    [
        ("questions", "pages"),
        ("mine", "pages"),
        ("check", "out"),
        ("train", "out/final"),
        ("compare", "out/runs"),
        ("index", ""),
    ],
)
def test_killed_five_times(roads: tuple[Road, Road], stage: str, result: str) -> None:
    whole, killed = roads
    undisturbed = whole.run(whole.arguments(stage))
    assert undisturbed.code == 0, undisturbed.said
    alive = killed_again_and_again(killed, stage, undisturbed.seconds, seed=7)
    assert alive >= 3
    if result:
        assert contents(killed.root / result) == contents(whole.root / result)
    if stage == "compare":
        assert figures(killed.root) == figures(whole.root)
    for road in roads:
        if (road.root / "out").exists():
            (road.root / "out").rename(road.root / f"{stage}.out")
        assert not [
            path for path in contents(road.root / "pages") if "journal" in path or ".unfinished" in path
        ]


def figures(root: Path) -> dict[str, Any]:
    """The scores of a comparison, without the times that were measured."""
    saved = json.loads((root / "out" / "results.json").read_text())
    return {row["name"]: row["result"]["scores"] for row in saved["rows"]}
