"""Quality against cost as one SVG file: score over bytes per page, and over milliseconds per page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

from sightline.errors import DataError
from sightline.evaluation.charts import score_limits, ticks
from sightline.evaluation.report_parts import row_styles
from sightline.evaluation.rows import Row
from sightline.evaluation.storage import Cost
from sightline.evaluation.summary import metric_label
from sightline.files import write_text

# Those of report.css, light and dark: the model asked about, the one before it, the baseline, then the others. Who
# does not see all of them tells systems apart by the shape of the mark.
COLOURS = ("#1f5fbf", "#8b8f97", "#b7791f", "#7c4dba", "#1b7f4d", "#b3362b", "#5b8fd6", "#66625b")
DARK_COLOURS = ("#7fb0ff", "#8e949e", "#e0a94b", "#b89af0", "#5cc793", "#f08a7e", "#4f82cf", "#a09d97")
_OF_STYLE = {"s-after": 0, "s-before": 1, "s-base": 2}
SHAPES = ("circle", "square", "diamond", "triangle")
_WIDTH, _HEIGHT = 430, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 28, 14, 48
_LINE_HEIGHT = 20


@dataclass(frozen=True)
class Style:
    """How a system is drawn: numbers of `COLOURS` and `SHAPES`."""

    colour: int
    shape: int


@dataclass(frozen=True)
class Point:
    """A system at one cost.

    Attributes:
        system: which one; points of a system and precision are joined.
        label: shown by the pointer.
        series: precision, or "" for a system that is one point.
        cost: on the horizontal axis, above 0.
        score, low, high: on the vertical axis, with the interval.
    """

    system: str
    label: str
    series: str
    cost: float
    score: float
    low: float
    high: float


def cost_points(
    rows: Sequence[Row], cost_of: Callable[[Cost], float | None], *, cells: bool = True
) -> list[Point]:
    """The rows as far as their cost is known, or in place of a row its cells.

    Args:
        rows: of the table.
        cost_of: the cost that is drawn; None where it was not measured.
        cells: draw every way to keep a row's vectors; reranked ones take their time per question, which is not drawn.
    """
    points = []
    for row in rows:
        known = [(row.label, "", row.result.cost, row.interval())]
        if cells and row.result.cells:
            known = [
                (f"{row.label}, {one.label}", one.storage.precision, one.cost, interval)
                for one, interval in zip(row.result.cells, row.cell_intervals, strict=True)
                if not one.depth
            ]
        for label, series, cost, interval in known:
            value = None if cost is None else cost_of(cost)
            if value is not None and value > 0:
                points.append(
                    Point(row.label, label, series, value, interval.mean, interval.low, interval.high)
                )
    return points


def write_plot(rows: Sequence[Row], path: str | PathLike[str]) -> Path:
    """Writes `render_plot` to ``path`` atomically.

    Raises:
        DataError: the name does not end in .svg, or of no row a cost is known.
    """
    path = Path(path)
    if path.suffix.lower() != ".svg":
        raise DataError(f"{path}: the plot is written as SVG; name a file that ends in .svg")
    return write_text(path, render_plot(rows))


def render_plot(rows: Sequence[Row]) -> str:
    """Both panels with a legend as one SVG, light and dark; systems without a known cost are named below.

    Raises:
        DataError: of no row a cost is known.
    """
    drawn = _drawn(rows)
    if not drawn:
        raise DataError("there is nothing to draw: of no system a cost is known")
    names, styles = _styles(rows)
    limits = _limits(drawn)
    metric = metric_label(rows[0].result.primary)
    panels = "".join(
        f'<g transform="translate({number * _WIDTH} 0)">{_panel(points, styles, limits, axis, metric)}</g>'
        for number, (axis, points) in enumerate(drawn)
    )
    width, legend = (
        _WIDTH * len(drawn),
        _legend(names, styles, {one.system for _, points in drawn for one in points}),
    )
    height = _HEIGHT + _LINE_HEIGHT * len(names) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'class="plot" role="img" aria-label="{escape(metric)} against cost"><style>{plot_style()}</style>'
        f'<rect class="paper" width="{width}" height="{height}"/>{panels}{legend}</svg>\n'
    )


def plot_panels(rows: Sequence[Row]) -> list[str]:
    """Each panel as an SVG of its own, to stand in a page that has `plot_style`; none where no cost is known."""
    drawn = _drawn(rows)
    metric = metric_label(rows[0].result.primary)
    _, styles = _styles(rows)
    return [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(metric)} against {axis}">'
        f"{_panel(points, styles, _limits(drawn), axis, metric)}</svg>"
        for axis, points in drawn
    ]


def plot_key(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Label and mark (SVG) of each system that `plot_panels` draws."""
    names, styles = _styles(rows)
    drawn = {one.system for _, points in _drawn(rows) for one in points}
    return [
        (
            name,
            f'<svg class="plot key" viewBox="0 0 14 14" aria-hidden="true">{_mark(styles[name], 7, 7, "")}</svg>',
        )
        for name in names
        if name in drawn
    ]


def _drawn(rows: Sequence[Row]) -> list[tuple[str, list[Point]]]:
    """Axis and points of each panel that has some."""
    sides = [
        ("bytes per page", cost_points(rows, lambda cost: cost.bytes_per_page)),
        ("milliseconds per page", cost_points(rows, lambda cost: cost.ms_per_page, cells=False)),
    ]
    return [(axis, points) for axis, points in sides if points]


