"""Files are replaced whole or not at all."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.files import remove_unfinished, write_json, write_text


def test_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "new" / "facts.json"
    write_json(path, {"ä": 1})
    write_json(path, {"ä": 2})
    assert json.loads(path.read_text("utf-8")) == {"ä": 2}
    assert [item.name for item in path.parent.iterdir()] == ["facts.json"]


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    path = write_json(tmp_path / "facts.json", {"score": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"score": math.nan})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\udcff")
    assert json.loads(path.read_text()) == {"score": 1.0}
    assert len(list(tmp_path.iterdir())) == 1


def test_names_that_are_not_utf8_survive_in_json(tmp_path: Path) -> None:
    path = write_json(tmp_path / "facts.json", {"file": "caf\udce9.pdf"})
    assert json.loads(path.read_text("utf-8")) == {"file": "caf\udce9.pdf"}


def test_what_a_dead_process_was_writing_is_removed_and_a_living_one_goes_on(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    path = tmp_path / "facts.json"
    dead, living = (tmp_path / f".facts.json.{process}.part" for process in (ended.pid, os.getpid()))
    other = tmp_path / f".others.json.{ended.pid}.part"
    for one in (dead, living, other):
        one.write_text("{")
    remove_unfinished(path, shared=True)
    assert [one.exists() for one in (dead, living, other)] == [False, True, True]
    remove_unfinished(path)
    assert [one.exists() for one in (dead, living, other)] == [False, False, True]
