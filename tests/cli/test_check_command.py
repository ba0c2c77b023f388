"""`sightline check`: what it prints, writes and exits with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sightline.cli.main import app
from sightline.runs.check import check_data
from support.sick_datasets import healthy, jpeg, picture, text_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["check", "--workers", "1", *map(str, arguments)], prog_name="sightline")


def leaky(root: Path) -> Path:
    builder = healthy(root)
    builder.document("e.pdf", "test", [(jpeg(picture(0)), text_of(0))])
    builder.ask("leaked", "What does the copy say?", "e.pdf", 0)
    return builder.write()


def test_table_json_and_exit_codes(tmp_path: Path) -> None:
    data = leaky(tmp_path / "data")
    done = run(data, "--json", tmp_path / "found.json")
    assert done.exit_code == 0
    for words in ("warning", "trained on what is measured with", "leaked", "--fix", "9 pages, 9 questions"):
        assert words in done.output
    written = json.loads((tmp_path / "found.json").read_text())
    assert [(one["kind"], one["severity"], one["count"]) for one in written["findings"]] == [
        ("leak", "warning", 1),
        ("duplicate", "note", 1),
    ]
    assert run(data, "--strict").exit_code == 3
    printed = run(data, "--json", "-")
    assert {**json.loads(printed.stdout), "seconds": 0} == {**written, "seconds": 0}
    next((data / "images").rglob("*.jpg")).unlink()
    assert run(data).exit_code == 1


def test_fix_says_what_it_left_out(tmp_path: Path) -> None:
    data = leaky(tmp_path / "data")
    done = run(data, "--fix", tmp_path / "out", "--strict")
    assert done.exit_code == 0, done.output
    assert "a copy without 1 question" in done.output
    assert run(tmp_path / "out", "--strict").exit_code == 0


DYING = """
import os, signal, sys
from sightline.documents import store
from sightline.documents.doctor import clean_pages, cleaning
from sightline.runs.check import check_data

left = int(sys.argv[3])

def dying(call):
    def made(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return made

clean_pages.link = dying(clean_pages.link)
store._write_table = dying(store._write_table)
store.write_json = dying(store.write_json)
cleaning.write_text = dying(cleaning.write_text)
check_data(sys.argv[1], workers=1).fix(sys.argv[2])
"""


def test_a_killed_fix_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    """Killed at an image, a table and its last file, it leaves no folder; the next one writes what it would have."""
    data = leaky(tmp_path / "data")
    checked = check_data(data, workers=1)
    checked.fix(tmp_path / "whole")
    for moment in (2, 10, 13):
        command = [sys.executable, "-c", DYING, str(data), str(tmp_path / "out"), str(moment)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (tmp_path / "out").exists()
    checked.fix(tmp_path / "out")
    whole, after = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "whole", tmp_path / "out")
    )
    assert after == whole


def test_clear_words_where_there_is_nothing_to_check(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    data = healthy(tmp_path / "data").write()
    (data / "pages.parquet").write_bytes((data / "pages.parquet").read_bytes()[:200])
    for arguments, words in (
        ((), "give the folder of a dataset"),
        ((tmp_path / "nowhere",), "there is no such folder"),
        ((tmp_path / "empty",), "is not a dataset"),
        ((data,), "pages.parquet cannot be read"),
        ((data, "--set", "data.split=x"), "give one with --recipe"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1
        assert words in done.output, done.output
