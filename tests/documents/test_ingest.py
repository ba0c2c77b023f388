"""A folder becomes a dataset: discovery, refusals, updates, limits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sightline.documents import pool, store
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings
from sightline.errors import DataError
from support.processes import heed_interrupts

SMALL = IngestSettings(pixels=40_000, ocr="none")
FILES = ("pages.parquet", "documents.parquet", "questions.parquet", "dataset.json")


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a dataset folder by its path inside."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def readers_of(parent: int) -> list[int]:
    """The process ids of the reader processes that ``parent`` started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status, command = (entry / "stat").read_text(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == parent and b"sightline.documents.worker" in command:
            found.append(int(entry.name))
    return found


@pytest.fixture
def folder(make_pdf, tmp_path) -> Path:
    base = tmp_path / "in"
    make_pdf(base / "2022" / "report.pdf", ["revenue 2022", "staff 2022"])
    make_pdf(base / "2023" / "report.pdf", ["revenue 2023", "staff 2023", "outlook 2023"])
    Image.new("RGB", (300, 100), "navy").save(base / "chart.png")
    return base


def test_pages_of_pdfs_and_images(folder, tmp_path):
    report = ingest(folder, tmp_path / "out", settings=SMALL)
    data = Dataset.load(tmp_path / "out")
    assert [page.page_id for page in data.pages] == [
        "2022/report.pdf#p0",
        "2022/report.pdf#p1",
        "2023/report.pdf#p0",
        "2023/report.pdf#p1",
        "2023/report.pdf#p2",
        "chart.png#p0",
    ]
    page = data.page("2023/report.pdf#p2")
    assert (page.text, page.text_source, page.page) == ("outlook 2023", "pdf", 2)
    assert data.page("chart.png#p0").text_source == "none"
    with Image.open(page.image) as image:
        assert image.size == (page.width, page.height)
    assert (report.documents, report.pages, report.reused, report.skipped) == (3, 6, 0, ())
    assert "6 pages from 3 documents" in report.summary()
    assert data.head["counts"] == {"documents": 3, "skipped": 0, "pages": 6, "questions": 0}
    assert data.head["settings"]["pixels"] == 40_000


def test_every_bad_file_is_named_and_the_rest_goes_on(folder, make_pdf, raw_pdf, tmp_path):
    from reportlab.lib.pdfencrypt import StandardEncryption

    make_pdf(folder / "locked.pdf", ["secret"], encrypt=StandardEncryption("user", "owner"))
    raw_pdf(folder / "tower.pdf", [("0 0 100 100", "", ""), ("0 0 612 4000000000", "", "")])
    (folder / "empty.pdf").touch()
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    (folder / "notes.docx").write_bytes(b"PK\x03\x04" + bytes(200))
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
    (folder / "gone.pdf").symlink_to(tmp_path / "nowhere.pdf")
    os.mkfifo(folder / "pipe.pdf")
    (folder / ".hidden.pdf").write_bytes(b"nobody looks")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.pdf").write_bytes(b"nobody looks")
    (folder / os.fsdecode(b"caf\xe9.csv")).write_text("an,odd,name")
    report = ingest(folder, tmp_path / "out", settings=SMALL)
    causes = {item.document: item.error for item in report.skipped}
    expected = {
        "locked.pdf": "encrypted",
        "tower.pdf": r"page 1 \(counted from 0\) measures 612 by 4e\+09 points",
        "empty.pdf": "empty",
        "broken.pdf": "broken",
        "notes.docx": "broken, or something else",
        "torn.jpg": "image",
        "gone.pdf": "No such file",
        "pipe.pdf": "not a regular file",
        "caf\\xe9.csv": "not a supported type",
    }
    assert causes.keys() == expected.keys()
    for name, pattern in expected.items():
        assert re.search(pattern, causes[name]), causes[name]
    assert all(line.startswith(f"{item.document}: ") for line, item in zip(report.refusals, report.skipped))
    data = Dataset.load(tmp_path / "out")
    assert len(data.pages) == 6
    assert {item.document for item in data.documents if item.status == "skipped"} == expected.keys()
    assert all(item.split is None and item.error for item in data.documents if item.status == "skipped")


def test_copies_of_a_file_share_images_and_split(folder, tmp_path):
    for name in ("a.pdf", "b.pdf", "c.pdf"):
        (folder / name).write_bytes((folder / "2022" / "report.pdf").read_bytes())
    ingest(folder, tmp_path / "out", settings=SMALL)
    data = Dataset.load(tmp_path / "out")
    assert len(data.pages) == 6 + 3 * 2
    assert len(list((tmp_path / "out" / "images").glob("*/*"))) == 6
    copies = [item for item in data.documents if item.document in ("a.pdf", "b.pdf", "2022/report.pdf")]
    assert len({item.split for item in copies}) == 1


def test_second_run_reads_only_what_changed(folder, make_pdf, tmp_path):
    out = tmp_path / "out"
    ingest(folder, out, settings=SMALL)
    first = contents(out)
    again = ingest(folder, out, settings=SMALL)
    assert (again.reused, again.documents) == (3, 3)
    assert contents(out) == first

    make_pdf(folder / "2022" / "report.pdf", ["rewritten"])
    (folder / "chart.png").unlink()
    make_pdf(folder / "new.pdf", ["new"])
    changed = ingest(folder, out, settings=SMALL)
    assert (changed.reused, changed.documents) == (1, 3)
    ingest(folder, tmp_path / "fresh", settings=SMALL)
    assert contents(out) == contents(tmp_path / "fresh")


def test_another_page_size_reads_everything_again(folder, tmp_path):
    ingest(folder, tmp_path / "out", settings=SMALL)
    report = ingest(folder, tmp_path / "out", settings=IngestSettings(pixels=20_000, ocr="none"))
    assert report.reused == 0
    pages = Dataset.load(tmp_path / "out").pages
    assert max(page.width * page.height for page in pages) <= 20_000
    assert len(list((tmp_path / "out" / "images").glob("*/*"))) == len(pages)


def test_lost_images_are_made_again(folder, tmp_path):
    out = tmp_path / "out"
    ingest(folder, out, settings=SMALL)
    first = contents(out)
    next((out / "images").glob("*/*.jpg")).unlink()
    assert ingest(folder, out, settings=SMALL).reused == 2
    assert contents(out) == first


# It never comes to its end: whoever starts it stops it long before.
SLOW_RUN = """
import sys, time
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings

seen = []

def slowly(record):
    seen.append(record)
    time.sleep(0.05 if len(seen) < 9 else 5)

settings = IngestSettings(pixels=40_000, ocr="none")
ingest(sys.argv[1], sys.argv[2], settings=settings, workers=2, on_document=slowly)
"""


def test_killed_run_goes_on_and_ends_the_same(make_pdf, tmp_path):
    base, out = tmp_path / "in", tmp_path / "out"
    for number in range(24):
        make_pdf(base / f"{number:02}.pdf", [f"document {number} page {page}" for page in range(3)])
    (base / "bad.pdf").write_bytes(b"%PDF-1.4 torn")
    run = subprocess.Popen([sys.executable, "-c", SLOW_RUN, str(base), str(out)])
    journal = out / store.JOURNAL
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 6):
        assert run.poll() is None
        time.sleep(0.005)
    readers = readers_of(run.pid)
    run.kill()
    run.wait()
    assert readers
    with pytest.raises(DataError, match="did not finish; run the same"):
        Dataset.load(out)
    saved = journal.read_bytes().count(b"\n") - 1
    with journal.open("ab") as file:
        file.write(b'{"document": "07.pdf", "sour')  # what a kill in the middle of a write leaves
    (out / "images" / "00").mkdir(exist_ok=True)
    (out / "images" / "00" / f".1-{'0' * 64}.tmp").write_bytes(b"half an image")

    report = ingest(base, out, settings=SMALL, workers=1)
    assert 5 <= report.reused <= saved
    assert report.documents == 24
    ingest(base, tmp_path / "whole", settings=SMALL)
    assert contents(out) == contents(tmp_path / "whole")
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{reader}").exists() for reader in readers):
        assert time.monotonic() < deadline, "the readers of a killed run must end by themselves"
        time.sleep(0.05)


