"""The HTML report: one file that needs nothing else, for screens light and dark and for paper.

All text from outside (queries, ids, names, facts) goes through `html.escape`; the page's content policy
allows no script and no request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path
from string import Template
from typing import Any

from sightline.errors import DataError
from sightline.evaluation.advice import advised
from sightline.evaluation.background import Background
from sightline.evaluation.gallery import change_cards, change_rows, moved_queries, query_cards, worst_queries
from sightline.evaluation.pictures import BUDGET, Pictures, Thumbnails
from sightline.evaluation.plots import plot_style
from sightline.evaluation.report_figures import (
    comparisons_section,
    curves_section,
    groups_section,
    ranks_section,
    results_section,
    sizes_section,
)
from sightline.evaluation.report_parts import row_styles, section
from sightline.evaluation.report_training import recipe_section, remarks_section, training_section
from sightline.evaluation.rows import Comparison, Row, headline, standard_comparisons
from sightline.evaluation.saved import made_with
from sightline.evaluation.summary import (
    count,
    glossary,
    metric_label,
    render_table,
    summarize,
    table_columns,
    verdict,
)
from sightline.files import write_text

__all__ = ["render_html", "render_table", "write_report"]

_FACTS = {
    "fingerprint": "Data fingerprint",
    "created": "Measured",
    "system": "Operating system",
    "seconds": "Seconds",
}


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
    background: Background | None = None,
    worst: int = 8,
    changed: int = 10,
    pictured: int = 4,
    budget: int = BUDGET,
) -> str:
    """The report as one self-contained HTML page.

    Args:
        rows: in the order of the table, baselines first.
        title: over the headline and in the browser's tab.
        comparisons: by default `standard_comparisons`.
        thumbnails: page id -> image file, None where there is none.
        facts: about data and models, for the last section; versions and the time are added where they are missing.
        background: how the model was made: log, recipe, findings about the data.
        worst: how many of the worst queries to show, with thumbnails.
        changed: how many of the queries gained, and how many of those lost, to list.
        pictured: how many of these to show with thumbnails.
        budget: characters that all thumbnails may take; what does not fit is left out, and the report says so.

    Raises:
        DataError: no rows.
    """
    if not rows:
        raise DataError("there are no results to report")
    found = standard_comparisons(rows) if comparisons is None else list(comparisons)
    lead = headline(found)
    styles = row_styles(rows)
    best = lead.after if lead else max(rows, key=lambda row: row.result.scores[row.result.primary])
    pictures = Pictures(thumbnails, budget)
    made = background or Background()
    sections = [
        results_section(rows, found, styles),
        comparisons_section(found, styles),
        sizes_section(rows, best),
        curves_section(rows, styles),
        ranks_section(rows, styles),
        groups_section(best, lead),
        *_changed(lead, pictures, changed, pictured),
        _worst(best, lead, pictures, worst),
        training_section(made),
        remarks_section(made.remarks),
        recipe_section(made),
    ]
    if pictures.left_out:
        sections.append(f'<p class="note">{escape(pictures.note())}</p>')
    shown = "\n".join(one for one in sections if one)
    first, *others = [*summarize(rows, found), *advised(best)]
    summary = f'<p class="lead">{escape(first)}</p>'
    summary += f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in others)}</ul>"
    room = files("sightline.evaluation") / "templates"
    return Template((room / "report.html").read_text("utf-8")).substitute(
        title=escape(title),
        style=(room / "report.css").read_text("utf-8") + plot_style(),
        verdict=escape(verdict(rows, found)),
        summary=summary,
        contents=_contents(shown),
        sections=shown,
        glossary="".join(
            f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>"
            for term, text in glossary(table_columns(rows)[0]).items()
        ),
        facts=_facts({**made_with(), **(facts or {})}),
    )


def _contents(sections: str) -> str:
    """Links to the sections."""
    found = re.findall(r'<section id="([a-z0-9-]+)"><div class="head"><h2>([^<]*)</h2>', sections)
    return "".join(f'<li><a href="#{place}">{heading}</a></li>' for place, heading in found)


def _worst(row: Row, lead: Comparison | None, pictures: Pictures, number: int) -> str:
    qids = worst_queries(row.result, number, lead.before.result if lead else None)
    if not qids:
        return ""
    return section(
        "Where it fails",
        f"The {count(len(qids), 'question')} that {row.label} answers worst, by "
        f"{metric_label(row.result.primary)}. Right pages have a green frame; the number is the rank.",
        query_cards(row.result, qids, pictures),
    )


def _changed(lead: Comparison | None, pictures: Pictures, number: int, pictured: int) -> list[str]:
    """Those gained, and those lost: the first of them with pictures, more of them as a table."""
    if lead is None or not number:
        return []
    metric = metric_label(lead.metric)
    sections = []
    for kind, qids in zip(("gained", "lost"), moved_queries(lead), strict=True):
        if not qids:
            continue
        first, more = qids[:pictured], qids[pictured:number]
        body = change_cards(lead, first, pictures)
        if more:
            body += (
                f'<div class="scroll"><table class="moved"><caption class="sr">More questions {kind}</caption>'
                '<thead><tr><th scope="col">Question, and the page it asks for</th>'
                '<th scope="col" class="num">Rank before</th><th scope="col" class="num">after</th>'
                f'<th scope="col" class="num">{metric}</th></tr></thead><tbody>{change_rows(lead, more)}</tbody>'
                "</table></div>"
            )
        shown = min(number, len(qids))
        rest = "" if shown == len(qids) else f" The first {shown} of them; all ranks are in results.json."
        told = (
            f"{count(len(qids), 'question')} with a {'better' if kind == 'gained' else 'worse'} {metric} by "
            f"{lead.after.label} than by {lead.before.label}, largest change first.{rest}"
        )
        sections.append(section(f"Questions {kind}", told, body))
    return sections


def _facts(facts: Mapping[str, Any]) -> str:
    lines = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, (list, tuple)):
            value = ", ".join(str(inner) for inner in value)
        elif isinstance(value, int) and not isinstance(value, bool):
            value = f"{value:,}"
        label = _FACTS.get(str(name), str(name)[:1].upper() + str(name)[1:])
        lines.append(f"<dt>{escape(label)}</dt><dd>{escape(str(value))}</dd>")
    return "".join(lines)
