"""kill -9 while an index is built: the version before still opens, and the same build goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import SearchIndexError
from sightline.search.index import SearchIndex, build_index, open_index

DOCUMENTS, PAGES = 6, 10
BUILD = f"""
import sys
from search.words_encoder import WordsEncoder, make_pages
from sightline.search.index import build_index

def report(done, total):
    sys.stdout.write(f"{{done}}\\n")
    sys.stdout.flush()

build_index(sys.argv[1], make_pages({DOCUMENTS}, {PAGES}), WordsEncoder(seconds=0.05),
            batch_size=4, commit_seconds=0.0, progress=report)
sys.stdout.write("published\\n")
"""


def build_and_kill(path: Path, at: int, delay: float = 0.0) -> int:
    """Run the build, kill it ``delay`` seconds after it reported ``at`` pages; pages it started from."""
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {
        "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'src'}",
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    started: int | None = None
    for line in process.stdout:
        if line.strip().isdigit():
            started = int(line) if started is None else started
            if int(line) >= at:
                break
    assert started is not None
    if delay:
        # The last commit, the full-text index and the publishing follow; the kill falls somewhere in them.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return started


def contents(index: SearchIndex) -> list[dict[str, object]]:
    rows = index.table._table.to_arrow().sort_by("position")
    return rows.to_pylist()


def test_a_killed_build_goes_on_and_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    path = tmp_path / "index"
    assert build_and_kill(path, 8) == 0
    with pytest.raises(SearchIndexError, match="not built to the end"):
        open_index(path)
    started = build_and_kill(path, 36)
    assert 4 <= started <= 12, "what was committed is not encoded again"
    started = build_and_kill(path, DOCUMENTS * PAGES, delay=0.005)
    assert started >= 32

    encoder, pages = WordsEncoder(), make_pages(DOCUMENTS, PAGES)
    index = build_index(path, pages, encoder, batch_size=4, progress=False)
    assert encoder.encoded <= len(pages) - started
    whole = build_index(tmp_path / "whole", pages, WordsEncoder(), progress=False)
    assert contents(index) == contents(whole)
    query = np.asarray(encoder.encode_query(["storage of the harbour"]).numpy()[0])
    assert [(m.page_id, m.score) for m in index.nearest(query, 60)] == [
        (m.page_id, m.score) for m in whole.nearest(query, 60)
    ]
    for text in ("reef harbour report", "reference 305x", "page 3"):
        assert [(m.page_id, m.score) for m in index.matching(text, 60)] == [
            (m.page_id, m.score) for m in whole.matching(text, 60)
        ]


def test_the_version_before_opens_while_its_successor_is_unfinished(tmp_path: Path) -> None:
    path = tmp_path / "index"
    build_index(path, make_pages(2, 3), WordsEncoder(), progress=False)
    build_and_kill(path, 20)
    index = open_index(path, WordsEncoder())
    assert len(index) == 6
    assert len(index.matching("report", 10)) == 6
    # Another build than the unfinished one starts from nothing and clears it away.
    assert len(build_index(path, make_pages(3, 3), WordsEncoder(), progress=False)) == 9
    assert len(list((path / "versions").iterdir())) == 2


def test_every_stage_a_kill_can_leave_behind_is_mended(tmp_path: Path) -> None:
    """Leftovers that a kill at the right microsecond leaves, made by hand from a finished build."""
    path, pages = tmp_path / "index", make_pages(2, 5)
    expected = contents(build_index(path, pages, WordsEncoder(), progress=False))
    (version,) = (path / "versions").iterdir()

    (path / "index.json").unlink()  # finished, not published
    encoder = WordsEncoder()
    assert contents(build_index(path, pages, encoder, progress=False)) == expected
    assert encoder.encoded == 0

    (path / "index.json").unlink()
    (version / "facts.json").unlink()  # rows and full text done, facts not written
    (version / "facts.json.77.tmp").write_text('{"version": ')
    assert contents(build_index(path, pages, encoder, progress=False)) == expected
    assert encoder.encoded == 0

    (path / "index.json").unlink()
    (version / "facts.json").unlink()
    shutil.rmtree(version / "pages.lance" / "_versions")  # killed while the table was made
    assert contents(build_index(path, pages, encoder, progress=False)) == expected
    assert encoder.encoded == len(pages)

    (path / "index.json").unlink()
    shutil.rmtree(version)
    version.mkdir()  # killed before the table was made
    assert contents(build_index(path, pages, WordsEncoder(), progress=False)) == expected
