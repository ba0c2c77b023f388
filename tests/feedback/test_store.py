"""The feedback store: what it keeps, what it refuses, and that nothing acknowledged is lost."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sightline.errors import FeedbackError, InputError
from sightline.feedback import schema
from sightline.feedback.store import MAX_MARKS, FeedbackStore, UnknownSearchError

HITS = [("a.pdf#p0", 1, 0.9), ("a.pdf#p3", 2, 0.8), ("b.pdf#p1", 3, 0.1)]


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "made" / "feedback.db")


def search(store: FeedbackStore, name: str, query: str = "Where is the harbour?", **more: object) -> None:
    store.record_search(name, query, None, HITS, "v1", "model-1", "hybrid", **more)  # type: ignore[arg-type]


def test_what_is_kept_comes_back(store: FeedbackStore) -> None:
    when = datetime(2025, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC)
    search(store, "s1", " Where is\nit? ", session="anna", time=when)
    store.record_search("s2", None, "f00d", [], "v2", "model-2", "vector")
    store.mark("s1", "a.pdf#p3", "relevant")
    store.mark("s1", "b.pdf#p1", "click")
    one, two = store.searches()
    assert (one.id, one.time, one.query, one.session, one.mode) == (
        "s1",
        when,
        "Where is\nit?",
        "anna",
        "hybrid",
    )
    assert (one.version, one.model, one.query_image) == ("v1", "model-1", "")
    assert [(page.page_id, page.rank, page.score) for page in one.shown] == HITS
    assert one.said == {"a.pdf#p3": True}
    assert one.clicked == {"b.pdf#p1"}
    assert (two.query, two.query_image, two.shown, two.marks) == ("", "f00d", (), ())


def test_a_mark_replaces_the_one_before_and_clicks_stand_beside_it(store: FeedbackStore) -> None:
    search(store, "s1")
    search(store, "s2")
    first = store.mark("s1", "a.pdf#p0", "relevant")
    store.mark("s1", "a.pdf#p0", "click")
    store.mark("s1", "a.pdf#p0", "click")
    second = store.mark("s1", "a.pdf#p0", "not_relevant")
    store.mark("s2", "a.pdf#p0", "relevant")
    assert first != second
    marks = store.marks("s1")
    assert [(mark.page_id, mark.kind) for mark in marks] == [
        ("a.pdf#p0", "click"),
        ("a.pdf#p0", "not_relevant"),
    ]
    assert marks[-1].id == second
    store.mark("s1", "a.pdf#p0", "clear")
    assert [mark.kind for mark in store.marks("s1")] == ["click"]
    assert [mark.kind for mark in store.marks("s2")] == ["relevant"]


def test_none_of_these_is_about_the_search(store: FeedbackStore) -> None:
    search(store, "s1")
    store.mark("s1", None, "none_relevant")
    assert [(mark.page_id, mark.kind) for mark in store.marks("s1")] == [(None, "none_relevant")]
    assert next(store.searches()).unanswered
    store.mark("s1", "a.pdf#p0", "relevant")
    assert not next(store.searches()).unanswered, "a page that is marked answers it"
    store.mark("s1", None, "clear")
    assert [mark.kind for mark in store.marks("s1")] == ["relevant"]


@pytest.mark.parametrize(
    ("page", "kind", "said"),
    [
        ("a.pdf#p0", "splendid", "choose from"),
        (None, "relevant", "needs a page"),
        (None, "click", "needs a page"),
        ("a.pdf#p0", "none_relevant", "takes no page"),
        ("../../etc/passwd", "relevant", "did not show"),
        ("\ud800", "relevant", "did not show"),
    ],
)
def test_marks_that_cannot_be_meant(store: FeedbackStore, page: str | None, kind: str, said: str) -> None:
    search(store, "s1")
    with pytest.raises(InputError, match=said):
        store.mark("s1", page, kind)
    assert store.marks("s1") == []


def test_searches_that_cannot_be_meant(store: FeedbackStore) -> None:
    search(store, "s1")
    with pytest.raises(InputError, match="recorded already"):
        search(store, "s1", "another")
    with pytest.raises(InputError, match="a text or an image"):
        search(store, "s2", "  ")
    for call in (lambda: store.mark("s9", "a.pdf#p0", "click"), lambda: store.marks("s9\ud800")):
        with pytest.raises(UnknownSearchError, match="no search"):
            call()
    assert [one.query for one in store.searches()] == ["Where is the harbour?"]


def test_a_page_beside_those_shown(store: FeedbackStore) -> None:
    search(store, "s1")
    store.mark("s1", "a.pdf#p4", "relevant", shown_only=False)
    assert next(store.searches()).said == {"a.pdf#p4": True}


def test_no_flood_of_marks(store: FeedbackStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_MARKS >= 1000
    monkeypatch.setattr("sightline.feedback.store.MAX_MARKS", 5)
    search(store, "s1")
    for number in range(5):
        store.mark("s1", f"a.pdf#p{number}", "click", shown_only=False)
    with pytest.raises(InputError, match="no more"):
        store.mark("s1", "a.pdf#p9", "click", shown_only=False)


def test_lone_surrogates_are_kept_as_question_marks(store: FeedbackStore) -> None:
    search(store, "s1", "half \ud83d of it")
    assert next(store.searches()).query == "half ? of it"


def test_a_window_of_time(store: FeedbackStore) -> None:
    day = datetime(2025, 1, 1, tzinfo=UTC)
    for number in range(4):
        search(store, f"s{number}", time=day + timedelta(days=number))
        store.mark(f"s{number}", "a.pdf#p0", "click")
    found = list(store.searches(since=day + timedelta(days=1), until=day + timedelta(days=3)))
    assert [one.id for one in found] == ["s1", "s2"]
    assert all(one.clicked and len(one.shown) == 3 for one in found)


def test_what_is_forgotten_is_not_in_the_files(store: FeedbackStore) -> None:
    for number in range(50):
        search(store, f"s{number}", f"an ordinary question {number}")
    search(store, "secret-1", "My  diagnosis is melancholia", session="someone-4711")
    store.mark("secret-1", "a.pdf#p0", "click")
    search(store, "secret-2", "my diagnosis is Melancholia?")
    folder = store.path.parent
    assert any(b"melancholia" in path.read_bytes() for path in folder.iterdir())
    gone = store.forget(query="my diagnosis is melancholia")
    assert (gone.searches, gone.marks, gone.wiped) == (2, 1, True)
    for path in folder.iterdir():
        for word in (b"elancholia", b"someone-4711", b"secret-1"):
            assert word not in path.read_bytes(), (path, word)
    assert sum(1 for _ in store.searches()) == 50


def test_forgetting_by_time_and_session(store: FeedbackStore) -> None:
    day = datetime(2025, 1, 1, tzinfo=UTC)
    search(store, "s1", time=day, session="anna")
    search(store, "s2", time=day, session="ben")
    search(store, "s3", time=day + timedelta(days=9), session="anna")
    assert store.forget(before=day + timedelta(days=1), session="anna").searches == 1
    assert [one.id for one in store.searches()] == ["s2", "s3"]
    assert store.forget(session="anna").searches == 1
    assert store.forget(before=day).searches == 0
    with pytest.raises(InputError, match="say what"):
        store.forget()


def test_only_the_owner_may_read(store: FeedbackStore) -> None:
    search(store, "s1")
    for path in store.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_threads_write_at_once(store: FeedbackStore) -> None:
    def work(number: int) -> str:
        search(store, f"s{number}")
        return store.mark(f"s{number}", "a.pdf#p0", "relevant")

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(work, range(40)))
    assert len(set(ids)) == 40
    assert all(one.said for one in store.searches())


def test_threads_share_a_commit_and_not_its_refusals(store: FeedbackStore) -> None:
    search(store, "s0")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # all of them come while the store is locked
    with ThreadPoolExecutor(20) as pool:
        names = [f"s{number // 2}" for number in range(20)]
        asked = [pool.submit(search, store, name) for name in names]
        time.sleep(0.2)
        before = store.path.with_name("feedback.db-wal").stat().st_size
        other.execute("ROLLBACK")
        refused = [one.exception() for one in asked]
    other.close()
    assert sum(isinstance(error, InputError) for error in refused) == 11
    assert sum(error is None for error in refused) == 9
    assert sum(1 for _ in store.searches()) == 10
    # One commit or two write far fewer pages of the log than nine do.
    assert store.path.with_name("feedback.db-wal").stat().st_size - before < 9 * 4096 * 3


WRITER = """
import sys
from sightline.feedback.store import FeedbackStore
store, name = FeedbackStore(sys.argv[1]), sys.argv[2]
for number in range(10):
    store.record_search(f"{name}-{number}", "q", None, [("a#p0", 1, 1.0)], "v", "m", "hybrid")
    store.mark(f"{name}-{number}", "a#p0", "click")
