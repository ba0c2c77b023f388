"""Mining that is killed, and mining on a full disk: it goes on where it was, and the file is the same to the byte."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.documents.mining import mine_negatives
from sightline.documents.mining_rules import MiningRules
from sightline.documents.negatives import NEGATIVES
from sightline.errors import DataError
from sightline.models.encoder import Encoder
from support.mined_pages import mined_pages

# One process imports everything and then forks, before torch has started a thread: a child costs a moment.
DRIVER = """
import os, random, signal, sys, time

from sightline.documents import mining, mining_search
from sightline.documents.mining_rules import MiningRules
from sightline.models import embedding_cache
from sightline.models.encoder import Encoder

pages, cache, model = sys.argv[1:4]
embedding_cache.TEXTS = 4
mining_search.QUESTIONS = 3


def child(told, heard):
    def progress(stage, done, total):
        os.write(told, b".")
        os.read(heard, 1)

    encoder = Encoder.from_pretrained(model, device="cpu")
    mining.mine_negatives(pages, encoder, bm25=True, cache=cache, rules=MiningRules(num_negatives=3), progress=progress)


def run(kill_after):
    read, told = os.pipe()
    heard, answer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        os.close(answer)
        child(told, heard)
        os._exit(0)
    os.close(told)
    signs = 0
    while os.read(read, 1):
        signs += 1
        os.write(answer, b".")
        if signs == kill_after:
            time.sleep(0.01 * random.random())  # at the next sign it waits
            os.kill(pid, signal.SIGKILL)
            break
    os.close(read)
    os.close(answer)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


for place in sys.argv[4:]:
    print(run(int(place)), flush=True)
"""


def drive(pages: Path, cache: Path, model: Path, *kills: int) -> list[int]:
    """Exit codes of runs, each killed after so many signs of progress; one of 9999 runs to its end."""
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {
        "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'src'}",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(pages), str(cache), str(model), *map(str, kills)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


def test_five_kills_and_the_result_of_an_uninterrupted_run(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    pages, model = mined_pages(tmp_path), tiny("bert")
    killed = drive(pages, tmp_path / "killed", model, 3, 8, 12, 14, 16)
    assert killed == [-9] * 5
    assert not (pages / NEGATIVES).exists()
    assert (pages / "mine.journal").exists()
    assert drive(pages, tmp_path / "killed", model, 9999) == [0]
    resumed = (pages / NEGATIVES).read_bytes()
    assert not (pages / "mine.journal").exists()
    (pages / NEGATIVES).unlink()
    assert drive(pages, tmp_path / "whole", model, 9999) == [0]
    assert (pages / NEGATIVES).read_bytes() == resumed
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes(), file.name


def test_a_full_disk_leaves_what_was_there(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pages, encoder = mined_pages(tmp_path), Encoder.from_pretrained(tiny("bert"), device="cpu")
    mine_negatives(pages, encoder, cache=tmp_path / "cache")
    before = (pages / NEGATIVES).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            mine_negatives(pages, encoder, cache=tmp_path / "cache", rules=MiningRules(num_negatives=4))
        with pytest.raises(DataError, match="cannot be written"):
            mine_negatives(pages, encoder, cache=tmp_path / "other")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (pages / NEGATIVES).read_bytes() == before
    assert not list(pages.glob(".*"))
    mine_negatives(pages, encoder, cache=tmp_path / "cache", rules=MiningRules(num_negatives=4))
    assert (pages / NEGATIVES).read_bytes() != before
