"""Results as tables of text, for the terminal and for Markdown: systems side by side, sizes, and breakdowns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.evaluation.breakdown import Slice, breakdown
from sightline.evaluation.rows import Comparison, Row
from sightline.evaluation.significance import Interval
from sightline.evaluation.storage import Cost
from sightline.evaluation.summary import best_of, cell, metric_label, probability, signed

if TYPE_CHECKING:
    from rich.table import Table

BETTER, WORSE = "▲", "▼"
METRICS = ("map", "mrr@10", "recall@1", "recall@5", "recall@10", "recall@100")
"""Shown beside the primary metric."""
_SLICES = 12


@dataclass(frozen=True)
class TextTable:
    """Cells of text.

    Attributes:
        heads: of the columns; the first ``left`` are set flush left, the others right.
        lines: cells by line.
        left: columns of text.
        notes: sentences below it.
        strong: (line, column) of what is set in bold.
    """

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    left: int = 1
    notes: Sequence[str] = ()
    strong: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        """As a table of GitHub's Markdown."""
        rules = ["---"] * self.left + ["---:"] * (len(self.heads) - self.left)
        lines = [_line(self.heads), _line(rules)]
        for number, cells in enumerate(self.lines):
            lines.append(
                _line(
                    [
                        f"**{text}**" if (number, column) in self.strong else text
                        for column, text in enumerate(map(_escaped, cells))
                    ]
                )
            )
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes), ""])

    def rich(self, *, title: str | None = None) -> Table:
        """As a `rich` table."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
        for number, head in enumerate(self.heads):
            table.add_column(head, justify="left" if number < self.left else "right", no_wrap=True)
        for number, cells in enumerate(self.lines):
            table.add_row(
                *(
                    Text(text, style="bold" if (number, column) in self.strong else "")
                    for column, text in enumerate(cells)
                )
            )
        if self.notes:
            table.caption, table.caption_justify = "\n".join(self.notes), "left"
        return table


def systems_table(rows: Sequence[Row], comparisons: Sequence[Comparison] = ()) -> TextTable:
    """`quality_table` with all metrics, and `costs_table` beside it."""
    quality, costs = quality_table(rows, comparisons, metrics=METRICS), costs_table(rows)
    return TextTable(
        [*quality.heads, *costs.heads[2:]],
        [[*one, *other[2:]] for one, other in zip(quality.lines, costs.lines, strict=True)],
        2,
        [*quality.notes, *costs.notes],
        quality.strong,
    )


def quality_table(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison] = (),
    *,
    metrics: Sequence[str] = ("recall@1", "recall@10"),
) -> TextTable:
    """Each system with its metrics, and what separates it from the one it is compared with.

    Args:
        rows: of the table.
        comparisons: one at most per row, as the later of the two; marks the rows that differ (corrected p < 0.05).
        metrics: beside the primary one, as far as some row has them.
    """
    primary = rows[0].result.primary
    others = [name for name in metrics if name != primary and any(name in row.result.scores for row in rows)]
    differing = {id(found.after): found for found in comparisons}
    heads = ["system", "sees", metric_label(primary), "95% interval"]
    heads += ["difference", "p"] if comparisons else []
    lines, strong = [], set()
    for number, row in enumerate(rows):
        found = differing.get(id(row))
        compared = (
            [""] * (len(heads) - 4) if found is None else [_difference(found), probability(found.corrected_p)]
        )
        line = [row.name, row.fields, "", _range(row.interval()), *compared, *[""] * len(others)]
        for name, column in zip((primary, *others), (2, *range(len(heads), len(heads) + len(others)))):
            value = cell(row, name)
            line[column] = "–" if value is None else f"{value:.3f}"
            if value is not None and round(value, 3) == best_of(rows, name):
                strong.add((number, column))
        lines.append(line)
    notes = []
    if comparisons:
        notes.append(
            f"difference from {comparisons[0].before.name}; {BETTER} better, {WORSE} worse: p below 0.05 in a paired "
            f"randomisation test, corrected for {len(comparisons)} comparisons (Holm)"
        )
    return TextTable([*heads, *map(metric_label, others)], lines, 2, notes, frozenset(strong))


def costs_table(rows: Sequence[Row]) -> TextTable:
    """What each system takes, as far as that is known."""
    heads = ["system", "sees", "bytes/page", "GB per million pages", "ms/page", "ms/question"]
    lines = [[row.name, row.fields, *_cost(row.result.cost)] for row in rows]
    return TextTable(heads, lines, 2, _measured([row.result.cost for row in rows]))


def cells_table(row: Row) -> TextTable:
    """Ways to keep one system's vectors: quality against size and time."""
    primary, full = row.result.primary, row.result.scores[row.result.primary]
    deep = any(one.depth for one in row.result.cells)
    metrics = [name for name in ("recall@10", "recall@100") if name in row.result.scores]
    heads = [
        "dimensions",
        "precision",
        *(["reranked"] if deep else []),
        metric_label(primary),
        "95% interval",
    ]
    heads += ["kept", *map(metric_label, metrics), "bytes/page", "GB per million pages", "ms/question"]
    lines = []
    for one, interval in zip(row.result.cells, row.cell_intervals, strict=True):
        score = one.scores[primary]
        size, millions, _, asked = _cost(one.cost)
        lines.append(
            [
                str(one.storage.dim),
                one.storage.precision,
                *([str(one.depth or "–")] if deep else []),
                f"{score:.3f}",
                _range(interval),
                f"{score / full:.1%}" if full else "–",
                *(f"{one.scores[name]:.3f}" for name in metrics),
                size,
                millions,
                asked,
            ]
        )
    notes = [
        f"kept: share of the {full:.3f} that {row.label} reaches with whole float32 vectors, not reranked"
    ]
    return TextTable(heads, lines, 2, notes + _measured([one.cost for one in row.result.cells]))


