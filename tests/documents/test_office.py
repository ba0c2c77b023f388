"""Office files through LibreOffice: the real one where it is installed, and what happens where it is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.office import find_office, office_version
from sightline.documents.records import IngestSettings
from support.office_files import write_docx, write_odp, write_xlsx

SMALL = IngestSettings(pixels=60_000, ocr="none")
needs_office = pytest.mark.skipif(
    find_office() is None, reason="LibreOffice is not installed (apt-get, see .ci/run)"
)


@pytest.fixture(autouse=True)
def fresh_version():
    """What is installed is found anew, because tests change the search path."""
    office_version.cache_clear()
    yield
    office_version.cache_clear()


def pretend_office(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A ``soffice`` that tells a version and otherwise runs this shell script; it comes first in the path."""
    folder.mkdir()
    command = folder / "soffice"
    command.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "LibreOffice 9.9 abc" && exit 0\n{script}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@needs_office
def test_real_files(tmp_path):
    write_docx(tmp_path / "in" / "letter.docx", ["The seal of the pump", "\f", "wears in Lyon"])
    write_xlsx(tmp_path / "in" / "costs.xlsx", [["Year", "Cost"], ["2020", "4810"]])
    write_odp(tmp_path / "in" / "talk.odp", ["Our strategy", "Questions"])
    (tmp_path / "in" / "torn.docx").write_bytes((tmp_path / "in" / "letter.docx").read_bytes()[:-30])
    report = ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1)
    data = Dataset.load(tmp_path / "out")
    texts = {page.page_id: page.text for page in data.pages}
    assert texts["letter.docx#p0"] == "The seal of the pump"
    assert texts["letter.docx#p1"] == "wears in Lyon"
    assert texts["costs.xlsx#p0"].split() == ["Year", "Cost", "2020", "4810"]
    assert (texts["talk.odp#p0"], texts["talk.odp#p1"]) == ("Our strategy", "Questions")
    assert {page.text_source for page in data.pages} == {"office"}
    assert {item.converter for item in data.documents if item.status == "ok"} == {office_version()}
    assert office_version().startswith("LibreOffice ")
    assert report.refusals == ("torn.docx: the Word file is broken, or something else",)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"dataset.json", "pages.parquet", "documents.parquet", "questions.parquet", "images"}
    assert ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1).reused == 3


def test_without_libreoffice(tmp_path, make_pdf, monkeypatch):
    make_pdf(tmp_path / "in" / "fine.pdf", ["fine"])
    write_docx(tmp_path / "in" / "letter.docx", ["text"])
    write_xlsx(tmp_path / "in" / "costs.xlsx", [["1"]])
    monkeypatch.setenv("PATH", "")
    report = ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1)
    assert report.documents == 1
    excel, word = report.refusals
    assert excel.startswith("costs.xlsx: Excel files are read through LibreOffice, which is not installed")
    assert "apt-get install libreoffice-writer-nogui" in word


def test_what_is_no_office_file_is_refused_before_libreoffice_sees_it(tmp_path, monkeypatch):
    pretend_office(tmp_path / "bin", monkeypatch, f"touch {tmp_path}/was-started")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.docx").write_bytes(b"PK\x03\x04" + bytes(200))
    (tmp_path / "in" / "b.xls").write_text("a,b\n")
    locked = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le") + bytes(600)
    )
    (tmp_path / "in" / "c.pptx").write_bytes(locked)
    report = ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1)
    assert report.refusals == (
        "a.docx: the Word file is broken, or something else",
        "b.xls: the Excel file is broken, or something else",
        "c.pptx: the PowerPoint file is encrypted and needs a password; save it without one",
    )
    assert not (tmp_path / "was-started").exists()


def test_libreoffice_that_cannot_read_a_file(tmp_path, monkeypatch):
    pretend_office(tmp_path / "bin", monkeypatch, 'echo "Error: source file could not be loaded"')
    write_docx(tmp_path / "in" / "a.docx", ["text"])
    report = ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1)
    (line,) = report.refusals
    assert line.startswith("a.docx: LibreOffice cannot convert it: the file is damaged or protected")
    assert line.endswith("(Error: source file could not be loaded)")


def test_libreoffice_that_hangs_is_ended_with_its_children(tmp_path, make_pdf, monkeypatch):
    pretend_office(tmp_path / "bin", monkeypatch, f"sleep 600 & echo $! > {tmp_path}/child; wait")
    write_docx(tmp_path / "in" / "a.docx", ["text"])
    make_pdf(tmp_path / "in" / "fine.pdf", ["fine"])
    settings = IngestSettings(pixels=60_000, ocr="none", office_seconds=1.0)
    report = ingest(tmp_path / "in", tmp_path / "out", settings=settings, workers=1)
    assert report.documents == 1
    assert report.refusals == ("a.docx: LibreOffice 9.9 took longer than 1 s",)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}")
    deadline = time.monotonic() + 10
    while child.exists() and (child / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the child of LibreOffice must end with it"
        time.sleep(0.05)
