"""Drawing a filled-in form: boxes with labels and handwriting, tick boxes, a signature."""

from __future__ import annotations

from dataclasses import dataclass

from reportlab.lib.colors import HexColor
from reportlab.pdfgen.canvas import Canvas

from sightline.demo import layout, penmanship


@dataclass(frozen=True)
class Field:
    """A box on a form: its label, what was written in, and the share of the row it takes."""

    label: str
    value: str
    share: float = 0.5
    lines: int = 1


def draw_form(
    canvas: Canvas, look: layout.Theme, head: tuple[str, str], fields: list[Field], ticks: tuple[tuple[str, ...], int],
    signed: str, seed: int, size: tuple[float, float],
) -> None:  # fmt: skip
    wide, high = size
    canvas.setFillColor(look.primary)
    canvas.rect(0, high - 34, wide, 34, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.setFont("Helvetica-Bold", 16)
    canvas.drawString(12, high - 23, head[0])
    canvas.setFont("Helvetica", 10)
    canvas.drawRightString(wide - 12, high - 22, f"No. {head[1]}")
    x, y, row_height = 0.0, high - 34, 0.0
    canvas.setLineWidth(0.7)
    for field in fields:
        box_w, box_h = wide * field.share, 22 + 19.0 * field.lines
        if x + box_w > wide + 1:
            x, y = 0.0, y - row_height
        row_height = box_h
        canvas.setStrokeColor(layout.GREY)
        canvas.rect(x, y - box_h, box_w, box_h, stroke=1, fill=0)
        canvas.setFillColor(layout.GREY)
        canvas.setFont("Helvetica", 7.5)
        canvas.drawString(x + 6, y - 11, field.label)
        penmanship.write(canvas, field.value, x + 8, y - 29, box_w - 14, field.lines)
        x += box_w
    y -= row_height + 26
    canvas.setFont("Helvetica", 9.5)
    left = 0.0
    for place, label in enumerate(ticks[0]):
        canvas.setStrokeColor(layout.INK)
        canvas.rect(left, y, 11, 11, stroke=1, fill=0)
        if place == ticks[1]:
            canvas.setStrokeColor(penmanship.PEN)
            canvas.setLineWidth(1.6)
            canvas.line(left - 1, y + 1, left + 13, y + 13)
            canvas.line(left, y + 12, left + 12, y - 1)
            canvas.setLineWidth(0.7)
        canvas.setFillColor(layout.INK)
        canvas.drawString(left + 17, y + 2, label)
        left += 34 + canvas.stringWidth(label, "Helvetica", 9.5)
    canvas.setStrokeColor(layout.GREY)
    canvas.line(0, y - 60, 220, y - 60)
    penmanship.signature(canvas, signed, 16, y - 52, seed)
    canvas.setFillColor(layout.GREY)
    canvas.setFont("Helvetica", 7.5)
    canvas.drawString(0, y - 70, "Signature")
    canvas.drawString(220, y - 70, "White copy: file. Yellow copy: desk concerned. Keep for ten years.")
