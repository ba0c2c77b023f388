"""A dataset of small PDFs with a question each, made by ingestion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sightline.documents.ingest import ingest


def one_page_each(work: Path, words: Sequence[str], *, held_out: int) -> Path:
    """One-page PDFs with a text layer about each word, and a question about each.

    Args:
        work: an empty folder; documents, questions and the dataset go there.
        words: what the documents are about.
        held_out: how many of the last documents form the test split.

    Returns:
        the dataset's folder.
    """
    from reportlab.pdfgen import canvas

    (work / "in").mkdir()
    for word in words:
        sheet = canvas.Canvas(str(work / "in" / f"{word}.pdf"), pagesize=(200, 100), invariant=1)
        sheet.drawString(10, 50, f"All about {word}")
        sheet.save()
    asked = [
        {"id": word, "query": f"Tell me of {word}", "document": f"{word}.pdf", "pages": [0]} for word in words
    ]
    (work / "questions.jsonl").write_text("".join(json.dumps(item) + "\n" for item in asked))
    splits = {
        "train": [f"{word}.pdf" for word in words[:-held_out]],
        "test": [f"{word}.pdf" for word in words[-held_out:]],
    }
    (work / "splits.json").write_text(json.dumps(splits))
    ingest(
        work / "in", work / "out", questions=work / "questions.jsonl", splits=work / "splits.json", workers=1
    )
    return work / "out"