def breakdown_table(row: Row, slices: Sequence[Slice] | None = None) -> TextTable | None:
    """A system's scores by kind of question, modality, language and so on; None where nothing tells them apart.

    Args:
        row: the system.
        slices: by default `breakdown` of it.
    """
    found = breakdown(row) if slices is None else list(slices)
    # A single group is the whole table again.
    values = {
        facet: {one.value for one in found if one.facet == facet} for facet in {one.facet for one in found}
    }
    found = [one for one in found if len(values[one.facet]) > 1]
    if not found:
        return None
    metrics = list(found[0].scores)
    heads = ["by", "", "questions", metric_label(metrics[0]), "95% interval", *map(metric_label, metrics[1:])]
    lines, notes = [], []
    seen: dict[str, int] = {}
    for one in found:
        seen[one.facet] = seen.get(one.facet, 0) + 1
        if seen[one.facet] > _SLICES:
            continue
        first, *others = one.scores.values()
        mark = "*" if one.few else ""
        lines.append(
            [
                one.facet,
                one.value or "(not said)",
                f"{one.questions}{mark}",
                f"{first.mean:.3f}",
                _range(first),
                *(f"{other.mean:.3f}" for other in others),
            ]
        )
    if any(one.few for one in found):
        notes.append("* fewer than 10 questions: says little")
    notes += [
        f"{count - _SLICES} more of the smaller {facet}s are in the JSON file"
        for facet, count in seen.items()
        if count > _SLICES
    ]
    return TextTable(heads, lines, 2, notes)


def _difference(found: Comparison) -> str:
    mark = "" if not found.significant else (BETTER if found.difference.mean > 0 else WORSE)
    return f"{signed(found.difference.mean)} {mark}".rstrip()


def _range(interval: Interval) -> str:
    return f"{interval.low:.3f}–{interval.high:.3f}"


def _cost(cost: Cost | None) -> list[str]:
    """Bytes per page, GB per million pages, ms per page, ms per question."""
    if cost is None:
        return ["–"] * 4
    return [
        f"{cost.bytes_per_page:,.0f}",
        f"{cost.megabytes_per_million / 1000:,.2f}",
        *("–" if value is None else f"{value:.3g}" for value in (cost.ms_per_page, cost.ms_per_query)),
    ]


def _measured(costs: Sequence[Cost | None]) -> list[str]:
    """What the times were measured on."""
    known = [cost for cost in costs if cost is not None and cost.ms_per_query is not None]
    places = dict.fromkeys((cost.hardware, cost.pages) for cost in known)
    return [
        f"ms/question: searching {pages:,} pages exactly, one question at a time, on {hardware}"
        for hardware, pages in places
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
