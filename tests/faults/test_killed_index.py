"""An index whose builds, updates and switches are killed at random moments: it opens, and nothing told is lost."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from search.words_encoder import WordsEncoder, make_pages
from sightline.errors import SearchIndexError
from sightline.search.index import build_index, open_index, update_index
from sightline.search.versions import list_versions

KILLS = 20
# One process imports everything and forks for each piece of work; it never uses Lance itself.
DRIVER = '''
import hashlib, json, os, random, signal, sys, time, warnings
from dataclasses import replace

import lancedb, lancedb.expr, lancedb.index, lancedb.query, pyarrow.compute

from search.words_encoder import WordsEncoder, make_pages
from sightline.models.fingerprint import fingerprint
from sightline.search.index import build_index, open_index, update_index
from sightline.search.versions import list_versions, open_version, use_version

fingerprint(WordsEncoder())  # imports what every fork would import anew
warnings.simplefilter("ignore")
root, kills = sys.argv[1], int(sys.argv[2])
random.seed(0)
KINDS = {"all": ("build", "beside", "switch", "update", "back"), "switches": ("switch", "back")}


def pages(step):
    changed = make_pages(4, 5, seed=step)[5 * (step % 4):][:5]
    return [page for page in make_pages(4, 5) if page.document != changed[0].document] + changed


def work(kind, path, step):
    quiet = {"batch_size": 4, "commit_seconds": 0.0, "progress": False}
    if kind == "build":
        build_index(path, pages(step), WordsEncoder(), model="a", **quiet)
    elif kind == "beside":
        build_index(path, pages(step), WordsEncoder(seed=1), model="b", switch=False, **quiet)
    elif kind == "switch":
        others = [one for one in list_versions(path) if one.facts.model == "b" and not one.is_open]
        use_version(path, others[0].version)
    elif kind == "update":
        update_index(path, delete=[open_index(path).documents[0]], progress=False)
    else:
        use_version(path, "previous")


def contents(path, version, model):
    """A digest of all that a version holds and finds; and its vectors are of the right model."""
    index = open_index(path, WordsEncoder(seed=1 if model == "b" else 0), version=version)
    rows = index.table._table.to_arrow().sort_by("position")
    names = sorted(rows.column_names)
    found = [match.page_id for match in index.matching("report battery whale", 99)]
    return hashlib.sha256(repr((rows.select(names).to_pylist(), found)).encode()).hexdigest()


def state(path, known={}):
    """The open version, and what is in every version, as far as it is not known."""
    models = {one.version: one.facts.model for one in list_versions(path)}
    held = {name: known.get(name) or contents(path, name, model) for name, model in models.items()}
    return [open_version(path), held]


def child(job):
    """Starts a job in a fork, which tells what it has to tell as lines of JSON."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        try:
            for told in job():
                os.write(write, json.dumps(told).encode() + b"\\n")
        except BaseException as error:
            os.write(write, json.dumps({"error": repr(error)}).encode() + b"\\n")
        os._exit(0)
    os.close(write)
    return pid, os.fdopen(read)


def lines(pid, file):
    """What a job has told in the end, and its exit code."""
    found = [json.loads(line) for line in file]
    file.close()
    assert not any(isinstance(told, dict) for told in found), found
    return found, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def prepare(path):
    """Two models side by side."""
    build_index(path, pages(0), WordsEncoder(), model="a", progress=False)
    build_index(path, pages(1), WordsEncoder(seed=1), model="b", switch=False, progress=False)


def uninterrupted(kinds, path, steps):
    """The state before the first step and after each, and at last the mean time of one."""
    prepare(path)
    known, seconds = {}, 0.0
    for step in range(steps + 1):
        told = state(path, known)
        known |= told[1]
        yield told
        begun = time.monotonic()
        if step < steps:
            work(kinds[step % len(kinds)], path, step)
        seconds += time.monotonic() - begun
    yield seconds / steps


