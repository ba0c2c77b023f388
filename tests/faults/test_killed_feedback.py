"""kill -9 while feedback is written, at twenty random moments: everything acknowledged is there afterwards."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from sightline.feedback.store import FeedbackStore

KILLS = 20
# A child opens the store, then writes and acknowledges on its pipe without end; the parent kills it after some
# acknowledgements and a random share of the time that one takes, and hands on what was acknowledged.
KILLER = f"""
import itertools, os, random, signal, sys, time
from sightline.feedback.store import FeedbackStore

HITS = [(f"report.pdf#p{{place}}", place + 1, 1.0 / (place + 1)) for place in range(10)]

def write(turn, out):
    store = FeedbackStore(sys.argv[1])
    for number in itertools.count():
        name = f"{{turn}}-{{number}}"
        store.record_search(name, f"question {{name}}", None, HITS, "v1", "model", "hybrid")
        os.write(out, f"search {{name}}\\n".encode())
        store.mark(name, HITS[number % 10][0], "relevant")
        os.write(out, f"mark {{name}}\\n".encode())

chance = random.Random(6)
for turn in range({KILLS}):
    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        write(turn, out)
    os.close(out)
    said = b""
    for _ in range(chance.randrange(1, 5)):
        before = time.monotonic()
        said += os.read(into, 1000)
    time.sleep(chance.random() * (time.monotonic() - before))
    os.kill(child, signal.SIGKILL)
    while more := os.read(into, 1000):
        said += more
    os.waitpid(child, 0)
    os.close(into)
    sys.stdout.write(said.decode())
"""


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    done = subprocess.run([sys.executable, "-c", KILLER, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    searched = [name for what, name in said if what == "search"]
    marked = [name for what, name in said if what == "mark"]
    assert {name.split("-")[0] for name in searched} == {str(turn) for turn in range(KILLS)}
    assert marked
    with FeedbackStore(path) as store:
        found = {one.id: one for one in store.searches()}
        assert set(searched) <= set(found)
        # At most the one write that each kill cut off was done without being acknowledged.
        assert len(found) <= len(searched) + KILLS
        assert all(len(one.shown) == 10 for one in found.values()), (
            "a search is there with all that it showed"
        )
        assert all(found[name].said for name in marked)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
