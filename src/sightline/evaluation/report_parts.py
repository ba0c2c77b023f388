"""Pieces that the report's sections are put together from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from sightline.evaluation.rows import BASELINE, Row
from sightline.evaluation.tables import TextTable


def section(heading: str, note: str, body: str) -> str:
    """A section; heading and note are plain text, in which `code` is marked so; the body is HTML."""
    told = f"<p>{with_code(note)}</p>" if note else ""
    head = f'<div class="head"><h2>{escape(heading)}</h2>{told}</div>'
    return f'<section id="{anchor(heading)}">{head}{body}</section>'


def with_code(text: str) -> str:
    """Plain text as HTML, in which what stands between backticks is code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))


def anchor(heading: str) -> str:
    """A heading as the name of a place in the page."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def html_table(table: TextTable, caption: str) -> str:
    """A table of text, its notes below it.

    Args:
        table: what stands in it.
        caption: what it is, for screen readers; plain text.
    """
    kinds = ["" if column < table.left else ' class="num"' for column in range(len(table.heads))]
    heads = "".join(
        f'<th scope="col"{kind}>{escape(head)}</th>' for head, kind in zip(table.heads, kinds, strict=True)
    )
    lines = []
    for number, cells in enumerate(table.lines):
        shown = []
        for column, (text, kind) in enumerate(zip(cells, kinds, strict=True)):
            value = escape(text)
            if (number, column) in table.strong:
                value = f'<span class="best">{value}</span>'
            shown.append(f"<td{kind}>{value}</td>")
        lines.append(f"<tr>{''.join(shown)}</tr>")
    notes = "".join(f'<p class="note small">{escape(note)}</p>' for note in table.notes)
    return (
        f'<div class="scroll"><table class="plain"><caption class="sr">{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>{notes}"
    )


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Label and CSS class of each entry."""
    items = "".join(
        f'<span class="{style}"><i class="swatch"></i><span class="name">{escape(label)}</span></span>'
        for label, style in entries
    )
    return f'<div class="legend">{items}</div>'


def row_styles(rows: Sequence[Row]) -> dict[str, str]:
    """CSS class per row name: the baseline, the first model, the last one, and any between."""
    models = list(dict.fromkeys(row.name for row in rows if row.name != BASELINE))
    styles = dict.fromkeys(models, "s-other") | {BASELINE: "s-base"}
    if models:
        styles[models[0]] = "s-before"
        styles[models[-1]] = "s-after"
    return styles


def name_of(row: Row, styles: Mapping[str, str]) -> str:
    """The row's name with its colour."""
    fields = f' <span class="sub">{escape(row.fields)}</span>' if row.fields else ""
    return f'<span class="{styles[row.name]}"><i class="swatch"></i></span>{escape(row.name)}{fields}'


def view_of_page(fields: str) -> str:
    """What of a page was seen, as a heading."""
    return {"text": "Text only", "image": "Image only", "both": "Image and text"}.get(
        fields, fields or "Pages"
    )
