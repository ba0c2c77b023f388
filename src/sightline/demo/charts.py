"""Charts as vector drawings: columns, bars, lines, rings and schedules, with every value labelled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from reportlab.lib.colors import Color
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from sightline.demo.layout import FAINT, GREY, INK, Picture, Theme


def _nice_top(largest: float) -> float:
    """A round number of at least ``largest`` whose quarters are round too."""
    power = 10 ** math.floor(math.log10(max(largest, 1e-9)))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * power >= largest)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 or value == int(value) else f"{value:.1f}"


def _axes(canvas: Canvas, look: Theme, box: tuple[float, float, float, float], top: float, unit: str) -> None:
    """Horizontal grid lines with values over the plot area ``(x, y, width, height)``."""
    x, y, width, height = box
    canvas.setFont(look.faces[0], look.size * 0.75)
    for step in range(5):
        level = y + height * step / 4
        canvas.setStrokeColor(INK if step == 0 else FAINT)
        canvas.setLineWidth(0.8 if step == 0 else 0.4)
        canvas.line(x, level, x + width, level)
        canvas.setFillColor(GREY)
        canvas.drawRightString(x - 5, level - look.size * 0.25, f"{round(top * step / 4, 3):,g}")
    canvas.setFillColor(GREY)
    canvas.drawString(x - 28, y + height + look.size * 0.9, unit)


def _legend(
    canvas: Canvas, look: Theme, names: Sequence[str], colours: Sequence[Color], x: float, y: float
) -> None:
    canvas.setFont(look.faces[0], look.size * 0.8)
    for name, colour in zip(names, colours):
        canvas.setFillColor(colour)
        canvas.rect(x, y, look.size * 0.7, look.size * 0.7, stroke=0, fill=1)
        canvas.setFillColor(INK)
        canvas.drawString(x + look.size, y, name)
        x += look.size * 1.9 + stringWidth(name, look.faces[0], look.size * 0.8)


def columns(
    look: Theme,
    width: float,
    height: float,
    labels: Sequence[str],
    series: Sequence[Sequence[float]],
    *,
    unit: str = "",
    names: Sequence[str] = (),
    show: Callable[[float], str] = _short,
) -> Picture:
    """Vertical columns, grouped when there are several ``series``; values on top of the columns."""

    def draw(canvas: Canvas, wide: float, high: float) -> None:
        box = (34.0, 16.0, wide - 40, high - 44)
        top = _nice_top(max(max(values) for values in series) * 1.08)
        _axes(canvas, look, box, top, unit)
        x, y, plot, tall = box
        pitch = plot / len(labels)
        bar = pitch * 0.66 / len(series)
        for column, label in enumerate(labels):
            left = x + pitch * column + (pitch - bar * len(series)) / 2
            for number, values in enumerate(series):
                size = tall * values[column] / top
                canvas.setFillColor(look.shades()[number])
                canvas.rect(left + bar * number + 1, y, bar - 2, size, stroke=0, fill=1)
                canvas.setFillColor(INK)
                canvas.setFont(look.faces[1], look.size * (0.78 if len(series) == 1 else 0.66))
                canvas.drawCentredString(left + bar * (number + 0.5), y + size + 3, show(values[column]))
            canvas.setFont(look.faces[0], look.size * 0.8)
            canvas.drawCentredString(x + pitch * (column + 0.5), y - look.size * 1.15, label)
        if names:
            _legend(canvas, look, names, look.shades(), x + 60, y + tall + look.size * 0.9)

    return Picture(width, height, draw)


def bars(
    look: Theme,
    width: float,
    labels: Sequence[str],
    values: Sequence[float],
    *,
    show: Callable[[float], str] = _short,
    pitch: float = 20.0,
    accent: bool = False,
) -> Picture:
    """Horizontal bars with their labels at the left, for categories with long names."""
    height = pitch * len(labels) + 6
    size = look.size * 0.86
    gutter = max(stringWidth(label, look.faces[0], size) for label in labels) + 10

    def draw(canvas: Canvas, wide: float, high: float) -> None:
        room = wide - gutter - 46
        for row, (label, value) in enumerate(zip(labels, values)):
            y = high - pitch * (row + 1) + 4
            canvas.setFillColor(INK)
            canvas.setFont(look.faces[0], size)
            canvas.drawRightString(gutter - 6, y + pitch * 0.24, label)
            canvas.setFillColor(look.accent if accent else look.primary)
            canvas.rect(gutter, y, room * value / max(values), pitch * 0.68, stroke=0, fill=1)
            canvas.setFillColor(INK)
            canvas.setFont(look.faces[1], size)
            canvas.drawString(gutter + room * value / max(values) + 5, y + pitch * 0.24, show(value))
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(0.8)
        canvas.line(gutter, 0, gutter, high)

    return Picture(width, height, draw)


def lines(
    look: Theme,
    width: float,
    height: float,
    labels: Sequence[str],
    series: Sequence[Sequence[float]],
    names: Sequence[str],
    *,
    unit: str = "",
    across: str = "",
    show: Callable[[float], str] = _short,
) -> Picture:
    """Line chart with markers, a legend, and the last value of each line."""

    def draw(canvas: Canvas, wide: float, high: float) -> None:
        low = 34.0 if across else 18.0
        box = (34.0, low, wide - 70, high - low - 28)
        top = _nice_top(max(max(values) for values in series) * 1.05)
        _axes(canvas, look, box, top, unit)
        x, y, plot, tall = box
        points = [x + plot * (i + 0.5) / len(labels) for i in range(len(labels))]
        taken: list[float] = []
        for number, values in enumerate(series):
            colour = look.shades()[number]
            canvas.setStrokeColor(colour)
            canvas.setFillColor(colour)
            canvas.setLineWidth(1.6)
            canvas.setDash(*((6, 3) if number == 1 else (2, 2) if number == 2 else (1, 0)))
            path = canvas.beginPath()
            for step, value in enumerate(values):
                (path.lineTo if step else path.moveTo)(points[step], y + tall * value / top)
            canvas.drawPath(path, stroke=1, fill=0)
            canvas.setDash()
            for step, value in enumerate(values):
                canvas.circle(points[step], y + tall * value / top, 2.2, stroke=0, fill=1)
            level = y + tall * values[-1] / top - look.size * 0.25
            while any(abs(level - other) < look.size * 0.8 for other in taken):
                level += look.size * 0.8
            taken.append(level)
            canvas.setFont(look.faces[1], look.size * 0.75)
            canvas.drawString(points[-1] + 6, level, show(values[-1]))
        canvas.setFillColor(INK)
        canvas.setFont(look.faces[0], look.size * 0.78)
        for point, label in zip(points, labels):
            canvas.drawCentredString(point, y - look.size * 1.15, label)
        if across:
            canvas.setFillColor(GREY)
            canvas.drawCentredString(x + plot / 2, y - look.size * 2.4, across)
        _legend(canvas, look, names, look.shades(), x + 46, y + tall + look.size * 0.9)

    return Picture(width, height, draw)


def ring(
    look: Theme, width: float, height: float, labels: Sequence[str], shares: Sequence[float], middle: str = ""
) -> Picture:
    """A ring of shares in per cent with a labelled key at its right."""

    def draw(canvas: Canvas, wide: float, high: float) -> None:
        radius = high / 2 - 4
        x, y = radius + 6, high / 2
        start = 90.0
        for share, colour in zip(shares, look.shades()):
            extent = -360.0 * share / sum(shares)
            canvas.setFillColor(colour)
            canvas.setStrokeColorRGB(1, 1, 1)
            canvas.setLineWidth(1.2)
            canvas.wedge(x - radius, y - radius, x + radius, y + radius, start, extent, stroke=1, fill=1)
            start += extent
        canvas.setFillColorRGB(1, 1, 1)
        canvas.circle(x, y, radius * 0.56, stroke=0, fill=1)
        canvas.setFillColor(look.primary)
        canvas.setFont(look.faces[1], look.size * 1.05)
        canvas.drawCentredString(x, y - look.size * 0.35, middle)
        pitch = min(look.size * 1.9, high / len(labels))
        level = y + pitch * (len(labels) - 1) / 2
        for label, share, colour in zip(labels, shares, look.shades()):
            canvas.setFillColor(colour)
            canvas.rect(2 * radius + 26, level - 3, look.size * 0.8, look.size * 0.8, stroke=0, fill=1)
            canvas.setFillColor(INK)
            canvas.setFont(look.faces[0], look.size * 0.92)
            canvas.drawString(2 * radius + 30 + look.size, level - 2, f"{label}  {share:.0f} %")
            level -= pitch

    return Picture(width, height, draw)


def schedule(
    look: Theme,
    width: float,
    rows: Sequence[tuple[str, int, int, str]],
    ticks: Sequence[str],
    pitch: float = 24.0,
) -> Picture:
    """A Gantt chart: rows of (label, first tick, ticks long, words beside the bar)."""
    height = pitch * len(rows) + 24
    gutter = max(stringWidth(row[0], look.faces[1], look.size * 0.9) for row in rows) + 14

    def draw(canvas: Canvas, wide: float, high: float) -> None:
        step = (wide - gutter - 4) / len(ticks)
        for number, tick in enumerate(ticks):
            x = gutter + step * number
            canvas.setFillColor(look.tint(0.07 if number % 2 else 0.13))
            canvas.rect(x, 0, step, high - 16, stroke=0, fill=1)
            canvas.setFillColor(GREY)
            canvas.setFont(look.faces[0], look.size * 0.75)
            canvas.drawCentredString(x + step / 2, high - 11, tick)
        for row, (label, first, length, words) in enumerate(rows):
            y = high - 18 - pitch * (row + 1) + pitch * 0.2
            canvas.setFillColor(INK)
            canvas.setFont(look.faces[1], look.size * 0.9)
            canvas.drawString(0, y + pitch * 0.18, label)
            canvas.setFillColor(look.accent if row % 2 else look.primary)
            left, long = gutter + step * first, step * length
            canvas.roundRect(left, y, long, pitch * 0.58, 3, stroke=0, fill=1)
            canvas.setFillColor(INK)
            canvas.setFont(look.faces[0], look.size * 0.75)
            beside = stringWidth(words, look.faces[0], look.size * 0.75)
            if left + long + beside + 6 <= wide:
                canvas.drawString(left + long + 4, y + pitch * 0.18, words)
            else:
                canvas.drawRightString(left - 4, y + pitch * 0.18, words)

    return Picture(width, height, draw)
