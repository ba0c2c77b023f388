"""What a model card shows of measurements: by system and by dimension."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Metrics the table shows, where they were measured.
SHOWN_METRICS = ("ndcg@10", "map", "mrr@10", "recall@10", "accuracy@1")
FULL = "full"


@dataclass(frozen=True)
class SystemResult:
    """One system on the held-out questions.

    Attributes:
        name: ``"bm25"``, ``"untuned"``, ``"fine-tuned"``.
        fields: what of a page it saw, or empty.
        by_dim: dimension (or ``"full"``) -> metric -> value, widest first.
        trained: whether it is the model of the card.
    """

    name: str
    fields: str
    by_dim: Mapping[str, Mapping[str, float]]
    trained: bool = False


def table(results: Sequence[SystemResult]) -> list[str]:
    """Markdown, one line per system and dimension; the model's own in bold."""
    rows = [(result, dim, row) for result in results for dim, row in result.by_dim.items()]
    metrics = [name for name in SHOWN_METRICS if any(name in row for _, _, row in rows)]
    if not metrics:
        return []
    systems = len({(result.name, result.fields) for result in results}) > 1
    names = [*(["system"] if systems else []), "dimensions", *metrics]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for result, dim, row in rows:
        label = f"{result.name} ({result.fields})" if result.fields else result.name
        cells = [*([f"**{label}**" if result.trained else label] if systems else []), dim]
        cells += [f"{row[name]:.4f}" if name in row else "" for name in metrics]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def best_evaluation(
    log_history: Sequence[Mapping[str, Any]], primary_metric: str | None
) -> Mapping[str, Any] | None:
    """The evaluation with the highest primary metric, else the last one."""
    found = [entry for entry in log_history if "eval_runtime" in entry]
    if not found:
        return None
    key = f"eval_{primary_metric}"
    scored = [entry for entry in found if key in entry]
    return max(scored, key=lambda entry: entry[key]) if scored else found[-1]


def results_by_dim(entry: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Metrics by dimension, "full" for names without a ``dim``, widest first."""
    rows: dict[int, dict[str, float]] = {}
    for name, value in entry.items():
        if re.search(r"_(?:before|depth\d+)_", name):
            continue  # a reranker's other figures
        match = re.fullmatch(r"eval_(?:.+?_)??(?:dim(\d+)_)?([a-z]+@\d+|map|mrr)", name)
        if match:
            rows.setdefault(int(match[1]) if match[1] else 0, {})[match[2]] = float(value)
    order = sorted(rows, key=lambda dim: -dim if dim else float("-inf"))
    return {str(dim) if dim else FULL: rows[dim] for dim in order}
