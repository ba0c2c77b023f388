"""Results in words and as a terminal table; the HTML report uses the same words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightline.evaluation.results import RetrievalResult
from sightline.evaluation.rows import BASELINE, Comparison, Row, headline

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_METRICS = ("map", "recall@10")
"""Columns of the table beside the primary metric and its dimensions."""

GLOSSARY = {
    "ndcg": "How high the right pages rank among the first k, from 0 (none there) to 1 (all on top); lower "
    "ranks count less.",
    "map": "Mean average precision: how high all the right pages rank, over the whole ranking.",
    "recall": "Share of the right pages that are among the first k.",
    "mrr": "One divided by the rank of the first right page, averaged over the questions.",
    "precision": "Share of the first k pages that are right.",
    "accuracy": "Share of the questions with a right page among the first k.",
}


def metric_label(metric: str) -> str:
    """``ndcg@10`` -> ``NDCG@10``, ``recall@10`` -> ``Recall@10``."""
    name, at, cutoff = metric.partition("@")
    shown = name.upper() if name in ("ndcg", "map", "mrr") else name.replace("_", " ").capitalize()
    return shown + at + cutoff


def table_columns(rows: Sequence[Row]) -> tuple[list[str], list[int]]:
    """Metrics and dimensions (widest first) that the table of ``rows`` shows."""
    primary = rows[0].result.primary
    metrics = [primary] + [
        m for m in SHOWN_METRICS if m != primary and any(m in r.result.scores for r in rows)
    ]
    return metrics, sorted({dim for row in rows for dim in row.result.by_dim}, reverse=True)


def cell(row: Row, metric: str, dim: int | None = None) -> float | None:
    """The value of a table cell, None where the row has none."""
    if dim is None:
        return row.result.scores.mean.get(metric)
    found = row.result.by_dim.get(dim)
    return found.mean.get(metric) if found else None


def best_of(rows: Sequence[Row], metric: str, dim: int | None = None) -> float | None:
    """The best value of a column as it is displayed, None where there is nothing to choose between."""
    values = [round(value, 3) for row in rows if (value := cell(row, metric, dim)) is not None]
    return max(values) if len(values) > 1 else None


def render_table(rows: Sequence[Row], *, title: str | None = None) -> Table:
    """The results as a `rich` table: one line per row, the best of each column in bold.

    Dimensions stand in columns of their own (``@256``) with the primary metric.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    metrics, dims = table_columns(rows)
    primary = rows[0].result.primary
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("sees", no_wrap=True)
    columns: list[tuple[str, int | None]] = [(metric, None) for metric in metrics]
    columns += [(primary, dim) for dim in dims]
    for metric, dim in columns:
        table.add_column(metric_label(metric) if dim is None else f"@{dim}", justify="right", no_wrap=True)
    best = {column: best_of(rows, *column) for column in columns}
    before: str | None = None
    for row in rows:
        if before is not None and row.name != before:
            table.add_section()
        before = row.name
        values = []
        for column in columns:
            value = cell(row, *column)
            style = "bold" if value is not None and round(value, 3) == best[column] else ""
            values.append(Text("–" if value is None else f"{value:.3f}", style=style))
        table.add_row(Text(row.name), Text(row.fields), *values)
    if dims:
        table.caption = f"@{dims[0]}: {metric_label(primary)} with vectors cut to {dims[0]} dimensions"
        table.caption_justify = "left"
    return table


