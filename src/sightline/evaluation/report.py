"""The HTML report: one file that needs nothing else, for screens light and dark and for paper.

All text from outside (queries, ids, names, facts) goes through `html.escape`; the page's content policy
allows no script and no request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

from sightline.errors import DataError
from sightline.evaluation.charts import Line, dimension_curve, interval_bar, score_limits, stacked_bar
from sightline.evaluation.gallery import Thumbnails, changes, query_cards, worst_queries
from sightline.evaluation.rows import BASELINE, Comparison, Row, headline, standard_comparisons
from sightline.evaluation.saved import made_with
from sightline.evaluation.summary import (
    best_of,
    cell,
    count,
    glossary,
    metric_label,
    placement,
    probability,
    render_table,
    signed,
    summarize,
    table_columns,
    verdict,
)
from sightline.files import write_text

__all__ = ["render_html", "render_table", "write_report"]


def write_report(rows: Sequence[Row], path: str | PathLike[str], **options: Any) -> Path:
    """Write `render_html` to ``path`` atomically; ``options`` as there."""
    return write_text(path, render_html(rows, **options), errors="xmlcharrefreplace")


def render_html(
    rows: Sequence[Row],
    *,
    title: str = "Retrieval report",
    comparisons: Sequence[Comparison] | None = None,
    thumbnails: Thumbnails | None = None,
    facts: Mapping[str, Any] | None = None,
    worst: int = 12,
    changed: int = 10,
) -> str:
    """The report as one self-contained HTML page.

    Args:
        rows: in the order of the table, baselines first.
        title: over the headline and in the browser's tab.
        comparisons: by default `standard_comparisons`.
        thumbnails: page id -> image file, None where there is none.
        facts: about data and models, for the last section; versions and the time are added.
        worst: how many of the worst queries to show, with thumbnails.
        changed: how many of the queries gained and lost to list.

    Raises:
        DataError: no rows.
    """
    if not rows:
        raise DataError("there are no results to report")
    found = standard_comparisons(rows) if comparisons is None else list(comparisons)
    lead = headline(found)
    styles = row_styles(rows)
    best = lead.after if lead else max(rows, key=lambda row: row.result.scores[row.result.primary])
    sections = [
        _table(rows, styles),
        _comparisons(found, styles),
        _curves(rows, styles),
        _ranks(rows, styles),
        _worst(best, lead, thumbnails, worst),
        _changed(lead, changed),
    ]
    first, *others = summarize(rows, found)
    summary = f'<p class="lead">{escape(first)}</p>'
    summary += f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in others)}</ul>"
    room = files("sightline.evaluation") / "templates"
    return Template((room / "report.html").read_text("utf-8")).substitute(
        title=escape(title),
        style=(room / "report.css").read_text("utf-8"),
        verdict=escape(verdict(rows, found)),
        summary=summary,
        sections="\n".join(section for section in sections if section),
        glossary="".join(
            f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>"
            for term, text in glossary(table_columns(rows)[0]).items()
        ),
        facts=_facts({**(facts or {}), **made_with()}),
    )


def row_styles(rows: Sequence[Row]) -> dict[str, str]:
    """CSS class per row name: the baseline, the first model, the last one, and any between."""
    models = list(dict.fromkeys(row.name for row in rows if row.name != BASELINE))
    styles = dict.fromkeys(models, "s-other") | {BASELINE: "s-base"}
    if models:
        styles[models[0]] = "s-before"
        styles[models[-1]] = "s-after"
    return styles


def _section(heading: str, note: str, body: str) -> str:
    """A section; heading and note are plain text, the body is HTML."""
    return f"<section><h2>{escape(heading)}</h2><p>{escape(note)}</p>{body}</section>"


def _table(rows: Sequence[Row], styles: Mapping[str, str]) -> str:
    metrics, dims = table_columns(rows)
    primary = rows[0].result.primary
    columns: list[tuple[str, int | None]] = [(metric, None) for metric in metrics]
    columns += [(primary, dim) for dim in dims]
    span = (
        f'<th class="span" colspan="{len(dims)}">{metric_label(primary)} at dimensions</th>' if dims else ""
    )
    heads = "".join(f'<th class="num" rowspan="{2 if dims else 1}">{metric_label(m)}</th>' for m in metrics)
    second = f"<tr>{''.join(f'<th class=num>{dim}</th>' for dim in dims)}</tr>" if dims else ""
    best = {column: best_of(rows, *column) for column in columns}
    lines, before = [], rows[0].name
    for row in rows:
        interval = row.interval()
        cells = []
        for number, column in enumerate(columns):
            value = cell(row, *column)
            if value is None:
                cells.append('<td class="num none">–</td>')
                continue
            mark = ' class="best"' if round(value, 3) == best[column] else ""
            sub = f'<div class="sub">{interval.low:.3f}–{interval.high:.3f}</div>' if number == 0 else ""
            cells.append(f'<td class="num"><span{mark}>{value:.3f}</span>{sub}</td>')
        kind = ' class="break"' if row.name != before else ""
        before = row.name
        lines.append(f"<tr{kind}><td>{_name(row, styles)}</td>{''.join(cells)}</tr>")
    return _section(
        "Results",
        f"The best of each column in bold; below {metric_label(primary)} its 95% interval.",
        f'<div class="scroll"><table class="results"><thead><tr><th rowspan="{2 if dims else 1}"></th>'
        f"{heads}{span}</tr>{second}</thead><tbody>{''.join(lines)}</tbody></table></div>",
    )


def _comparisons(found: Sequence[Comparison], styles: Mapping[str, str]) -> str:
    if not found:
        return ""
    reach = max(0.05, *(max(abs(c.difference.low), abs(c.difference.high)) for c in found))
    colours = {"better": "good", "worse": "bad", "no clear difference": "flat"}
    lines = []
    for comparison in found:
        gap, style = comparison.difference, colours[comparison.verdict]
        against = f'<div class="sub">against {escape(comparison.before.label)}</div>'
        bar = interval_bar(gap, reach=reach, style=style, describe=f"{signed(gap.low)} to {signed(gap.high)}")
        lines.append(
            f'<tr><td>{_name(comparison.after, styles)}{against}</td><td class="num">{signed(gap.mean)}'
            f'<div class="sub">{signed(gap.low)} to {signed(gap.high)}</div></td><td>{bar}</td>'
            f'<td><span class="tag {style}">{comparison.verdict}</span>'
            f'<div class="sub">{probability(comparison.p_value)}</div></td>'
            f'<td class="num">{comparison.better} <span class="none">/</span> {comparison.worse} '
            f'<span class="none">/</span> {comparison.same}</td></tr>'
        )
    drawn = (
        "Whole documents were drawn with all their questions, which are easy or hard together."
        if any(comparison.resampled == "documents" for comparison in found)
        else ""
    )
    return _section(
        "What changed",
        f"Difference in {metric_label(found[0].metric)} on the same questions, with its 95% interval. "
        f"A bar that crosses the middle could be chance. {drawn}",
        '<div class="scroll"><table class="comparisons"><thead><tr><th></th><th class="num">Difference</th>'
        '<th></th><th></th><th class="num">Better / worse / same</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>",
    )


def _curves(rows: Sequence[Row], styles: Mapping[str, str]) -> str:
    """One panel per view of a page, all on one scale."""
    drawn = [row for row in rows if len(row.result.by_dim) > 1]
    if not drawn:
        return ""
    primary = drawn[0].result.primary
    flat = [
        Line(row.label, styles[row.name], level=row.result.scores[primary])
        for row in rows
        if not row.result.by_dim and row.name == BASELINE
    ]
    panels: dict[str, list[Line]] = {}
    for row in drawn:
        points = tuple(sorted((dim, found[primary]) for dim, found in row.result.by_dim.items()))
        panels.setdefault(row.fields, []).append(Line(row.label, styles[row.name], points))
    limits = score_limits([s for lines in [flat, *panels.values()] for line in lines for s in line.scores])
    metric = metric_label(primary)
    figures = ""
    for fields, lines in panels.items():
        chart = dimension_curve([*flat, *lines], limits=limits, describe=f"{metric}, {_view(fields)}")
        figures += f"<figure><figcaption>{escape(_view(fields))}</figcaption>{chart}</figure>"
    names = dict.fromkeys(row.name for row in rows if row in drawn or (flat and row.name == BASELINE))
    return _section(
        "Shorter vectors",
        f"{metric} when only the first dimensions of each vector are kept. "
        "Half the dimensions take half the space.",
        f'{_legend((name, styles[name]) for name in names)}<div class="panels">{figures}</div>',
    )


def _ranks(rows: Sequence[Row], styles: Mapping[str, str]) -> str:
    lines = []
    for row in rows:
        shares = placement(row.result)
        bar = stacked_bar(
            [(label, f"k{number}", share) for number, (label, share) in enumerate(shares, 1)],
            describe=", ".join(f"{label}: {share:.0%}" for label, share in shares),
        )
        first, ten = shares[0][1], 1 - shares[3][1]
        lines.append(
            f'<div class="rankrow"><span>{_name(row, styles)}</span>{bar}'
            f'<span class="num"><b>{first:.0%}</b> first, {ten:.0%} in ten</span></div>'
        )
    legend = _legend((label, f"k{number}") for number, (label, _) in enumerate(placement(rows[0].result), 1))
    return _section(
        "Where the right page is",
        "Rank of the first right page, as a share of the questions.",
        f'{legend}<div class="ranks">{"".join(lines)}</div>',
    )


def _worst(row: Row, lead: Comparison | None, thumbnails: Thumbnails | None, number: int) -> str:
    qids = worst_queries(row.result, number, lead.before.result if lead else None)
    if not qids:
        return ""
    return _section(
        "Where it fails",
        f"The {count(len(qids), 'question')} that {row.label} answers worst, by "
        f"{metric_label(row.result.primary)}. Right pages have a green frame; the number is the rank.",
        query_cards(row.result, qids, thumbnails),
    )


def _changed(lead: Comparison | None, number: int) -> str:
    if lead is None or not number:
        return ""
    gained, lost = changes(lead, number)
    metric = metric_label(lead.metric)
    head = (
        '<thead><tr><th>{}</th><th class="num">Rank before</th><th class="num">after</th>'
        f'<th class="num">{metric}</th></tr></thead>'
    )
    none = '<tr><td colspan="4" class="none">none</td></tr>'
    return _section(
        "Questions gained and lost",
        f"Rank of the first right page with {lead.before.label} and with {lead.after.label}, largest change "
        f"of {metric} first.",
        f'<div class="two"><table>{head.format("Gained")}<tbody>{gained or none}</tbody></table>'
        f"<table>{head.format('Lost')}<tbody>{lost or none}</tbody></table></div>",
    )


def _facts(facts: Mapping[str, Any]) -> str:
    lines = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, (list, tuple)):
            value = ", ".join(str(inner) for inner in value)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:,}"
        lines.append(f"<dt>{escape(str(name)[:1].upper() + str(name)[1:])}</dt><dd>{escape(str(value))}</dd>")
    return "".join(lines)


def _legend(entries: Any) -> str:
    items = "".join(
        f'<span class="{style}"><i class="swatch"></i><span class="name">{escape(label)}</span></span>'
        for label, style in entries
    )
    return f'<div class="legend">{items}</div>'


def _name(row: Row, styles: Mapping[str, str]) -> str:
    fields = f' <span class="sub">{escape(row.fields)}</span>' if row.fields else ""
    return f'<span class="{styles[row.name]}"><i class="swatch"></i></span>{escape(row.name)}{fields}'


def _view(fields: str) -> str:
    return {"text": "Text only", "image": "Image only", "both": "Image and text"}.get(
        fields, fields or "Pages"
    )
