"""The report's tables and charts: results, differences, sizes, groups of questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from sightline.evaluation.advice import TOLERATED
from sightline.evaluation.breakdown import FEW, breakdown_of_difference
from sightline.evaluation.charts import Line, dimension_curve, interval_bar, score_limits, stacked_bar
from sightline.evaluation.plots import plot_key, plot_panels
from sightline.evaluation.report_parts import html_table, legend, name_of, section, view_of_page
from sightline.evaluation.rows import BASELINE, Comparison, Row
from sightline.evaluation.summary import (
    best_of,
    cell,
    metric_label,
    placement,
    probability,
    signed,
    table_columns,
)
from sightline.evaluation.tables import BETTER, WORSE, breakdown_table, cells_table, costs_table

_GROUPS = 12


def results_section(rows: Sequence[Row], found: Sequence[Comparison], styles: Mapping[str, str]) -> str:
    """Every row with its metrics; marks tell which differ from the one they are compared with."""
    metrics, dims = table_columns(rows)
    primary = rows[0].result.primary
    columns: list[tuple[str, int | None]] = [(metric, None) for metric in metrics]
    columns += [(primary, dim) for dim in dims]
    span = (
        f'<th class="span" scope="colgroup" colspan="{len(dims)}">{metric_label(primary)} at dimensions</th>'
        if dims
        else ""
    )
    heads = "".join(
        f'<th class="num" scope="col" rowspan="{2 if dims else 1}">{metric_label(m)}</th>' for m in metrics
    )
    second = "".join(f'<th class="num" scope="col">{dim}</th>' for dim in dims)
    second = f"<tr>{second}</tr>" if dims else ""
    best = {column: best_of(rows, *column) for column in columns}
    lines, before = [], rows[0].name
    against: dict[int, Comparison] = {}
    for one in found:
        against.setdefault(id(one.after), one)
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
            moved = _mark(against.get(id(row))) if number == 0 else ""
            cells.append(f'<td class="num"><span{mark}>{value:.3f}</span>{moved}{sub}</td>')
        kind = ' class="break"' if row.name != before else ""
        before = row.name
        lines.append(f"<tr{kind}><td>{name_of(row, styles)}</td>{''.join(cells)}</tr>")
    return section(
        "Results",
        f"The best of each column in bold; below {metric_label(primary)} its 95% interval. {_legend_of_marks(against)}",
        '<div class="scroll"><table class="results"><caption class="sr">Results by system</caption><thead><tr>'
        f'<th scope="col" rowspan="{2 if dims else 1}"><span class="sr">System</span></th>'
        f"{heads}{span}</tr>{second}</thead><tbody>{''.join(lines)}</tbody></table></div>",
    )


def _mark(found: Comparison | None) -> str:
    """An arrow where a row differs from the one it is compared with; nothing where it does not."""
    if found is None or not found.significant:
        return ""
    better = found.difference.mean > 0
    say = f"{'better' if better else 'worse'} than {found.before.label}"
    return (
        f' <span class="mark-{"good" if better else "bad"}" title="{escape(say)}" role="img" '
        f'aria-label="{escape(say)}">{BETTER if better else WORSE}</span>'
    )


def _legend_of_marks(against: Mapping[int, Comparison]) -> str:
    """What the arrows mean."""
    if not any(found.significant for found in against.values()):
        return ""
    bases = ", ".join(dict.fromkeys(found.before.name for found in against.values()))
    return (
        f"{BETTER} better, {WORSE} worse than {bases}: p below 0.05 in a paired randomisation test, corrected for the "
        "number of comparisons (Holm)."
    )


def comparisons_section(found: Sequence[Comparison], styles: Mapping[str, str]) -> str:
    """What separates the rows, with intervals."""
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
            f'<tr><td>{name_of(comparison.after, styles)}{against}</td><td class="num">{signed(gap.mean)}'
            f'<div class="sub">{signed(gap.low)} to {signed(gap.high)}</div></td><td>{bar}</td>'
            f'<td><span class="tag {style}">{comparison.verdict}</span>'
            f'<div class="sub">{probability(comparison.corrected_p)}</div></td>'
            f'<td class="num">{comparison.better} <span class="none">/</span> {comparison.worse} '
            f'<span class="none">/</span> {comparison.same}</td></tr>'
        )
    drawn = (
        "Whole documents were drawn with all their questions, which are easy or hard together."
        if any(comparison.resampled == "documents" for comparison in found)
        else ""
    )
    return section(
        "What changed",
        f"Difference in {metric_label(found[0].metric)} on the same questions, with its 95% interval. "
        f"A bar that crosses the middle could be chance; p is corrected for {len(found)} "
        f"comparison{'s' if len(found) > 1 else ''} (Holm). {drawn}",
        '<div class="scroll"><table class="comparisons"><caption class="sr">Differences between systems</caption>'
        '<thead><tr><th scope="col"><span class="sr">System</span></th><th scope="col" class="num">Difference</th>'
        '<th scope="col"><span class="sr">Interval</span></th><th scope="col"><span class="sr">Verdict</span></th>'
        '<th scope="col" class="num">Better / worse / same</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>",
    )


def curves_section(rows: Sequence[Row], styles: Mapping[str, str]) -> str:
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
        chart = dimension_curve([*flat, *lines], limits=limits, describe=f"{metric}, {view_of_page(fields)}")
        figures += f"<figure><figcaption>{escape(view_of_page(fields))}</figcaption>{chart}</figure>"
    names = dict.fromkeys(row.name for row in rows if row in drawn or (flat and row.name == BASELINE))
    return section(
        "Shorter vectors",
        f"{metric} when only the first dimensions of each vector are kept. "
        "Half the dimensions take half the space.",
        f'{legend((name, styles[name]) for name in names)}<div class="panels">{figures}</div>',
    )


def ranks_section(rows: Sequence[Row], styles: Mapping[str, str]) -> str:
    """The rank of the first right page."""
    lines = []
    for row in rows:
        shares = placement(row.result)
        bar = stacked_bar(
            [(label, f"k{number}", share) for number, (label, share) in enumerate(shares, 1)],
            describe=", ".join(f"{label}: {share:.0%}" for label, share in shares),
        )
        first, ten = shares[0][1], 1 - shares[3][1]
        lines.append(
            f'<div class="rankrow"><span>{name_of(row, styles)}</span>{bar}'
            f'<span class="num"><b>{first:.0%}</b> first, {ten:.0%} in ten</span></div>'
        )
    key = legend((label, f"k{number}") for number, (label, _) in enumerate(placement(rows[0].result), 1))
    return section(
        "Where the right page is",
        "Rank of the first right page, as a share of the questions.",
        f'{key}<div class="ranks">{"".join(lines)}</div>',
    )


def sizes_section(rows: Sequence[Row], best: Row) -> str:
    """Quality against what vectors take, drawn for rows that see of a page what the best one sees, and for BM25."""
    drawn = [row for row in rows if row.fields == best.fields or row.name == BASELINE]
    panels = plot_panels(drawn)
    if not panels:
        return ""
    key = "".join(
        f'<span>{mark}<span class="name">{escape(label)}</span></span>' for label, mark in plot_key(drawn)
    )
    figures = "".join(f"<figure>{panel}</figure>" for panel in panels)
    tables = html_table(costs_table(rows), "What each system takes")
    if len(best.result.cells) > 1:
        tables += f"<h3>Ways to keep the vectors of {escape(best.label)}</h3>"
        tables += html_table(cells_table(best), "Quality and size by dimensions and precision")
    return section(
        "Size and speed",
        f"{metric_label(best.result.primary)} with its 95% interval against what it costs. One encoding gives every "
        f"dimension and precision. The summary picks the smallest whose loss is surely below {TOLERATED}.",
        f'<div class="legend">{key}</div><div class="panels wide">{figures}</div>{tables}',
    )


def groups_section(best: Row, lead: Comparison | None) -> str:
    """Scores by kind of question, modality, language and document, with what changed; empty where nothing tells
    the questions apart."""
    heading = "By group of questions"
    if lead is None:
        table = breakdown_table(best)
        return section(heading, f"{best.label}.", html_table(table, heading)) if table is not None else ""
    slices = breakdown_of_difference(lead.before, lead.after, metric=lead.metric)
    facets = dict.fromkeys(one.facet for one in slices)
    parts = ""
    reach = max(
        [0.05, *(abs(end) for one in slices for gap in one.scores.values() for end in (gap.low, gap.high))]
    )
    for facet in facets:
        members = [one for one in slices if one.facet == facet]
        if len(members) < 2:
            continue  # the whole table again
        lines = []
        for one in members[:_GROUPS]:
            gap = one.scores[lead.metric]
            style = "flat" if not gap.excludes_zero or one.few else "good" if gap.mean > 0 else "bad"
            told = f"{signed(gap.low)} to {signed(gap.high)}"
            qids = _members(lead.after, facet, one.value)
            means = [_mean(side, lead.metric, qids) for side in (lead.before, lead.after)]
            lines.append(
                f"<tr><td>{escape(one.value) or '(not said)'}</td>"
                f'<td class="num">{one.questions:,}{"*" if one.few else ""}</td>'
                + "".join(f'<td class="num">{mean:.3f}</td>' for mean in means)
                + f'<td class="num">{signed(gap.mean)}<div class="sub">{told}</div></td>'
                f"<td>{interval_bar(gap, reach=reach, style=style, describe=told)}</td></tr>"
            )
        notes = (
            [f"* fewer than {FEW} questions: says little."]
            if any(one.few for one in members[:_GROUPS])
            else []
        )
        if len(members) > _GROUPS:
            notes.append(f"{len(members) - _GROUPS} smaller ones are in results.json.")
        parts += (
            f'<h3>By {escape(facet)}</h3><div class="scroll"><table class="groups">'
            f'<caption class="sr">{escape(lead.after.label)} by {escape(facet)}</caption><thead><tr>'
            f'<th scope="col">{escape(facet.capitalize())}</th><th scope="col" class="num">Questions</th>'
            '<th scope="col" class="num">Before</th><th scope="col" class="num">After</th>'
            '<th scope="col" class="num">Difference</th><th scope="col"><span class="sr">Interval</span></th>'
            f"</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
            + (f'<p class="note small">{" ".join(notes)}</p>' if notes else "")
        )
    if not parts:
        return ""
    return section(
        heading,
        f"{metric_label(lead.metric)} of {lead.before.label} and of {lead.after.label} on the same questions. A group "
        "among many may stand out by chance.",
        parts,
    )


def _members(row: Row, facet: str, value: str) -> list[str]:
    """The queries of a group."""
    known = row.result.facets[facet]
    return [qid for qid in row.result.queries if known.get(qid, "") == value]


def _mean(row: Row, metric: str, qids: Sequence[str]) -> float:
    scores = row.result.per_query(metric)
    return sum(scores[qid] for qid in qids) / len(qids)
