"""Each stage killed five times at random moments and started again: it leaves what an undisturbed one leaves.

Ingestion with OCR and mining are in files of their own (`test_killed_ingest.py`, `test_killed_mining.py`), so are the
trainer's saves, operation by operation (`test_killed_runs.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.stages import Road, contents, killed_again_and_again, small_road


@pytest.fixture(scope="module")
def road(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Road:
    return small_road(tmp_path_factory.mktemp("killed") / "road", tiny("bert"))


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
def test_killed_five_times(road: Road, tmp_path: Path, stage: str, result: str) -> None:
    before = road.copy(tmp_path / "before")
    undisturbed = road.run(road.arguments(stage))
    assert undisturbed.code == 0, undisturbed.said
    # Paths are written into datasets, so both happen in the same place.
    road.root.rename(tmp_path / "whole")
    before.root.rename(road.root)
    shutil.rmtree(road.cache, ignore_errors=True)
    killed_again_and_again(road, stage, undisturbed.seconds, seed=7)
    if result:
        assert contents(road.root / result) == contents(tmp_path / "whole" / result)
    if stage == "compare":
        assert figures(road.root) == figures(tmp_path / "whole")
    assert not [path for path in contents(road.root) if "journal" in path or "unfinished" in path]
    shutil.rmtree(road.root / "out", ignore_errors=True)


def figures(root: Path) -> dict[str, Any]:
    """The scores of a comparison, without the times that were measured."""
    saved = json.loads((root / "out" / "results.json").read_text())
    return {
        row["name"]: {key: row[key] for key in row if "@" in key or key in ("map", "intervals")}
        for row in saved["rows"]
    }