class SlowClock:
    """Stands still unless every reader at work is on a page that hangs: good pages have all the time they need."""

    def __init__(self, hanging: Collection[tuple[str, int]]) -> None:
        self._hanging = hanging
        self._passed, self._since = 0.0, None

    def monotonic(self) -> float:
        return self._passed + (0.0 if self._since is None else time.monotonic() - self._since)

    def look_at(self, workers: Iterable[pool._Worker]) -> None:
        tasks = [worker.task for worker in workers if worker.task is not None]
        hang = [bool(task.count) and (task.document, task.next_page) in self._hanging for task in tasks]
        self._passed, self._since = self.monotonic(), time.monotonic() if hang and all(hang) else None


def when_heard(monkeypatch: pytest.MonkeyPatch, look: Callable[..., None]) -> None:
    """Calls ``look`` with the supervisor, the worker and the kind of its answer, once that has been heard."""
    heard = pool._Supervisor._hear

    def hear(supervisor: Any, worker: Any, answer: dict[str, Any]) -> Iterator[Any]:
        kind = answer["kind"]
        yield from heard(supervisor, worker, answer)
        look(supervisor, worker, kind)

    monkeypatch.setattr(pool._Supervisor, "_hear", hear)


def test_page_that_hangs_is_left_out(raw_pdf, slow_page, tmp_path, monkeypatch):
    page, forms = slow_page
    good = ("0 0 100 100", "0 0 50 50 re f", "")
    raw_pdf(tmp_path / "in" / "one.pdf", [good, page, good], forms)
    raw_pdf(tmp_path / "in" / "two.pdf", [page, good, page, good], forms)
    raw_pdf(tmp_path / "in" / "fine.pdf", [good])
    settings = IngestSettings(pixels=40_000, page_seconds=0.5, ocr="none")
    clock = SlowClock([("one.pdf", 1), ("two.pdf", 0), ("two.pdf", 2)])
    monkeypatch.setattr(pool, "time", clock)
    when_heard(monkeypatch, lambda supervisor, *_: clock.look_at(supervisor.workers))
    report = ingest(tmp_path / "in", tmp_path / "out", settings=settings, workers=2)
    assert report.refusals == ("two.pdf: page 2 (counted from 0) took longer than 0.5 s",)
    (partial,) = report.partial
    assert (partial.document, partial.error) == ("one.pdf", "page 1 (counted from 0) took longer than 0.5 s")
    pages = [page.page_id for page in Dataset.load(tmp_path / "out").pages]
    assert pages == ["fine.pdf#p0", "one.pdf#p0", "one.pdf#p2"]


