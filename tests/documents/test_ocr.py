"""Text recognised on scanned pages."""

from __future__ import annotations

import json

import pytest
from PIL import Image, ImageDraw

from sightline.documents import ocr
from sightline.documents.dataset import Dataset
from sightline.documents.fonts import Fonts
from sightline.documents.ingest import ingest
from sightline.documents.journal import JOURNAL
from sightline.documents.records import IngestSettings
from sightline.documents.structure import Block
from sightline.documents.typeset import draw, set_pages
from sightline.errors import ConfigError

SMALL = IngestSettings(pixels=60_000)
WORDS = "The seal of the pump in Lyon was changed in March 2021 for 4,810 euros"


def scan(path, *texts) -> None:
    """A PDF of images of text, as a scanner writes it."""
    fonts = Fonts()
    images = []
    for text in texts:
        (page,) = set_pages([Block("paragraph", text)], fonts)
        # A strip, because recognition takes as long as there are pixels.
        images.append(draw(page, (1000, 1415), fonts).crop((60, 60, 760, 200)))
    path.parent.mkdir(exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:])


@pytest.fixture
def folder(make_pdf, tmp_path):
    scan(tmp_path / "in" / "scan.pdf", WORDS, "A second page of the same letter")
    make_pdf(tmp_path / "in" / "born.pdf", ["digital from birth\n\nand so is this line"], size=(180, 120))
    Image.new("RGB", (200, 200), "white").save(tmp_path / "in" / "blank.png")
    return tmp_path / "in"


def texts(root) -> dict[str, tuple[str, str]]:
    return {page.page_id: (page.text_source, page.text) for page in Dataset.load(root).pages}


def test_pages_without_a_text_layer_are_read(folder, tmp_path):
    report = ingest(folder, tmp_path / "out", settings=SMALL, workers=1)
    assert texts(tmp_path / "out") == {
        "blank.png#p0": ("none", ""),
        "born.pdf#p0": ("pdf", "digital from birth\nand so is this line"),
        "scan.pdf#p0": ("ocr", WORDS),
        "scan.pdf#p1": ("ocr", "A second page of the same letter"),
    }
    assert report.partial == ()
    assert any("2 pages have their text from OCR" in line for line in report.facts())
    found = {item.document: item.ocr for item in Dataset.load(tmp_path / "out").documents}
    engine = f"missing: {ocr.installed()}"
    assert found == {"blank.png": engine, "born.pdf": "", "scan.pdf": engine}

    # All is taken over; without OCR, or with it for all pages, only what that changes is read again.
    assert ingest(folder, tmp_path / "out", settings=SMALL, workers=1).reused == 3
    without = IngestSettings(pixels=60_000, ocr="none")
    assert ingest(folder, tmp_path / "out", settings=without, workers=1).reused == 1
    assert {source for source, _ in texts(tmp_path / "out").values()} == {"pdf", "none"}
    every = IngestSettings(pixels=60_000, ocr="all")
    assert ingest(folder, tmp_path / "out", settings=every, workers=1).reused == 0
    source, text = texts(tmp_path / "out")["born.pdf#p0"]
    assert (source, text.split()) == ("ocr", ["digital", "from", "birth", "and", "so", "is", "this", "line"])


def test_recognised_pages_are_not_recognised_again(folder, tmp_path):
    """What the journal holds of an unfinished run is used, but for another engine."""
    (folder / "blank.png").unlink()
    out = tmp_path / "out"
    ingest(folder, out, settings=SMALL, workers=1)
    data = Dataset.load(out)
    made_by = data.head["made_by"]
    (scanned,) = [item for item in data.documents if item.document == "scan.pdf"]

    def run_after(**changed) -> str:
        entry = {
            "document": "scan.pdf",
            "sha256": scanned.sha256,
            "page": 0,
            "ocr": scanned.ocr,
            "text": "from the journal",
        }
        for path in out.glob("*.parquet"):
            path.unlink()
        (out / "dataset.json").unlink()
        lines = [{"journal": 2, "made_by": made_by}, {"recognised": {**entry, **changed}}]
        (out / JOURNAL).write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
        ingest(folder, out, settings=SMALL, workers=1)
        return texts(out)["scan.pdf#p0"][1]

    assert run_after() == "from the journal"
    assert run_after(ocr="missing: rapidocr 0.1") == WORDS


def test_a_page_that_takes_too_long_stays_without_its_text(folder, tmp_path):
    settings = IngestSettings(pixels=60_000, ocr_seconds=0.05)
    report = ingest(folder, tmp_path / "out", settings=settings, workers=1)
    found = texts(tmp_path / "out")
    assert found["scan.pdf#p0"] == ("none", "")
    assert found["born.pdf#p0"] == ("pdf", "digital from birth\nand so is this line")
    (partial,) = [item for item in report.partial if item.document == "scan.pdf"]
    assert (
        "page 0 (counted from 0) its text was not recognised: that took longer than 0.05 s" in partial.error
    )


def test_without_the_extra(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ocr, "installed", lambda: "")
    report = ingest(folder, tmp_path / "out", settings=SMALL, workers=1)
    assert {source for source, _ in texts(tmp_path / "out").values()} == {"pdf", "none"}
    assert report.facts()[-1] == (
        "3 pages have no text; to recognise it: pip install 'sightline[ocr]', then the same command again"
    )
    with pytest.raises(ConfigError, match=r"needs the extra 'ocr': pip install"):
        ingest(folder, tmp_path / "out", settings=IngestSettings(ocr="all"))


def test_text_in_columns_keeps_its_lines():
    image = Image.new("RGB", (900, 300), "white")
    font = Fonts().sized("plain", 14)
    pen = ImageDraw.Draw(image)
    for row, cells in enumerate((("Year", "Cost"), ("2020", "4,810"), ("2021", "5,120"))):
        for column, cell in enumerate(cells):
            pen.text((60 + 500 * column, 40 + 80 * row), cell, fill="black", font=font)
    lines = [line.split() for line in ocr.recognise(image).split("\n") if line]
    assert lines == [["Year", "Cost"], ["2020", "4,810"], ["2021", "5,120"]]
