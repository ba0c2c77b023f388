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

pages, model = sys.argv[1:3]
embedding_cache.TEXTS = 4
mining_search.QUESTIONS = 3
LAST = 16


def child(told, heard, cache):
    def progress(stage, done, total):
        os.write(told, b".")
        os.read(heard, 1)

    encoder = Encoder.from_pretrained(model, device="cpu")
    mining.mine_negatives(pages, encoder, bm25=True, cache=cache, rules=MiningRules(num_negatives=3), progress=progress)


def run(cache, kill_after):
    read, told = os.pipe()
    heard, answer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        os.close(answer)
        child(told, heard, cache)
        os._exit(0)
    os.close(told)
    signs = 0
    while os.read(read, 1):
        signs += 1
        if signs == kill_after:
            if signs < LAST:  # killed on the way to the next sign; at the last one it is left waiting
                os.write(answer, b".")
                time.sleep(0.01 * random.random())
            os.kill(pid, signal.SIGKILL)
            break
        os.write(answer, b".")
    os.close(read)
    os.close(answer)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    journal = os.path.join(pages, "mine.journal")
    chunks = len(open(journal).readlines()) - 1 if os.path.exists(journal) else 0
    return f"{signs}:{code}:{chunks}"


for order in sys.argv[3:]:
    cache, place = order.rsplit("@", 1)
    print(run(cache, int(place)), flush=True)
    if int(place) == 9999:  # beside its embeddings, so that the next begins anew
        os.rename(os.path.join(pages, "negatives.parquet"), os.path.join(cache, "negatives.parquet"))
    assert not os.path.exists(os.path.join(pages, "negatives.parquet"))
"""


def test_five_kills_and_the_result_of_an_uninterrupted_run(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    pages, model = mined_pages(tmp_path), tiny("bert")
    # After so many signs of progress; the later ones come when pages and questions are embedded.
    orders = [f"{tmp_path / 'killed'}@{signs}" for signs in (3, 8, 12, 14, 16, 9999)]
    orders.append(f"{tmp_path / 'whole'}@9999")
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {
        "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'src'}",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(pages), str(model), *orders],
        capture_output=True,
        text=True,
        env=environment,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    told = [tuple(map(int, line.split(":"))) for line in done.stdout.split()]
    assert [code for _, code, _ in told] == [-9] * 5 + [0, 0]
    chunks = [chunk for *_, chunk in told]
    assert 0 == chunks[0] < chunks[3] < chunks[4]  # embedding first, then mining, which goes on
    assert not (pages / "mine.journal").exists()
    made = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert len(made) == 5  # vectors and facts of pages and questions, and the negatives
    for name in made:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


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
            mine_negatives(pages, encoder, cache=tmp_path / "other", rules=MiningRules(num_negatives=3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (pages / NEGATIVES).read_bytes() == before
    assert not list(pages.glob(".*"))
    mine_negatives(pages, encoder, cache=tmp_path / "cache", rules=MiningRules(num_negatives=4))
    assert (pages / NEGATIVES).read_bytes() != before
