"""What is written by hand on forms and letters: entries and signatures."""

from __future__ import annotations

import random

from reportlab.lib.colors import HexColor
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

PEN = HexColor("#1d3f8f")


def write(canvas: Canvas, words: str, x: float, y: float, room: float, lines: int = 1) -> None:
    """An entry in a form's box, in a slanted hand; it shrinks to fit ``room`` points."""
    size = 13.0
    while stringWidth(words, "Times-Italic", size) > room * lines and size > 7:
        size -= 0.5
    canvas.setFillColor(PEN)
    canvas.setFont("Times-Italic", size)
    canvas.drawString(x, y, words)


def signature(canvas: Canvas, name: str, x: float, y: float, seed: int) -> None:
    """A scribble that begins with the initials of ``name``."""
    rng = random.Random(seed)
    canvas.saveState()
    canvas.setStrokeColor(PEN)
    canvas.setLineWidth(1.3)
    canvas.setLineCap(1)
    path = canvas.beginPath()
    path.moveTo(x, y)
    at, level = x, y
    habit, slant = rng.uniform(5, 13), rng.uniform(0.0, 0.5)
    for stroke in range(3 + len(name) // rng.choice((2, 3))):
        tall = rng.uniform(16, 32) if stroke == 0 or rng.random() < 0.22 else rng.uniform(2, 9)
        step = habit * rng.uniform(0.7, 1.3)
        path.curveTo(
            at + step * (0.1 + slant),
            level + tall,
            at + step * 0.9,
            level + tall * 0.8,
            at + step,
            level + rng.uniform(-3, 3),
        )
        path.curveTo(at + step * 0.8, level - 5, at + step * 1.2, level - 4, at + step * 1.3, level)
        at += step * 1.3
    path.curveTo(at + 20, level - 6, at + 30, level + 4, at + 46, level + rng.uniform(-2, 6))
    canvas.drawPath(path, stroke=1, fill=0)
    canvas.restoreState()
