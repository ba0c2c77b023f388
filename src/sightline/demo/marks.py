"""Company marks: a small vector sign per company, as letterheads, covers and footers carry it."""

from __future__ import annotations

import math

from reportlab.lib.colors import Color, HexColor
from reportlab.pdfgen.canvas import Canvas

from sightline.demo.world import Company


def draw_mark(
    canvas: Canvas, company: Company, x: float, y: float, size: float, mono: Color | None = None
) -> None:
    """The company's sign with its lower left corner at (x, y); ``mono`` draws it in one colour."""
    main = mono or HexColor(company.colour)
    second = mono or HexColor(company.accent)
    canvas.saveState()
    canvas.translate(x, y)
    canvas.scale(size / 100, size / 100)
    canvas.setFillColor(main)
    canvas.setStrokeColor(main)
    canvas.setLineWidth(9)
    canvas.setLineCap(1)
    _SIGNS[company.mark](canvas, second)
    canvas.restoreState()


def _drop(canvas: Canvas, second: Color) -> None:
    path = canvas.beginPath()
    path.moveTo(50, 98)
    path.curveTo(80, 55, 86, 45, 86, 35)
    path.curveTo(86, 12, 70, 2, 50, 2)
    path.curveTo(30, 2, 14, 12, 14, 35)
    path.curveTo(14, 45, 20, 55, 50, 98)
    canvas.drawPath(path, stroke=0, fill=1)
    canvas.setFillColor(second)
    canvas.circle(50, 32, 16, stroke=0, fill=1)


def _anchor(canvas: Canvas, second: Color) -> None:
    canvas.line(50, 8, 50, 74)
    canvas.line(28, 60, 72, 60)
    canvas.arc(12, 8, 88, 84, 200, 140)
    canvas.setStrokeColor(second)
    canvas.circle(50, 85, 10, stroke=1, fill=0)


def _rings(canvas: Canvas, second: Color) -> None:
    for radius in (44, 29):
        canvas.circle(50, 50, radius, stroke=1, fill=0)
    canvas.setFillColor(second)
    canvas.circle(50, 50, 13, stroke=0, fill=1)


def _wheat(canvas: Canvas, second: Color) -> None:
    canvas.line(50, 2, 50, 60)
    for level in (20, 42, 64):
        for side in (-1, 1):
            canvas.setFillColor(second if level == 42 else canvas._fillColorObj)
            canvas.saveState()
            canvas.translate(50 + side * 18, level)
            canvas.rotate(-side * 40)
            canvas.ellipse(-9, -18, 9, 18, stroke=0, fill=1)
            canvas.restoreState()
    canvas.ellipse(41, 66, 59, 100, stroke=0, fill=1)


def _weave(canvas: Canvas, second: Color) -> None:
    for step in (8, 39, 70):
        canvas.rect(step, 0, 20, 100, stroke=0, fill=1)
    canvas.setFillColor(second)
    for row, step in enumerate((8, 39, 70)):
        for column, left in enumerate((0, 31, 62)):
            if (row + column) % 2 == 0:
                canvas.rect(left, step, 38, 20, stroke=0, fill=1)


def _flame(canvas: Canvas, second: Color) -> None:
    path = canvas.beginPath()
    path.moveTo(55, 100)
    path.curveTo(62, 70, 90, 60, 86, 32)
    path.curveTo(82, 6, 62, 0, 50, 0)
    path.curveTo(30, 0, 12, 14, 14, 36)
    path.curveTo(16, 56, 34, 60, 34, 78)
    path.curveTo(46, 74, 56, 86, 55, 100)
    canvas.drawPath(path, stroke=0, fill=1)
    canvas.setFillColor(second)
    canvas.ellipse(36, 4, 66, 46, stroke=0, fill=1)


def _scale(canvas: Canvas, second: Color) -> None:
    canvas.line(50, 8, 50, 88)
    canvas.line(12, 76, 88, 76)
    canvas.line(30, 5, 70, 5)
    canvas.setFillColor(second)
    for x in (18, 82):
        canvas.wedge(x - 17, 28, x + 17, 62, 180, 180, stroke=0, fill=1)


def _track(canvas: Canvas, second: Color) -> None:
    canvas.line(30, 0, 44, 98)
    canvas.line(70, 0, 56, 98)
    canvas.setStrokeColor(second)
    for level, half in ((14, 40), (42, 32), (70, 24)):
        canvas.line(50 - half, level, 50 + half, level)


def _box(canvas: Canvas, second: Color) -> None:
    path = canvas.beginPath()
    path.moveTo(50, 98)
    for x, y in ((96, 74), (50, 50), (4, 74)):
        path.lineTo(x, y)
    path.close()
    canvas.drawPath(path, stroke=0, fill=1)
    for corner, colour in ((4, canvas._fillColorObj), (96, second)):
        canvas.setFillColor(colour)
        side = canvas.beginPath()
        side.moveTo(corner, 66)
        for x, y in ((corner, 24), (50, 0), (50, 42)):
            side.lineTo(x, y)
        side.close()
        canvas.drawPath(side, stroke=0, fill=1)


def _coil(canvas: Canvas, second: Color) -> None:
    path = canvas.beginPath()
    for step in range(121):
        angle = step / 120 * math.tau * 2.75
        radius = 6 + step / 120 * 40
        point = (50 + radius * math.cos(angle), 50 + radius * math.sin(angle))
        (path.lineTo if step else path.moveTo)(*point)
    canvas.drawPath(path, stroke=1, fill=0)
    canvas.setFillColor(second)
    canvas.circle(50, 50, 9, stroke=0, fill=1)


def _tree(canvas: Canvas, second: Color) -> None:
    for base, half in ((20, 44), (44, 34), (66, 24)):
        path = canvas.beginPath()
        path.moveTo(50 - half, base)
        path.lineTo(50 + half, base)
        path.lineTo(50, base + 34)
        path.close()
        canvas.drawPath(path, stroke=0, fill=1)
    canvas.setFillColor(second)
    canvas.rect(43, 0, 14, 20, stroke=0, fill=1)


def _cross(canvas: Canvas, second: Color) -> None:
    canvas.roundRect(34, 2, 32, 96, 10, stroke=0, fill=1)
    canvas.setFillColor(second)
    canvas.roundRect(2, 34, 96, 32, 10, stroke=0, fill=1)


_SIGNS = {
    "drop": _drop, "anchor": _anchor, "rings": _rings, "wheat": _wheat, "weave": _weave, "flame": _flame,
    "scale": _scale, "track": _track, "box": _box, "coil": _coil, "tree": _tree, "cross": _cross,
}  # fmt: skip
