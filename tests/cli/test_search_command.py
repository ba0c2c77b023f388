"""`sightline search`: its options, from the question to the drawing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sightline.cli.main import app
from support.fixtures import MINILM
from support.page_datasets import one_page_each


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("search")
    pages = one_page_each(work, ["bees", "clocks", "harbours"], held_out=1)
    made = CliRunner().invoke(app, ["index", str(pages), "-m", str(MINILM), "-o", str(work / "index")])
    assert made.exit_code == 0, made.output
    return work / "index"


def run(index: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["search", str(index), *arguments])


def test_stages_are_timed_and_the_first_page_is_drawn(index: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "heat" / "found.png"
    done = run(
        index,
        "all about harbours",
        "--timings",
        "--heatmap",
        str(drawn),
        "--fusion",
        "scores",
        "--weights",
        "2,1",
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1. harbours.pdf, page 1")
    assert "Milliseconds: query " in done.stdout
    assert "by occlusion of the encoder, on the page's text; " in done.stdout
    with Image.open(drawn) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
        # The page is black on white; what is hot is amber to red.
        assert (pixels[..., 0] - pixels[..., 2]).max() > 60
        assert image.size[0] == pytest.approx(2 * image.size[1], rel=0.01)


def test_json_has_timings_and_the_heat_maps_facts(index: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "found.png"
    done = run(index, "bees", "--json", "-k", "1", "--heatmap", str(drawn))
    answer = json.loads(done.stdout)
    assert set(answer["timings_ms"]) == {"query", "encode", "vector", "text", "fuse", "pages", "total"}
    assert (answer["reranked"], len(answer["hits"])) == (False, 1)
    assert answer["heatmap"]["file"] == str(drawn)
    assert answer["heatmap"]["method"] == "occlusion"
    assert answer["heatmap"]["passes"] == answer["heatmap"]["rows"] * answer["heatmap"]["columns"] + 1


def test_weights_of_words_alone_are_the_search_by_words(index: Path) -> None:
    by_words = json.loads(run(index, "about clocks", "--mode", "text", "--json").stdout)["hits"]
    fused = json.loads(run(index, "about clocks", "--weights", "0,1", "--json").stdout)["hits"]
    assert [hit["page_id"] for hit in fused] == [hit["page_id"] for hit in by_words]


def test_what_cannot_be_searched_for_is_said(index: Path, tmp_path: Path) -> None:
    picture = tmp_path / "q.png"
    Image.new("RGB", (8, 8)).save(picture)
    for arguments, message in [
        ((), "give a question, or an image"),
        (("bees", "--weights", "1"), "two numbers"),
        (("bees", "--weights", "0,0", "--mode", "text"), "nothing to rank by"),
        (("--image", str(picture)), "this model reads text, not image"),
        (("bees", "--mode", "text", "--heatmap", str(tmp_path / "x.png")), "needs the model"),
        (("bees", "--dim", "7"), "dimensions"),
    ]:
        done = run(index, *arguments)
        assert done.exit_code != 0, arguments
        assert message in str(done.output) + str(done.exception), done.output
    assert not (tmp_path / "x.png").exists()
