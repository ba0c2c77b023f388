"""`sightline ingest` and `convert` where they cannot succeed: a clear line, an exit code, nothing that looks whole."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sightline.documents.dataset import Dataset
from sightline.errors import DataError
from support.sick_datasets import healthy


def ingest(
    folder: Path,
    out: Path,
    *more: str,
    code: int = 1,
    through: Sequence[str] = (),
    limit: Callable[[], None] | None = None,
) -> str:
    """Run it, expect it to fail, and give what it said."""
    done = subprocess.run(
        [*through, *command(folder, out, *more)], capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(DataError):
        Dataset.load(out)
    return done.stderr.strip().split("\n")[-1]


def command(folder: Path, out: Path, *more: str) -> list[str]:
    options = ["--pixels", "60000", "--workers", "1", "--ocr", "none"]
    return [
        sys.executable,
        "-m",
        "sightline.cli.main",
        "ingest",
        str(folder),
        "-o",
        str(out),
        *options,
        *more,
    ]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Eight documents that take some 100 kB as a dataset."""
    (tmp_path / "in").mkdir()
    for number in range(8):
        lines = "\n".join(f"line {line} of note {number}" for line in range(60))
        (tmp_path / "in" / f"{number}.txt").write_text(lines)
    return tmp_path / "in"


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert ingest(tmp_path / "in", tmp_path / "out").endswith("has no files to ingest")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_may_not_be_read(notes: Path, tmp_path: Path) -> None:
    # Root may read everything, unless that right is taken from it.
    without_right = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    notes.chmod(0)
    try:
        said = ingest(notes, tmp_path / "out", code=2, through=without_right)
    finally:
        notes.chmod(0o755)
    assert said.endswith("is not readable.")
    assert not (tmp_path / "out").exists()


def test_a_question_file_with_bad_lines(notes: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"id": "a", "query": "?", "document": "0.txt"}\n{"id": \n{"id": "c", "query": " "}\n'
    )
    said = ingest(notes, tmp_path / "out", "-q", str(questions))
    assert "questions.jsonl:3: 'query' is missing or empty" in said
    assert not (tmp_path / "out").exists()


def test_no_file_may_grow(notes: Path, tmp_path: Path) -> None:
    """The limit that a full quota is like: a page image of 20 kB cannot be written."""
    said = ingest(
        notes,
        tmp_path / "out",
        limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000)),
    )
    assert "cannot" in said
    assert "File too large" in said
    subprocess.run(command(notes, tmp_path / "out"), check=True, capture_output=True)
    assert len(Dataset.load(tmp_path / "out").pages) == 8


FULL_DISK = """
mount -t tmpfs -o size=48k tmpfs "$OUT" || exit 77
"$@" && exit 1
test -e "$OUT/dataset.json" && exit 2
mount -o remount,size=20m "$OUT" && "$@" && test -e "$OUT/dataset.json" && ls -A "$OUT" > "$OUT/../left"
"""


def test_a_full_disk(notes: Path, tmp_path: Path) -> None:
    """A real one, of 48 kB, in a name space of its own; with room again the run goes on and ends."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare, which makes the small disk, is not installed")
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            FULL_DISK,
            "sh",
            *command(notes, tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OUT": str(tmp_path / "out")},
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    left = set((tmp_path / "left").read_text().split())
    assert left == {"dataset.json", "documents.parquet", "pages.parquet", "questions.parquet", "images"}


SMALL_DISK = """
mount -t tmpfs -o size=4k tmpfs "$OUT" || exit 77
for layout in beir trec vidore; do "$@" -o "$OUT/$layout" --to $layout && exit 1; done
ls -A "$OUT" > "$OUT/../left"
"""


def test_convert_on_a_full_disk(tmp_path: Path) -> None:
    """A disk of one block: each layout says so in one line and leaves nothing, whole or half."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare, which makes the small disk, is not installed")
    (tmp_path / "out").mkdir()
    data = healthy(tmp_path / "data").write()
    convert = [sys.executable, "-m", "sightline.cli.main", "convert", str(data), "--split", "train"]
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", SMALL_DISK, "sh", *convert],
        capture_output=True,
        text=True,
        env={**os.environ, "OUT": str(tmp_path / "out")},
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    said = done.stderr.strip().splitlines()
    assert len(said) == 3, said
    assert all(line.startswith("Error: ") and "No space left on device" in line for line in said), said
    assert (tmp_path / "left").read_text() == ""
