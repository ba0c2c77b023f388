"""Files are replaced whole or not at all."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

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


def part(folder: Path, name: str, process: int, machine: str | None = None) -> Path:
    """What a process has begun to write beside a file."""
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process)
        if machine is not None:
            patch.setattr(os, "uname", lambda: SimpleNamespace(nodename=machine))
        patch.setattr(os, "replace", lambda aside, _: seen.append(str(aside)))
        write_text(folder / name, "{")
    aside = Path(seen[0])
    aside.write_text("{")
    return aside


@pytest.fixture
def ended() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_what_a_dead_process_was_writing_is_removed_and_a_living_one_goes_on(
    tmp_path: Path, ended: int
) -> None:
    dead, living = (part(tmp_path, "facts.json", process) for process in (ended, os.getpid()))
    other = part(tmp_path, "others.json", ended)
    remove_unfinished(tmp_path / "facts.json", shared=True)
    assert [one.exists() for one in (dead, living, other)] == [False, True, True]
    remove_unfinished(tmp_path / "facts.json")
    assert [one.exists() for one in (dead, living, other)] == [False, False, True]


def test_what_another_machine_is_writing_is_left_to_it(tmp_path: Path, ended: int) -> None:
    here = part(tmp_path, "facts.json", ended)
    there = part(tmp_path, "facts.json", ended, "node-b.cluster.internal")
    assert here != there, "two machines may give their processes the same numbers"
    old = part(tmp_path, "facts.json", os.getpid(), "node-c")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    remove_unfinished(tmp_path / "facts.json", shared=True)
    assert [one.exists() for one in (here, there, old)] == [False, True, False]


def test_parts_of_a_file_with_signs_in_its_name(tmp_path: Path, ended: int) -> None:
    signs, plain = part(tmp_path, "a[1].json", ended), part(tmp_path, "a1.json", ended)
    remove_unfinished(tmp_path / "a[1].json", shared=True)
    assert [signs.exists(), plain.exists()] == [False, True]