"""


def test_processes_write_at_once(store: FeedbackStore) -> None:
    command = [sys.executable, "-c", WRITER, str(store.path)]
    running = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "abc"]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert sum(bool(one.clicked) for one in store.searches()) == 30


def test_a_locked_store_is_said_and_loses_nothing(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path / "f.db", wait=0.05)
    search(store, "s1")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(FeedbackError, match="try again"):
        store.mark("s1", "a.pdf#p0", "click")
    assert store.marks("s1") == []
    other.execute("ROLLBACK")
    other.close()
    store.mark("s1", "a.pdf#p0", "click")
    assert [mark.kind for mark in store.marks("s1")] == ["click"]


FULL = """
import resource, signal, sys
from sightline.errors import FeedbackError
from sightline.feedback.store import FeedbackStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = FeedbackStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
done = 0
try:
    while True:
        store.record_search(f"s{done}", "q" * 500, None, [("a#p0", 1, 1.0)], "v", "m", "hybrid")
        done += 1
except FeedbackError as error:
    said = str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.record_search("after", "there is room again", None, [], "v", "m", "hybrid")
sys.stdout.write(f"{done}\\n{said}")
"""


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    count, said = done.stdout.split("\n", 1)
    assert "disk is full" in said
    assert "safe" in said
    found = [one.id for one in FeedbackStore(path).searches()]
    assert int(count) > 5
    assert found == [*(f"s{number}" for number in range(int(count))), "after"]


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("These are notes, and no database at all. " * 50)
    with pytest.raises(FeedbackError, match="no feedback store"):
        FeedbackStore(text)
    assert text.read_text().startswith("These are notes")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(FeedbackError, match="another program"):
        FeedbackStore(tmp_path / "other.db")
    with pytest.raises(FeedbackError, match="cannot be written"):
        FeedbackStore(tmp_path)


def test_a_newer_store_is_refused_and_an_older_one_migrated(
    store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(store, "s1")
    store.close()
    further = (*schema.MIGRATIONS, ("ALTER TABLE searches ADD COLUMN mood TEXT NOT NULL DEFAULT ''",))
    broken = (*schema.MIGRATIONS, ("ALTER TABLE searches ADD COLUMN mood TEXT", "no such statement"))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    with pytest.raises(FeedbackError, match="cannot be used"):
        FeedbackStore(store.path)
    monkeypatch.setattr(schema, "MIGRATIONS", further)
    with FeedbackStore(store.path) as newer:
        assert [one.id for one in newer.searches()] == ["s1"]
    monkeypatch.undo()
    with pytest.raises(FeedbackError, match="newer Sightline"):
        FeedbackStore(store.path)