def verdict(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> str:
    """The headline: better or not."""
    found = headline(comparisons)
    if found is None:
        best = max(rows, key=lambda row: row.result.scores[row.result.primary])
        metric = best.result.primary
        return f"{metric_label(metric)} is {best.result.scores[metric]:.3f}"
    tuning = (found.before.name, found.after.name) == ("untuned", "fine-tuned")
    before, after = found.before.name, found.after.name
    before = "BM25" if before == BASELINE else before
    return {
        "better": "Fine-tuning helped" if tuning else f"{after} beats {before}",
        "worse": "Fine-tuning made retrieval worse" if tuning else f"{after} is worse than {before}",
        "no clear difference": "Fine-tuning made no clear difference"
        if tuning
        else f"No clear difference between {before} and {after}",
    }[found.verdict]


def summarize(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> list[str]:
    """The results in plain sentences: by how much, how sure, for how many questions, and against BM25."""
    found = headline(comparisons)
    result = (found.after if found else max(rows, key=lambda r: r.result.scores[r.result.primary])).result
    asked = f"{count(len(result.queries), 'question')} over {count(result.corpus_size, 'page')}"
    if found is None:
        return [f"Measured on {asked}.", _placement(result, None)]
    sentences = [
        f"On {asked}, {_levels(found)}. {_certainty(found)}",
        f"{count(found.better, 'question')} got a better ranking, {found.worse} a worse one, "
        f"{found.same} the same.",
        _placement(result, found.before.result),
    ]
    for other in comparisons:
        if other.before.name == BASELINE and other.after is found.after and other is not found:
            ending = {"better": "better than", "worse": "worse than"}.get(
                other.verdict, "not clearly different from"
            )
            level = other.before.result.scores[other.metric]
            sentences.append(
                f"It is {ending} BM25, the keyword search over the text layer, which scores {level:.3f}: "
                f"{difference(other)}."
            )
    return sentences


def difference(found: Comparison) -> str:
    """``+0.175 (95% interval +0.141 to +0.209)``."""
    gap = found.difference
    return f"{signed(gap.mean)} ({gap.confidence:.0%} interval {signed(gap.low)} to {signed(gap.high)})"


def signed(value: float) -> str:
    """Three decimals with a sign; a true minus, and no sign on what rounds to zero."""
    shown = f"{abs(value):.3f}"
    if shown == "0.000":
        return shown
    return ("+" if value > 0 else "−") + shown


def probability(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def count(number: int, noun: str) -> str:
    """``1 page``, ``1,204 pages``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def placement(result: RetrievalResult) -> list[tuple[str, float]]:
    """Share of queries whose first relevant page ranks 1st, 2nd or 3rd, 4th to 10th, lower or nowhere."""
    ranks = [rank or 10**9 for rank in result.first_rank.values()]
    bounds = [
        ("first", 0, 1),
        ("2nd or 3rd", 1, 3),
        ("4th to 10th", 3, 10),
        ("lower or not found", 10, 10**9),
    ]
    return [(name, sum(low < r <= high for r in ranks) / len(ranks)) for name, low, high in bounds]


def glossary(metrics: Sequence[str]) -> dict[str, str]:
    """What the shown metrics, the interval and p mean."""
    found = {}
    for metric in metrics:
        name, _, cutoff = metric.partition("@")
        if name in GLOSSARY:
            text = GLOSSARY[name]
            found[metric_label(metric)] = re.sub(r"\bk\b", cutoff, text) if cutoff else text
    return found | {
        "Interval": "Computed again 10,000 times on questions drawn anew with replacement, the figure lies "
        "in this range 95% of the time. A difference whose interval leaves out zero is unlikely to be an "
        "accident of which questions were asked.",
        "p": "How often a difference at least this large would turn up if the two systems were equally good "
        "(paired randomisation test).",
    }


def _levels(found: Comparison) -> str:
    """``NDCG@10 with pages seen as text rose from 0.358 to 0.367``."""
    old, new = (f"{side.result.scores[found.metric]:.3f}" for side in (found.before, found.after))
    metric = metric_label(found.metric)
    sees = f" with pages seen as {_sees(found.after.fields)}" if found.after.fields else ""
    if found.before.name == BASELINE:
        return f"{metric} of {found.after.name}{sees} is {new}; BM25, the keyword search over the text, has {old}"
    if old == new:
        return f"{metric}{sees} stayed at {new}"
    return f"{metric}{sees} {'rose' if new > old else 'fell'} from {old} to {new}"


def _certainty(found: Comparison) -> str:
    gap = found.difference
    low, high, p = signed(gap.low), signed(gap.high), probability(found.corrected_p)
    if found.verdict == "no clear difference":
        return (
            f"The difference is {signed(gap.mean)}, but anything from {low} to {high} would fit these questions "
            f"({gap.confidence:.0%} interval, {p}), so they cannot tell the two apart."
        )
    kind = "gain" if gap.mean > 0 else "loss"
    return (
        f"The {kind} is {signed(gap.mean)}, most likely between {low} and {high} "
        f"({gap.confidence:.0%} interval, {p})."
    )


def _placement(result: RetrievalResult, before: RetrievalResult | None) -> str:
    def shares(of: RetrievalResult) -> tuple[float, float]:
        first, second, third, _ = (share for _, share in placement(of))
        return first, first + second + third

    first, ten = shares(result)
    was_first, was_ten = (f" (before: {share:.0%})" for share in shares(before)) if before else ("", "")
    return (
        f"A right page comes first for {first:.0%} of the questions{was_first} and is among the first ten "
        f"for {ten:.0%}{was_ten}."
    )


def _sees(fields: str) -> str:
    return {"both": "image and text", "text": "text", "image": "image"}.get(fields, fields)
