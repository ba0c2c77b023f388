"""Small SVG charts for the report, as strings: they scale, print, and take their colours from the page's CSS.

Every mark has a class (``line s-after``); report.css gives it a colour in light and in dark. Text from
outside is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from sightline.evaluation.significance import Interval

WIDTH, HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 12, 34


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (dimension, score), or one level across all dimensions.

    Attributes:
        label: what the line is.
        style: CSS class that colours it.
        points: (dimension, score) by ascending dimension; empty for a level.
        level: the score of a system that has no dimensions.
    """

    label: str
    style: str
    points: tuple[tuple[int, float], ...] = ()
    level: float | None = None

    @property
    def scores(self) -> list[float]:
        return [score for _, score in self.points] + ([] if self.level is None else [self.level])


def dimension_curve(lines: Sequence[Line], *, limits: tuple[float, float], describe: str) -> str:
    """Score over embedding dimension (log scale), one panel.

    Args:
        lines: what to draw; at least one has points.
        limits: lowest and highest score of the axis, shared by all panels.
        describe: what the chart shows, for screen readers.
    """
    dims = sorted({dim for line in lines for dim, _ in line.points})
    first, last = math.log2(dims[0]), math.log2(dims[-1])

    def x(dim: float) -> float:
        share = 0.5 if last == first else (math.log2(dim) - first) / (last - first)
        return _LEFT + 10 + share * (WIDTH - _LEFT - _RIGHT - 20)

    shown = [dim for dim in dims if dim == dims[-1] or x(dims[-1]) - x(dim) > 26]
    return _panel(
        lines, x, shown, "dimensions", limits, ticks(*limits), say="{label}, {at} dimensions: {value:.3f}",
        describe=describe,
    )  # fmt: skip


def step_curve(lines: Sequence[Line], *, describe: str, dots: bool = False) -> str:
    """Values over training steps, one panel.

    Args:
        lines: what to draw; points are (step, value); at least one has some.
        describe: what the chart shows, for screen readers.
        dots: mark the points, where they are few.
    """
    steps = [step for line in lines for step, _ in line.points]
    marks = round_ticks(0, max(steps), 5)
    last = max(max(steps), marks[-1])
    values = [value for line in lines for value in line.scores]
    scale = round_ticks(min(values), max(values), 6)

    def x(step: float) -> float:
        return _LEFT + step / last * (WIDTH - _LEFT - _RIGHT - 6)

    return _panel(
        lines, x, [round(mark) for mark in marks if mark == round(mark)], "step", (scale[0], scale[-1]), scale,
        say="{label}, step {at}: {value:.4g}", describe=describe, dots=dots,
    )  # fmt: skip


def _panel(
    lines: Sequence[Line],
    x: Callable[[float], float],
    shown: Sequence[int],
    axis: str,
    limits: tuple[float, float],
    levels: Sequence[float],
    *,
    say: str,
    describe: str,
    dots: bool = True,
) -> str:
    low, high = limits

    def y(score: float) -> float:
        return _TOP + (high - score) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    marks = []
    for tick in levels:
        marks.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        marks.append(
            f'<text class="tick" x="{_LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.3g}</text>'
        )
    for at in shown:
        marks.append(
            f'<text class="tick" x="{x(at):.1f}" y="{HEIGHT - 15}" text-anchor="middle">{at:,}</text>'
        )
    middle = (WIDTH + _LEFT - _RIGHT) / 2
    marks.append(
        f'<text class="axis" x="{middle:.0f}" y="{HEIGHT - 1}" text-anchor="middle">{escape(axis)}</text>'
    )
    for line in lines:
        label = escape(line.label)
        if line.level is not None:
            ends = f'y1="{y(line.level):.1f}" y2="{y(line.level):.1f}"'
            marks.append(
                f'<line class="level {line.style}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" {ends}>'
                f"<title>{label}: {line.level:.3f}</title></line>"
            )
        if line.points:
            path = " ".join(f"{x(at):.1f},{y(score):.1f}" for at, score in line.points)
            marks.append(f'<polyline class="line {line.style}" points="{path}"/>')
            for at, score in line.points if dots or len(line.points) == 1 else ():
                said = say.format(label=label, at=at, value=score)
                marks.append(
                    f'<circle class="dot {line.style}" cx="{x(at):.1f}" cy="{y(score):.1f}" r="3.5">'
                    f"<title>{said}</title></circle>"
                )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(describe)}">'
        f"{''.join(marks)}</svg>"
    )


def interval_bar(interval: Interval, *, reach: float, style: str, describe: str) -> str:
    """A difference with its interval on an axis from -reach to +reach, zero in the middle."""
    width, height, middle = 320, 26, 13

    def x(value: float) -> float:
        return width / 2 + value / reach * (width / 2 - 8)

    return (
        f'<svg class="interval" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(describe)}">'
        f'<line class="grid" x1="4" x2="{width - 4}" y1="{middle}" y2="{middle}"/>'
        f'<line class="zero" x1="{width / 2}" x2="{width / 2}" y1="1" y2="{height - 1}"/>'
        f'<line class="whisker {style}" x1="{x(interval.low):.1f}" x2="{x(interval.high):.1f}" '
        f'y1="{middle}" y2="{middle}"/>'
        f'<circle class="dot {style}" cx="{x(interval.mean):.1f}" cy="{middle}" r="5"/></svg>'
    )


def stacked_bar(shares: Sequence[tuple[str, str, float]], *, describe: str) -> str:
    """Shares of a whole as one bar.

    Args:
        shares: (label, CSS class, share of 1) from left to right.
        describe: what the bar shows, for screen readers.
    """
    parts, left = [], 0.0
    for label, style, share in shares:
        parts.append(
            f'<rect class="{style}" x="{left * 1000:.2f}" width="{share * 1000:.2f}" y="0" height="20">'
            f"<title>{escape(label)}: {share:.1%}</title></rect>"
        )
        left += share
    return (
        '<svg class="stack" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(describe)}">{"".join(parts)}</svg>'
    )


def score_limits(scores: Sequence[float]) -> tuple[float, float]:
    """Axis limits on tenths around ``scores``, at least 0.2 apart and within 0 to 1 (metrics are)."""
    low = math.floor(round(min(scores) * 10, 6)) / 10
    high = math.ceil(round(max(scores) * 10, 6)) / 10
    if high - low < 0.2:
        high = min(1.0, low + 0.2)
        low = max(0.0, high - 0.2)
    return round(low, 1), round(high, 1)


def ticks(low: float, high: float) -> list[float]:
    """Round axis values from ``low`` to ``high``: steps of 0.05, 0.1 or 0.2, at most about six."""
    step = next((step for step in (0.05, 0.1, 0.2) if (high - low) / step <= 6.01), 0.2)
    count = round((high - low) / step + 1e-9)
    return [
        round(low + number * step, 4) for number in range(count + 1) if low + number * step <= high + 1e-9
    ]


def round_ticks(low: float, high: float, count: int) -> list[float]:
    """At most ``count`` + 1 round axis values, 1, 2 or 5 times a power of ten apart, that span ``low`` to ``high``."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last == first:
            last += 1
        if last - first <= count:
            break
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(number * step, digits) for number in range(first, last + 1)]