def test_crash_of_a_reader_costs_one_file(make_pdf, raw_pdf, slow_page, tmp_path, monkeypatch):
    page, forms = slow_page
    raw_pdf(tmp_path / "in" / "fatal.pdf", [page], (*forms, "x" * 100_000))  # the largest: it comes first
    for number in range(3):
        make_pdf(tmp_path / "in" / f"{number}.pdf", ["fine"])
    before = set(readers_of(os.getpid()))

    def kill_reader(_: Any, worker: pool._Worker, kind: str) -> None:
        # It has counted the pages and goes on with the first.
        if kind == "count" and (worker.task.document, worker.task.next_page) == ("fatal.pdf", 0):
            os.kill(worker.child.process.pid, signal.SIGSEGV)

    when_heard(monkeypatch, kill_reader)
    report = ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1)
    assert report.refusals == ("fatal.pdf: page 0 (counted from 0) crashed its reader (signal SIGSEGV)",)
    assert report.documents == 3
    assert set(readers_of(os.getpid())) == before


def test_memory_is_limited_per_reader(folder, tmp_path):
    Image.new("L", (8000, 7900)).save(tmp_path / "grey.png")
    Image.open(tmp_path / "grey.png").convert("RGBA").save(folder / "large.png", compress_level=1)
    settings = IngestSettings(pixels=40_000, memory_mb=512, ocr="none")
    report = ingest(folder, tmp_path / "out", settings=settings, workers=1)
    assert report.documents == 3
    assert [item.document for item in report.skipped] == ["large.png"]
    assert "memory" in report.skipped[0].error


