"""A dataset to mine: documents of three pages each, a page that stands in two of them, and held-out documents."""

from __future__ import annotations

import json
from pathlib import Path

TRAIN = ("bees", "bread", "clocks", "engines", "rivers", "whales")
TEST = ("violins", "volcanoes")
PARTS = ("All about {}", "The history of {} through the ages", "What {} cost, and who pays for {}")
ASKED = ("Tell me of {}", "When were {} first known?", "How expensive are {}?")
# Its only page is the second page of the first document, to the last pixel.
COPY = "appendix.pdf"


def mined_pages(work: Path) -> Path:
    """Makes it below ``work``; returns the dataset's folder."""
    from sightline.documents.ingest import ingest
    from sightline.documents.records import IngestSettings

    for word in (*TRAIN, *TEST):
        sheet(work / "in" / f"{word}.pdf", [part.format(word, word) for part in PARTS])
    sheet(work / "in" / COPY, [PARTS[1].format(TRAIN[0])])
    questions = [
        {"id": f"{word}-{page}", "query": asked.format(word), "document": f"{word}.pdf", "pages": [page]}
        for word in (*TRAIN, *TEST)
        for page, asked in enumerate(ASKED)
    ]
    # One text, asked of two documents: neither answer is wrong for the other.
    questions += [
        {"id": f"price-{word}", "query": "What does it cost?", "document": f"{word}.pdf", "pages": [2]}
        for word in TRAIN[:2]
    ]
    questions.append({"id": "two", "query": "bees, in short", "document": "bees.pdf", "pages": [0, 1]})
    (work / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions))
    splits = {
        "train": [*(f"{word}.pdf" for word in TRAIN), COPY],
        "test": [f"{word}.pdf" for word in TEST],
    }
    (work / "splits.json").write_text(json.dumps(splits))
    ingest(
        work / "in",
        work / "pages",
        questions=work / "questions.jsonl",
        splits=work / "splits.json",
        settings=IngestSettings(pixels=20_000),
        workers=1,
    )
    return work / "pages"


def sheet(path: Path, texts: list[str]) -> None:
    """A PDF with a text per page."""
    from reportlab.pdfgen.canvas import Canvas

    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), pagesize=(300, 100), invariant=1)
    for text in texts:
        canvas.drawString(10, 50, text)
        canvas.showPage()
    canvas.save()


def sheet_of_lines(path: Path, texts: list[str]) -> None:
    """A PDF with several lines on each page."""
    from reportlab.pdfgen.canvas import Canvas

    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), pagesize=(600, 200), invariant=1)
    for text in texts:
        lines = canvas.beginText(10, 150)
        lines.textLines(text)
        canvas.drawText(lines)
        canvas.showPage()
    canvas.save()
