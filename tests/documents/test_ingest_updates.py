"""A dataset is brought up to date: what is gone, and what pages know of each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings
from sightline.errors import DataError

SMALL = IngestSettings(pixels=40_000, ocr="none")


@pytest.fixture
def folder(make_pdf, tmp_path) -> Path:
    base = tmp_path / "in"
    make_pdf(base / "2022" / "report.pdf", ["revenue 2022", "staff 2022"])
    make_pdf(base / "2023" / "report.pdf", ["revenue 2023", "staff 2023", "outlook 2023"])
    Image.new("RGB", (300, 100), "navy").save(base / "chart.png")
    return base


def test_documents_that_are_gone_are_told_and_their_questions_dropped(folder, write_lines, tmp_path):
    asked = write_lines(
        tmp_path / "questions.jsonl",
        [
            {"id": "a", "query": "Revenue?", "document": "2022/report.pdf", "pages": [0]},
            {"id": "b", "query": "Staff?", "document": "2023/report.pdf", "pages": [1]},
        ],
    )
    out = tmp_path / "out"
    ingest(folder, out, questions=asked, settings=SMALL)
    images = set((out / "images").glob("*/*"))
    (folder / "2022" / "report.pdf").unlink()
    for _ in range(2):  # the second run knows the document from what the first one noted
        report = ingest(folder, out, questions=asked, settings=SMALL)
        assert report.questions == 1
        assert report.dropped == (
            "questions.jsonl:1: question 'a' is dropped because 2022/report.pdf is not in the folder any more",
        )
    assert report.removed == ()
    assert len(set((out / "images").glob("*/*"))) == len(images) - 2
    with pytest.raises(
        DataError, match=r"questions\.jsonl:1: document '2022/report\.pdf' is not in the folder"
    ):
        ingest(folder, tmp_path / "fresh", questions=asked, settings=SMALL)
    (folder / "chart.png").unlink()
    report = ingest(folder, out, questions=asked, settings=SMALL)
    assert report.removed == ("chart.png",)
    assert "chart.png: not in the folder any more, its pages are removed" in report.notes


def test_pages_know_their_language_and_their_likeness(make_pdf, tmp_path):
    english = (
        "The seal of the pump has to be changed\nevery two years, or after ten thousand hours\nof service"
    )
    make_pdf(tmp_path / "in" / "a.pdf", [english, "12 34"])
    (tmp_path / "in" / "b.md").write_text("Die Dichtung der Pumpe muss alle zwei Jahre gewechselt werden.")
    make_pdf(tmp_path / "in" / "c.pdf", ["another title", english])
    report = ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1)
    data = Dataset.load(tmp_path / "out")
    assert {page.page_id: (page.language, page.duplicate_of) for page in data.pages} == {
        "a.pdf#p0": ("en", ""),
        "a.pdf#p1": ("", ""),
        "b.md#p0": ("de", ""),
        "c.pdf#p0": ("", ""),
        "c.pdf#p1": ("en", "a.pdf#p0"),
    }
    assert {item.document: item.language for item in data.documents} == {
        "a.pdf": "en",
        "b.md": "de",
        "c.pdf": "en",
    }
    assert report.facts()[:2] == (
        "languages: en 2, de 1 pages",
        "1 pages are nearly the same as another page",
    )
    # The first of the two goes: the other is nobody's likeness any more.
    (tmp_path / "in" / "a.pdf").unlink()
    ingest(tmp_path / "in", tmp_path / "out", settings=SMALL, workers=1)
    assert {page.duplicate_of for page in Dataset.load(tmp_path / "out").pages} == {""}
