"""What a run or an evaluation found: the rows, what separates them, and the files they are written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sightline.evaluation.background import Background
from sightline.evaluation.rows import Comparison, Row, against_baseline, standard_comparisons
from sightline.evaluation.saved import made_with, row_json, write_results


@dataclass(frozen=True)
class Outcome:
    """Systems measured on the same questions.

    Attributes:
        measured_on: name of what they were measured on, for the report's heading.
        rows: in the order of the table.
        facts: about data and models, for the files.
        thumbnail: document id -> its image file, None where there is none.
        baseline: name of the row that all others are compared with; None for the usual pairs.
        background: how the model was made; empty where it was only measured.
    """

    measured_on: str
    rows: list[Row] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)
    thumbnail: Callable[[str], Path | None] | None = None
    baseline: str | None = None
    background: Background = field(default_factory=Background)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every system against the baseline, or against the one before it, and BM25 against the last."""
        if self.baseline is not None:
            return against_baseline(self.rows, self.baseline)
        return standard_comparisons(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Rows, comparisons and facts as values that `json` writes; a file has the questions too."""
        return {
            "rows": [row_json(row) for row in self.rows],
            "comparisons": [item.to_json() for item in self.comparisons],
            "baseline": self.baseline,
            "facts": {**self.facts, **made_with()},
        }

    def write(self, path: str | Path) -> Path:
        """Everything into a file, see `sightline.evaluation.saved`."""
        return write_results(
            self.rows,
            path,
            comparisons=self.comparisons,
            facts=self.facts,
            baseline=self.baseline,
            background=self.background,
        )

    def write_markdown(self, path: str | Path) -> Path:
        """The tables as Markdown: systems, the ways to keep their vectors, and the best one by group of questions."""
        from sightline.evaluation.tables import breakdown_table, cells_table, systems_table
        from sightline.files import write_text

        parts = [f"# Retrieval on {self.measured_on}\n"]
        parts.append(systems_table(self.rows, self.comparisons if self.baseline else ()).markdown())
        for row in self.rows:
            if row.result.cells:
                parts.append(f"## {row.label}: quality against size\n\n{cells_table(row).markdown()}")
        best = max(self.rows, key=lambda row: row.result.scores[row.result.primary])
        groups = breakdown_table(best)
        if groups is not None:
            parts.append(f"## {best.label}, by group of questions\n\n{groups.markdown()}")
        return write_text(path, "\n".join(parts), errors="backslashreplace")

    def write_plot(self, path: str | Path) -> Path:
        """Quality against bytes per page and against milliseconds per page, as SVG."""
        from sightline.evaluation.plots import write_plot

        return write_plot(self.rows, path)

    def write_report(self, path: str | Path, *, title: str | None = None) -> Path:
        """One self-contained HTML file: see `sightline.evaluation.report`."""
        from sightline.evaluation.report import write_report

        return write_report(
            self.rows,
            path,
            title=title or f"Retrieval on {self.measured_on}",
            comparisons=self.comparisons,
            thumbnails=self.thumbnail,
            facts=self.facts,
            background=self.background,
        )
