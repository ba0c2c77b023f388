"""Small PDFs for the tests of this room."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

MakePdf = Callable[..., Path]


@pytest.fixture
def make_pdf() -> MakePdf:
    """``make_pdf(path, ["text of page 0", ...], size=(points, points), encrypt=None)``."""
    from reportlab.pdfgen.canvas import Canvas

    def make(
        path: Path,
        pages: Iterable[str],
        *,
        size: tuple[float, float] = (595, 842),
        encrypt: Any = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas = Canvas(str(path), pagesize=size, invariant=1, encrypt=encrypt)
        for text in pages:
            lines = canvas.beginText(20, size[1] - 30)
            lines.textLines(text)
            canvas.drawText(lines)
            canvas.showPage()
        canvas.save()
        return path

    return make


@pytest.fixture
def raw_pdf() -> MakePdf:
    """``raw_pdf(path, pages)``: a PDF written by hand; a page is (media box, content, resources)."""

    def make(path: Path, pages: list[tuple[str, str, str]], extra: tuple[str, ...] = ()) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        first = 3 + len(extra)
        kids = " ".join(f"{first + 2 * i} 0 R" for i in range(len(pages)))
        objects = [
            "<< /Type /Catalog /Pages 2 0 R >>",
            f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        ]
        objects += list(extra)
        for i, (box, content, resources) in enumerate(pages):
            objects.append(
                f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Resources << {resources} >>"
                f" /Contents {first + 2 * i + 1} 0 R >>"
            )
            objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
        body, offsets = b"%PDF-1.7\n", []
        for number, text in enumerate(objects, start=1):
            offsets.append(len(body))
            body += f"{number} 0 obj\n{text}\nendobj\n".encode("latin-1")
        table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
        body += (
            f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
            f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
        ).encode()
        path.write_bytes(body)
        return path

    return make


@pytest.fixture
def slow_page() -> tuple[tuple[str, str, str], tuple[str, ...]]:
    """A page that keeps PDFium busy for hours, and the objects it needs: forms that draw forms."""

    def form(content: str, child: str) -> str:
        resources = f"/Resources << /XObject << /F {child} >> >>" if child else ""
        return (
            f"<< /Type /XObject /Subtype /Form /BBox [0 0 100 100] {resources} /Length {len(content)} >>\n"
            f"stream\n{content}\nendstream"
        )

    levels = 6
    extra = [form("/F Do\n" * 60, f"{3 + level + 1} 0 R") for level in range(levels)]
    extra.append(form("0 0 50 50 re f\n" * 60, ""))
    return ("0 0 200 200", "/F Do\n" * 60, "/XObject << /F 3 0 R >>"), tuple(extra)


@pytest.fixture
def write_lines() -> Callable[[Path, Iterable[Any]], Path]:
    """Write JSON lines; a str is written as it is."""

    def write(path: Path, records: Iterable[Any]) -> Path:
        lines = (item if isinstance(item, str) else json.dumps(item) for item in records)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