def goes_on(kinds, path, first, states):
    """The state that the last kill has left; then the number of each step that is done."""
    left = state(path, {} if len(kinds) > 2 else states[0][1])  # switches write no version
    yield left
    # What was in flight is done again, unless the kill came after it and before it was told.
    opened = [version for version, _ in states]
    if first + 1 < len(states) and left[0] == opened[first + 1] != opened[first]:
        yield first
        first += 1
    for step in range(first, len(states) - 1):
        work(kinds[step % len(kinds)], path, step)
        yield step


def scenario(name):
    kinds, caught, steps, round = KINDS[name], [], 3 * len(KINDS[name]), 0
    *states, mean = lines(*child(lambda: uninterrupted(kinds, os.path.join(root, name), steps)))[0]
    known = {version: digest for _, held in states for version, digest in held.items()}
    while len(caught) < kills:
        path, done, round = os.path.join(root, f"{name}-{round}"), 0, round + 1
        lines(*child(lambda: prepare(path) or ()))
        while True:
            pid, file = child(lambda: goes_on(kinds, path, done, states))
            version, held = json.loads(file.readline())
            before, after = states[done], states[min(done + 1, steps)]
            assert version in (before[0], after[0]), "what is open is neither the version before nor the one after"
            assert held.get(version) == known[version]
            assert all(known[one] == digest for one, digest in held.items()), "a version is not what it was"
            assert set(before[1]) & set(after[1]) <= set(held), "a version that was told to be there is lost"
            if len(caught) < kills:
                # Now and then long enough for the longest kind of work to end, so that the next is met too.
                time.sleep(random.uniform(0, mean * (1 + len(caught) % 4)))
                os.kill(pid, signal.SIGKILL)
            told, code = lines(pid, file)
            done += len(told)
            if code == 0:
                break
            caught.append(kinds[done % len(kinds)])
        assert lines(*child(lambda: [state(path)]))[0] == states[-1:], "the end is not that of an uninterrupted run"
    return caught


print(json.dumps({name: scenario(name) for name in KINDS}))
'''


@pytest.fixture(scope="module")
def caught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each kill has interrupted, by scenario; the driver has checked the rest."""
    tests = Path(__file__).resolve().parents[1]
    environment = os.environ | {
        "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'src'}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path_factory.mktemp("killed")), str(KILLS)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_twenty_kills_of_builds_updates_and_switches(caught: dict[str, list[str]]) -> None:
    assert len(caught["all"]) == KILLS
    assert len(set(caught["all"])) >= 2, "of several kinds of work"


def test_twenty_kills_of_switches_alone(caught: dict[str, list[str]]) -> None:
    assert len(caught["switches"]) == KILLS


@pytest.mark.parametrize("limit", [0, 150, 600, 2_000, 5_000, 12_000])
def test_a_full_disk_at_any_point_leaves_the_old_version(tmp_path: Path, limit: int) -> None:
    path, encoder = tmp_path / "index", WordsEncoder(dim=64)
    many = make_pages(8, 30)
    build_index(path, many[:24], encoder, model="a", progress=False)
    before, versions = (path / "index.json").read_bytes(), list_versions(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files fails writes as a full disk does, halfway through a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        for change in (
            lambda: build_index(path, many, encoder, model="a", progress=False),
            lambda: update_index(path, encoder, add=many[-60:], progress=False),
        ):
            with pytest.raises(SearchIndexError, match=r"cannot be written \(.*untouched") as error:
                change()
            assert "\n" not in str(error.value)
            assert len(open_index(path).matching("report", 99)) == 24
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (path / "index.json").read_bytes() == before
    assert list_versions(path) == versions
    encoder.encoded = 0
    assert len(build_index(path, many, encoder, model="a", progress=False)) == 240
    assert encoder.encoded <= 240 - 24, "what the old version has is copied, with room again"
