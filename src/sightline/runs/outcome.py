"""What a run or an evaluation found: the rows, what separates them, and the files they are written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sightline.evaluation.rows import Comparison, Row, made_with, standard_comparisons, write_results


@dataclass(frozen=True)
class Outcome:
    """Systems measured on the same questions.

    Attributes:
        measured_on: name of what they were measured on, for the report's heading.
        rows: in the order of the table.
        facts: about data and models, for the files.
        thumbnail: document id -> its image file, None where there is none.
    """

    measured_on: str
    rows: list[Row] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)
    thumbnail: Callable[[str], Path | None] | None = None

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every system against the one before it, and BM25 against the last, with bootstrap intervals."""
        return standard_comparisons(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Rows, comparisons and facts as values that `json` writes."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "comparisons": [item.to_json() for item in self.comparisons],
            "facts": {**self.facts, **made_with()},
        }

    def write(self, path: str | Path) -> Path:
        """`to_json` into a file."""
        return write_results(self.rows, path, comparisons=self.comparisons, facts=self.facts)

    def write_report(self, path: str | Path, *, title: str | None = None) -> Path:
        """One self-contained HTML file: the table, the dimension curve, the worst questions with pages."""
        from sightline.evaluation.report import write_report

        return write_report(
            self.rows,
            path,
            title=title or f"Retrieval on {self.measured_on}",
            comparisons=self.comparisons,
            thumbnails=self.thumbnail,
            facts=self.facts,
        )
