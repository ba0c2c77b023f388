"""Line drawings for manuals: a machine in outline with numbered parts, and a flow diagram."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

from reportlab.lib.colors import HexColor
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from sightline.demo.layout import GREY, INK, Box, Picture, Theme

_WHITE = HexColor("#ffffff")


def outline(look: Theme, width: float, height: float, shape: str, count: int, seed: int) -> Picture:
    """A machine in outline with ``count`` numbered balloons on leader lines.

    Args:
        shape: ``line`` (long and low), ``tower`` (upright) or ``ring`` (a drum in a frame).
        seed: varies positions, so that no two machines look alike.
    """

    def draw(canvas: Canvas, wide: float, high: float) -> None:
        rng = random.Random(seed)
        canvas.setStrokeColor(INK)
        canvas.setLineWidth(1.3)
        x0, y0, x1, y1 = _BODIES[shape](canvas, look, rng, wide, high)
        left, right = math.ceil(count / 2), count // 2
        for number in range(count):
            on_left = number < left
            row = number if on_left else number - left
            rows = left if on_left else right
            y = high * (0.9 - 0.8 * (row + 0.5) / rows)
            x = 24 if on_left else wide - 24
            inset = (x1 - x0) * rng.uniform(0.06, 0.42)
            tip_x = x0 + inset if on_left else x1 - inset
            tip_y = min(max(y + rng.uniform(-12, 12), y0 + 6), y1 - 6)
            canvas.setLineWidth(0.6)
            canvas.setStrokeColor(INK)
            canvas.line(x, y, tip_x, tip_y)
            canvas.setFillColor(INK)
            canvas.circle(tip_x, tip_y, 1.8, stroke=0, fill=1)
            canvas.setFillColor(_WHITE)
            canvas.circle(x, y, 9, stroke=1, fill=1)
            canvas.setFillColor(look.primary)
            canvas.setFont(look.faces[1], 10)
            canvas.drawCentredString(x, y - 3.6, str(number + 1))

    return Picture(width, height, draw)


def chain(look: Theme, width: float, names: Sequence[str], medium: str, seed: int) -> Picture:
    """A flow diagram: named boxes joined by arrows, running over two rows."""
    per_row = math.ceil(len(names) / 2)
    high = 156.0

    def draw(canvas: Canvas, wide: float, tall: float) -> None:
        rng = random.Random(seed)
        pitch = wide / per_row
        box_w, box_h = pitch * 0.74, 40.0
        places = []
        for number in range(len(names)):
            row, column = divmod(number, per_row)
            x = pitch * (column + 0.5) if row == 0 else wide - pitch * (column + 0.5)
            places.append((x, tall - 34 if row == 0 else 34))
        canvas.setStrokeColor(look.accent)
        canvas.setFillColor(look.accent)
        canvas.setLineWidth(1.8)
        for (x1, y1), (x2, y2) in pairwise(places):
            if y1 == y2:
                step = 1 if x2 > x1 else -1
                _arrow(canvas, x1 + step * box_w / 2, y1, x2 - step * box_w / 2 - step * 2, y2)
            else:
                _arrow(canvas, x1, y1 - box_h / 2, x2, y2 + box_h / 2 + 2)
        for (x, y), name in zip(places, names):
            canvas.setStrokeColor(INK)
            canvas.setFillColor(look.tint(rng.choice((0.06, 0.14))))
            canvas.setLineWidth(1.1)
            canvas.roundRect(x - box_w / 2, y - box_h / 2, box_w, box_h, 4, stroke=1, fill=1)
            canvas.setFillColor(INK)
            _centred(canvas, look, name, x, y, box_w - 8)
        canvas.setFillColor(GREY)
        canvas.setFont(look.faces[2], 8.5)
        canvas.drawString(2, tall / 2 - 3, medium)

    return Picture(width, high, draw)


def _centred(canvas: Canvas, look: Theme, name: str, x: float, y: float, room: float) -> None:
    """``name`` in the middle of a box, on two lines if it is too wide for one."""
    face, size = look.faces[0], 8.8
    canvas.setFont(face, size)
    words = name.split()
    if stringWidth(name, face, size) <= room or len(words) == 1:
        canvas.drawCentredString(x, y - 3, name)
        return
    middle = math.ceil(len(words) / 2)
    canvas.drawCentredString(x, y + 3, " ".join(words[:middle]))
    canvas.drawCentredString(x, y - 8, " ".join(words[middle:]))


def _arrow(canvas: Canvas, x1: float, y1: float, x2: float, y2: float) -> None:
    canvas.line(x1, y1, x2, y2)
    angle = math.atan2(y2 - y1, x2 - x1)
    path = canvas.beginPath()
    path.moveTo(x2, y2)
    for turn in (2.7, -2.7):
        path.lineTo(x2 + 7 * math.cos(angle + turn), y2 + 7 * math.sin(angle + turn))
    path.close()
    canvas.drawPath(path, stroke=0, fill=1)


def _line(canvas: Canvas, look: Theme, rng: random.Random, wide: float, high: float) -> Box:
    x, width, base = wide * 0.22, wide * 0.56, high * 0.3
    canvas.setFillColor(look.tint(0.08))
    canvas.rect(x, base, width, high * 0.26, stroke=1, fill=1)
    for foot in range(rng.randint(2, 4)):
        canvas.rect(x + 12 + foot * (width - 30) / 3, base - 18, 8, 18, stroke=1, fill=0)
    tower = x + width * rng.uniform(0.1, 0.65)
    canvas.setFillColor(look.tint(0.2))
    canvas.rect(tower, base + high * 0.26, width * 0.24, high * rng.uniform(0.12, 0.26), stroke=1, fill=1)
    canvas.circle(x + width * rng.uniform(0.25, 0.4), base + high * 0.13, high * 0.08, stroke=1, fill=0)
    canvas.circle(
        x + width * rng.uniform(0.6, 0.8),
        base + high * 0.13,
        high * rng.uniform(0.05, 0.09),
        stroke=1,
        fill=0,
    )
    canvas.line(x - 16, base + high * 0.2, x, base + high * 0.2)
    canvas.line(x + width, base + high * 0.07, x + width + 20, base + high * 0.07)
    return x, base, x + width, base + high * 0.26


def _tower(canvas: Canvas, look: Theme, rng: random.Random, wide: float, high: float) -> Box:
    width = wide * rng.uniform(0.26, 0.36)
    x, base = (wide - width) / 2, high * 0.12
    canvas.setFillColor(look.tint(0.08))
    canvas.roundRect(x, base, width, high * 0.74, 6, stroke=1, fill=1)
    levels = rng.randint(2, 4)
    canvas.setFillColor(_WHITE)
    for level in range(levels):
        canvas.rect(
            x + 10,
            base + 14 + level * high * 0.6 / levels,
            width - 20,
            high * 0.42 / levels,
            stroke=1,
            fill=1,
        )
    canvas.setFillColor(look.tint(0.3))
    canvas.rect(x + width * 0.3, base + high * 0.67, width * 0.4, high * 0.05, stroke=1, fill=1)
    canvas.rect(x - 14, base - 8, width + 28, 8, stroke=1, fill=0)
    canvas.circle(x + width + 12, base + high * rng.uniform(0.3, 0.5), 11, stroke=1, fill=0)
    return x, base, x + width, base + high * 0.74


def _ring(canvas: Canvas, look: Theme, rng: random.Random, wide: float, high: float) -> Box:
    x, y, radius = wide * rng.uniform(0.44, 0.54), high * 0.5, high * rng.uniform(0.26, 0.32)
    canvas.setFillColor(look.tint(0.08))
    canvas.rect(x - radius * 1.5, y - radius * 1.25, radius * 3, radius * 2.4, stroke=1, fill=1)
    canvas.setFillColor(_WHITE)
    canvas.circle(x, y, radius, stroke=1, fill=1)
    canvas.setFillColor(look.tint(0.25))
    canvas.circle(x, y, radius * rng.uniform(0.2, 0.4), stroke=1, fill=1)
    blades = rng.choice((3, 5, 6, 8))
    for blade in range(blades):
        angle = blade * math.tau / blades + 0.3
        canvas.line(x + radius * 0.4 * math.cos(angle), y + radius * 0.4 * math.sin(angle),
                    x + radius * 0.94 * math.cos(angle), y + radius * 0.94 * math.sin(angle))  # fmt: skip
    canvas.rect(x + radius * 1.5, y - radius * 0.6, radius * 0.5, radius * 0.9, stroke=1, fill=0)
    canvas.rect(x - radius * 1.1, y - radius * 1.25 - 12, radius * 2.2, 12, stroke=1, fill=0)
    return x - radius * 1.5, y - radius * 1.25, x + radius * 1.5, y + radius * 1.15


_BODIES = {"line": _line, "tower": _tower, "ring": _ring}