def test_output_folder_must_be_ours(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("do not touch")
    with pytest.raises(DataError, match="has other files in it"):
        ingest(folder, other)
    with pytest.raises(DataError, match="cannot be written there"):
        ingest(folder, other / "thesis.txt")
    with pytest.raises(DataError, match="into the folder it is made from"):
        ingest(folder, folder)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_output_inside_the_folder_is_not_read(folder):
    ingest(folder, folder / "dataset", settings=SMALL)
    report = ingest(folder, folder / "dataset", settings=SMALL)
    assert (report.documents, report.reused) == (3, 3)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        ingest(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "in").mkdir()
    (tmp_path / "single.pdf").touch()
    with pytest.raises(DataError, match="is a file; give the folder"):
        ingest(tmp_path / "single.pdf", tmp_path / "out")
    with pytest.raises(DataError, match="no files"):
        ingest(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_readers_are_renewed_now_and_then(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("sightline.documents.pool.FILES_PER_WORKER", 1)
    report = ingest(folder, tmp_path / "out", settings=SMALL, workers=2)
    assert (report.documents, report.skipped) == (3, ())


def test_interrupt_ends_the_readers_and_keeps_what_was_read(make_pdf, tmp_path):
    base, out = tmp_path / "in", tmp_path / "out"
    for number in range(20):
        make_pdf(base / f"{number:02}.pdf", ["text"])
    command = [sys.executable, "-c", SLOW_RUN, str(base), str(out)]
    run = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed_interrupts
    )
    journal = out / store.JOURNAL
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
        assert run.poll() is None
        time.sleep(0.005)
    readers = readers_of(run.pid)
    os.killpg(run.pid, signal.SIGINT)  # as the terminal does: to everyone at once
    _, errors = run.communicate(timeout=30)
    assert run.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, "the readers must be silent"
    assert not [reader for reader in readers if Path(f"/proc/{reader}").exists()]
    assert ingest(base, out, settings=SMALL).reused >= 3


def test_two_ingests_into_one_folder(folder, tmp_path):
    out = tmp_path / "out"
    ingest(folder, out, settings=SMALL)
    with store.locked(out), pytest.raises(DataError, match="is writing here"):
        ingest(folder, out, settings=SMALL)
    ingest(folder, out, settings=SMALL)


def test_nothing_readable_is_a_report_and_not_a_crash(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pdf").write_bytes(b"nothing")
    report = ingest(tmp_path / "in", tmp_path / "out")
    assert (report.documents, report.pages, len(report.skipped)) == (0, 0, 1)
    assert Dataset.load(tmp_path / "out").pages == ()


def test_full_disk_ends_the_run_instead_of_refusing_every_file(folder, tmp_path):
    out = tmp_path / "out"
    ingest(folder, out, settings=SMALL)
    for path in sorted((out / "images").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (out / "images").rmdir()
    (out / "images").write_text("in the way of every page image")
    with pytest.raises(DataError, match="cannot write"):
        ingest(folder, out, settings=SMALL)


def test_callback_sees_every_document_and_nothing_is_printed(folder, tmp_path, capfd):
    seen = []
    ingest(folder, tmp_path / "out", settings=SMALL, on_document=lambda record: seen.append(record.document))
    assert sorted(seen) == ["2022/report.pdf", "2023/report.pdf", "chart.png"]
    assert capfd.readouterr() == ("", "")


def test_readers_do_not_load_torch(tmp_path):
    code = "import sys, sightline.documents.worker, sightline.inputs.media; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_damaged_datasets_say_what_to_do(folder, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="no such folder"):
        Dataset.load(out)
    ingest(folder, out, settings=SMALL)
    (out / "pages.parquet").write_bytes(b"PAR1 but not for long")
    with pytest.raises(DataError, match=r"pages\.parquet cannot be read"):
        Dataset.load(out)
    ingest(folder, out, settings=SMALL)
    head = json.loads((out / "dataset.json").read_text())
    (out / "dataset.json").write_text(json.dumps({**head, "version": 99}))
    with pytest.raises(DataError, match="version 99"):
        Dataset.load(out)
    (out / "dataset.json").unlink()
    with pytest.raises(DataError, match="is not a dataset"):
        Dataset.load(out)
