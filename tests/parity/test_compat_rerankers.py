"""The published multimodal reranker scripts: with other import lines they end with ST's metrics."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import published_rerankers
from support.st_script_oracle import run_oracle


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model and the data, what our runs gave, and what the oracle wrote; see `st_script_oracle`."""
    import datasets

    work = tmp_path_factory.mktemp("rerankers")
    published_rerankers.vision_model(work / "model")
    published_rerankers.doodles(work / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", work)  # put back what the runs set
        for kind in published_rerankers.SCRIPTS:
            names = published_rerankers.run(
                published_rerankers.our_imports(), kind,
                model=work / "model", data=work / "data", output=work / f"ours-{kind}",
            )  # fmt: skip
            found = published_rerankers.told(names)
            (work / f"told-{kind}.json").write_text(json.dumps(found))
            np.savez(work / f"found-{kind}.npz", **published_rerankers.scores(names["model"], names))
    run_oracle("rerankers", work)
    return work


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_only_import_lines_differ() -> None:
    ours, theirs = (
        [
            [name.name for name in node.names]
            for node in ast.parse(lines).body
            if isinstance(node, ast.ImportFrom)
        ]
        for lines in (published_rerankers.our_imports(), published_rerankers.IMPORTS)
    )
    assert ours == theirs


@pytest.mark.parametrize("kind", list(published_rerankers.SCRIPTS))
def test_the_metrics_are_those_of_st(kind: str, work: Path) -> None:
    ours, theirs = read(work / f"told-{kind}.json"), read(work / f"{kind}.json")
    names = {f"doodles-{way}-eval_ndcg@10" for way in ("image-to-text", "text-to-image")}
    assert names <= ours["after"].keys()
    for stage in ("before", "after"):
        assert ours[stage] == pytest.approx(theirs[stage], abs=1e-5), stage
    # At every step, of both datasets: losses and metrics under the same names.
    assert len(ours["during"]) == 3
    assert ours["during"].keys() == theirs["during"].keys()
    for step, found in theirs["during"].items():
        assert {"eval_image_to_text_loss", "eval_text_to_image_loss"} <= found.keys()
        assert ours["during"][step] == pytest.approx(found, abs=1e-5), step
    assert any(abs(ours["after"][name] - ours["before"][name]) > 0.01 for name in names)


@pytest.mark.parametrize("kind", list(published_rerankers.SCRIPTS))
def test_the_trained_model_is_st_s(kind: str, work: Path) -> None:
    ours, theirs = np.load(work / f"found-{kind}.npz"), np.load(work / f"{kind}.npz")
    again = np.load(work / f"ours-{kind}.npz")
    assert set(ours.files) == set(theirs.files) == {"image_to_text", "text_to_image"}
    for direction in ours.files:
        assert np.abs(ours[direction] - theirs[direction]).max() < 1e-5
        assert ours[direction].std() > 1e-3  # the pairs differ by far more
        assert np.abs(ours[direction] - again[direction]).max() < 1e-5  # what Sightline saved, ST reads


@pytest.mark.parametrize("kind", list(published_rerankers.SCRIPTS))
def test_an_upload_without_the_hub_is_said(kind: str, work: Path) -> None:
    assert "CheckpointError" in read(work / f"told-{kind}.json")["uploading"]
    assert "Hub" in read(work / f"told-{kind}.json")["uploading"]