def _styles(rows: Sequence[Row]) -> tuple[list[str], dict[str, Style]]:
    """Labels in order, and how each is drawn: a model has one colour, as in the report, and a shape per view."""
    parts = row_styles(rows)
    others = [name for name in dict.fromkeys(row.name for row in rows) if parts[name] not in _OF_STYLE]
    first = len(_OF_STYLE)
    numbers = {name: first + number % (len(COLOURS) - first) for number, name in enumerate(others)}
    numbers |= {row.name: _OF_STYLE[parts[row.name]] for row in rows if row.name not in numbers}
    names = {row.label: numbers[row.name] for row in rows}
    used: dict[int, int] = {}
    styles = {}
    for label, colour in names.items():
        # The baseline and the first model differ in shape, too.
        styles[label] = Style(colour, (colour + used.get(colour, 0)) % len(SHAPES))
        used[colour] = used.get(colour, 0) + 1
    return list(names), styles


def _limits(drawn: Sequence[tuple[str, Sequence[Point]]]) -> tuple[float, float]:
    return score_limits([value for _, points in drawn for one in points for value in (one.low, one.high)])


def _panel(
    points: Sequence[Point], styles: dict[str, Style], limits: tuple[float, float], axis: str, metric: str
) -> str:
    low, high = limits
    first = math.floor(math.log10(min(one.cost for one in points)))
    last = max(first + 1, math.ceil(math.log10(max(one.cost for one in points))))

    def x(cost: float) -> float:
        return _LEFT + (math.log10(cost) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(score: float) -> float:
        return _TOP + (high - score) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    marks = []
    for tick in ticks(low, high):
        marks.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        )
        marks.append(f'<text x="{_LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.2g}</text>')
    for power in range(first, last + 1):
        at, bottom = x(10.0**power), _HEIGHT - _BOTTOM
        marks.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        marks.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{_power(power)}</text>')
    middle = (_WIDTH + _LEFT - _RIGHT) / 2
    marks.append(
        f'<text class="axis" x="{middle:.0f}" y="{_HEIGHT - 12}" text-anchor="middle">{axis} (log scale)</text>'
    )
    marks.append(
        f'<text class="axis" transform="translate(14 {(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(metric)}</text>'
    )
    series: dict[tuple[str, str], list[Point]] = {}
    for one in points:
        series.setdefault((one.system, one.series), []).append(one)
    for number, ((system, label), members) in enumerate(series.items()):
        style = f"c{styles[system].colour}"
        ordered = sorted(members, key=lambda one: one.cost)
        if len(ordered) > 1:
            path = " ".join(f"{x(one.cost):.1f},{y(one.score):.1f}" for one in ordered)
            marks.append(f'<polyline class="line {style}" points="{path}"/>')
        if label:
            # Neighbours stand at different heights, so that their names do not cover each other.
            top = _TOP + 10 + 11 * (number % 3)
            marks.append(
                f'<text class="series" x="{x(ordered[-1].cost):.1f}" y="{top}" text-anchor="middle">{label}</text>'
            )
        for one in ordered:
            at = x(one.cost)
            ends = f'y1="{y(one.low):.1f}" y2="{y(one.high):.1f}"'
            marks.append(
                f'<line class="whisker {style}" x1="{at:.1f}" x2="{at:.1f}" {ends}/>'
                f"{_mark(styles[system], at, y(one.score), f'{one.label}: {one.score:.3f} at {one.cost:,.4g} {axis}')}"
            )
    return "".join(marks)


def _mark(drawn_as: Style, x: float, y: float, title: str) -> str:
    shape, style = SHAPES[drawn_as.shape], f"c{drawn_as.colour}"
    if shape == "circle":
        drawn = f'<circle class="mark {style}" cx="{x:.1f}" cy="{y:.1f}" r="4.2">'
        return f"{drawn}<title>{escape(title)}</title></circle>"
    corners = {
        "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "diamond": ((0, -5.4), (5.4, 0), (0, 5.4), (-5.4, 0)),
        "triangle": ((0, -5), (5, 4), (-5, 4)),
    }[shape]
    path = " ".join(f"{x + right:.1f},{y + down:.1f}" for right, down in corners)
    return f'<polygon class="mark {style}" points="{path}"><title>{escape(title)}</title></polygon>'


def _legend(names: Sequence[str], styles: dict[str, Style], drawn: set[str]) -> str:
    lines = []
    for number, name in enumerate(names):
        y = _HEIGHT + _LINE_HEIGHT * number + 8
        mark = _mark(styles[name], _LEFT, y, name) if name in drawn else ""
        missing = "" if name in drawn else " (cost not known)"
        lines.append(f'{mark}<text class="name" x="{_LEFT + 14}" y="{y + 4}">{escape(name)}{missing}</text>')
    return "".join(lines)


def _power(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"


def plot_style() -> str:
    """The rules that colour plots, light and dark, and nothing else on a page."""
    light = "".join(f".plot .c{n}{{stroke:{colour};fill:{colour}}}" for n, colour in enumerate(COLOURS))
    dark = "".join(f".plot .c{n}{{stroke:{colour};fill:{colour}}}" for n, colour in enumerate(DARK_COLOURS))
    return (
        ".plot text{font:12px system-ui,sans-serif;fill:#333}.plot .axis,.plot .name{font-size:13px}"
        ".plot .series{font-size:10px}.plot .paper{fill:#fff}.plot .grid{stroke:#ddd;stroke-width:1}"
        f"{light}.plot .line{{fill:none;stroke-width:1.6;opacity:.75}}"
        ".plot .whisker{stroke-width:1.2;opacity:.4}.plot .mark{stroke:#fff;stroke-width:1}"
        f"@media screen and (prefers-color-scheme:dark){{{dark}.plot text{{fill:#ddd}}.plot .paper{{fill:#16181c}}"
        ".plot .grid{stroke:#33373e}.plot .line{fill:none}.plot .mark{stroke:#16181c}}"
    )
