"""Every stage where it cannot succeed: an exit code, one line that says why and where, nothing that looks whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.stages import RESULTS, STAGES, Ended, Road, contents, on_a_full_disk, small_road, without_rights

# What each stage reads.
READS = {stage: "in" if stage == "ingest" else "pages" for stage in STAGES}


@pytest.fixture(scope="module")
def whole(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Road:
    return small_road(tmp_path_factory.mktemp("road") / "whole", tiny("bert"))


@pytest.fixture
def road(whole: Road, tmp_path: Path) -> Road:
    return whole.copy(tmp_path / "road")


def refused(road: Road, stage: str, ended: Ended, before: dict[str, str]) -> str:
    """That the command failed as it should and left nothing that looks whole; its last line.

    Exit code 2 is the command line's own, for a place that it can see to be out of reach.
    """
    assert ended.code in (1, 2), f"{ended.code}: {ended.said}"
    assert "Traceback" not in ended.said
    assert "unexpected" not in ended.last
    after = contents(road.root)
    assert {path: after.get(path) for path in before} == before, "what was there has changed"
    assert not looks_whole(stage, after, before)
    return ended.last


def looks_whole(stage: str, after: dict[str, str], before: dict[str, str]) -> bool:
    made = {path for path in after if path not in before}
    return RESULTS.get(stage) in made or any(path.endswith(("modules.json", "dataset.json")) for path in made)


@pytest.mark.parametrize("stage", STAGES)
def test_an_empty_folder(road: Road, stage: str) -> None:
    folder = road.root / READS[stage]
    shutil.rmtree(folder)
    folder.mkdir()
    said = refused(road, stage, road.run(road.arguments(stage)), contents(road.root))
    assert folder.name in said
    assert "has no files to ingest" in said or "sightline ingest" in said


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_may_not_be_read(road: Road, stage: str) -> None:
    folder = road.root / READS[stage]
    before = contents(road.root)
    folder.chmod(0)
    try:
        ended = road.run(road.arguments(stage), within=without_rights if os.geteuid() == 0 else None)
    finally:
        folder.chmod(0o755)
    said = refused(road, stage, ended, before)
    assert folder.name in said
    assert "ermission denied" in said or "not readable" in said


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "ingest"])
@pytest.mark.parametrize("table", ["questions.parquet", "pages.parquet"])
def test_a_dataset_that_was_cut_off(road: Road, stage: str, table: str) -> None:
    path = road.root / "pages" / table
    path.write_bytes(path.read_bytes()[:-100])
    said = refused(road, stage, road.run(road.arguments(stage)), contents(road.root))
    assert table in said


BAD = '{"id": "a", "query": "What did bees cost?", "document": "bees.pdf", "pages": [0]}\n{"id": \n'


@pytest.mark.parametrize(
    ("stage", "name", "text", "arguments"),
    [
        ("ingest", "questions.jsonl", BAD, None),
        ("ingest", "questions.jsonl", BAD.replace('{"id": \n', '{"id": "b", "query": " "}\n'), None),
        ("check", "rows.jsonl", '{"query": "a", "document": "b"}\n{"query": \n', ["check", "rows.jsonl"]),
        (
            "train",
            "rows.jsonl",
            '{"query": "a", "document": "b"}\n{"query": \n',
            ["train", "recipe.toml", "data.dataset=rows.jsonl", 'data.columns=["query","document"]'],
        ),
        (
            "compare",
            "found.run",
            "bees-0 Q0 bees.pdf#p0 1 0.9 a\nbees-0 Q0\n",
            ["compare", "bm25", "run:found=found.run", "--on", "pages", "-o", "out/results.json"],
        ),
        (
            "compare",
            "judged.qrels",
            "bees-0 0 bees.pdf#p0 1\nbees-0 0\n",
            ["compare", "bm25", "--on", "pages", "--qrels", "judged.qrels", "-o", "out/results.json"],
        ),
    ],
)
def test_a_file_with_bad_lines(
    road: Road, stage: str, name: str, text: str, arguments: list[str] | None
) -> None:
    (road.root / name).write_text(text)
    before = contents(road.root)
    ended = road.run(arguments or road.arguments(stage))
    refused(road, stage, ended, before)
    assert f"{name}:2" in ended.said or (name in ended.last and "line 2" in ended.said), ended.said


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk(whole: Road, tmp_path: Path, stage: str) -> None:
    """A real one, with 8 kB left on it; with room again the same command succeeds."""
    road = Road(whole.root, whole.model).copy(tmp_path / "road")
    seen = on_a_full_disk(road, stage, 8_000)
    if seen["code"] == 77:
        pytest.skip("no disk can be mounted here")
    assert seen["code"] == 1, seen["said"]
    assert "Traceback" not in str(seen["said"])
    assert "No space left on device" in str(seen["said"])
    before, left = contents(road.root), seen["left"]
    assert isinstance(left, dict)
    assert {path: left.get(path) for path in before} == before, "what was there has changed"
    assert not looks_whole(stage, left, before)
    assert seen["again"] == 0, seen["said_again"]


@pytest.mark.shared
def test_documents_of_every_kind_of_damage(shared: Path, whole: Road, tmp_path: Path) -> None:
    """Forty hostile PDFs through all stages: what cannot be read is named, and the rest goes its way."""
    road = whole.copy(tmp_path / "road")
    shutil.rmtree(road.root / "in")
    shutil.rmtree(road.root / "pages")
    (road.root / "in").mkdir()
    files = sorted((shared / "torture" / "pdf").iterdir())
    for file in [file for file in files if "password" in file.name] + files[::3]:
        shutil.copy(file, road.root / "in")
    arguments = road.arguments("ingest")
    at = arguments.index("-q")
    ended = road.run(arguments[:at] + arguments[at + 2 :])
    assert ended.code == 0, ended.said
    assert "password" in ended.said
    (road.root / "out").rename(road.root / "pages")
    # Nobody has asked anything: whoever needs questions says so, and how to get them.
    for stage in ("mine", "train", "eval", "compare"):
        said = refused(road, stage, road.run(road.arguments(stage)), contents(road.root))
        assert "questions" in said
    files_asked = ("001-trivial_minimal-document.pdf", "004-pdflatex-4-pages_pdflatex-4-pages.pdf")
    (road.root / "questions.jsonl").write_text(
        "".join(
            json.dumps({"id": name, "query": f"What is in {name}?", "document": name, "pages": [0]}) + "\n"
            for name in files_asked
        )
    )
    (road.root / "pages").rename(road.root / "out")
    ended = road.run(arguments)
    assert ended.code == 0, ended.said
    (road.root / "out").rename(road.root / "pages")
    for stage in ("questions", "mine", "check", "train", "eval", "compare", "convert", "index"):
        shutil.rmtree(road.root / "out", ignore_errors=True)
        ended = road.run(road.arguments(stage))
        assert ended.code == 0, f"{stage}: {ended.said}"
        assert "Traceback" not in ended.said


@pytest.mark.shared
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "ingest"])
def test_documents_in_place_of_a_dataset(shared: Path, road: Road, stage: str) -> None:
    """Who forgets to ingest is told so."""
    shutil.rmtree(road.root / "pages")
    (road.root / "pages").symlink_to(shared / "torture" / "pdf")
    before = contents(road.root / "in")
    ended = road.run(road.arguments(stage))
    assert ended.code == 1
    assert "Traceback" not in ended.said
    assert "sightline ingest" in ended.last, ended.last
    assert contents(road.root / "in") == before
