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


def child(told, heard, cache):
    def progress(stage, done, total):
        os.write(told, f"{stage}:{done}\\n".encode())
        os.read(heard, 1)

    encoder = Encoder.from_pretrained(model, device="cpu")
    mining.mine_negatives(pages, encoder, bm25=True, cache=cache, rules=MiningRules(num_negatives=3), progress=progress)


def run(cache, stage, done, held):
    read, told = os.pipe()
    heard, answer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        os.close(answer)
        child(told, heard, cache)
        os._exit(0)
    os.close(told)
    os.close(heard)
    for line in os.fdopen(read):
        at, now = line.split(":")
        if at == stage and int(now) >= done:
            if not held:  # killed on the way to the next sign; else while it waits at this one
                os.write(answer, b".")
                time.sleep(0.01 * random.random())
            os.kill(pid, signal.SIGKILL)
            break
        os.write(answer, b".")
    os.close(answer)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    journal = os.path.join(pages, "mine.journal")
    return code, len(open(journal).readlines()) - 1 if os.path.exists(journal) else 0


for order in sys.argv[3:]:
    cache, stage, done, held = order.split("|")
    code, chunks = run(cache, stage, int(done), bool(held))
    print(f"{code}:{chunks}", flush=True)
    if not stage:  # beside its embeddings, so that the next begins anew
        os.rename(os.path.join(pages, "negatives.parquet"), os.path.join(cache, "negatives.parquet"))
    assert not os.path.exists(os.path.join(pages, "negatives.parquet"))
"""

# Where each of the five runs is killed: once a stage has done so much, and whether it waits there. A resumed run
# skips what is done, so places are told by what is done in all, not by how often a run has told of progress.
KILLS = (
    ("Embedding pages", 4, ""),
    ("Embedding pages", 12, ""),
    ("Embedding questions", 8, ""),
    ("Mining", 3, ""),
    ("Mining", 12, "held"),
)


def test_five_kills_and_the_result_of_an_uninterrupted_run(
    tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    pages, model = mined_pages(tmp_path), tiny("bert")
    orders = ["|".join((str(tmp_path / "killed"), stage, str(done), held)) for stage, done, held in KILLS]
    orders += [f"{tmp_path / name}||0|" for name in ("killed", "whole")]
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
    assert [code for code, _ in told] == [-9] * 5 + [0, 0]
    chunks = [chunk for _, chunk in told]
    assert chunks[:2] == [0, 0]  # embedding first, then mining, which goes on
    assert 1 <= chunks[3] <= 2 < chunks[4] == 4
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
