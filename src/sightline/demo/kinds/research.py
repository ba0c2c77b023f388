"""Research reports of the group laboratory: two columns, serif, figures, tables, references."""

from __future__ import annotations

from pathlib import Path

from reportlab.pdfgen.canvas import Canvas

from sightline.demo import layout
from sightline.demo import study_words as words
from sightline.demo.facts import Ledger
from sightline.demo.house import GROUP
from sightline.demo.kinds import research_ends as ends
from sightline.demo.kinds import research_parts as parts
from sightline.demo.study_words import Study
from sightline.demo.terms import sentence
from sightline.demo.world import World


def build(world: World, ledger: Ledger, path: Path, document: str, study: Study) -> tuple[str, int]:
    """Write the report on ``study``; its title and number of pages."""
    rng = world.rng
    look = layout.theme("#1f2d3d", "#b5651d", layout.SERIF, 12.3)
    title = sentence(study.subject.written)
    number, year = f"SL-{rng.randint(100, 999)}", rng.randint(2018, 2024)
    width, height = layout.B5
    margin, gutter = 44.0, 18.0
    column = (width - 2 * margin - gutter) / 2

    authors = [world.person() for _ in range(3)]

    def furniture(canvas: Canvas, page: int) -> None:
        canvas.setFont("Times-Italic", 9)
        canvas.setFillColor(layout.GREY)
        canvas.drawString(margin, height - 38, f"Skarholm Laboratory Report {number} ({year})")
        canvas.drawRightString(width - margin, height - 38, title if page % 2 else GROUP)
        canvas.drawCentredString(width / 2, 34, str(page + 1))
        if page == 1:
            _head(canvas, look, title, authors, (width, height))

    tall = height - 112
    columns = [(margin, 56.0, column, tall), (margin + column + gutter, 56.0, column, tall)]
    flow = layout.Flow(
        path, document, ledger, size=layout.B5, furniture=furniture, title=title, columns=columns,
        first_columns=[(x, y, w, h - 96) for x, y, w, h in columns],  # the title block is above them
    )  # fmt: skip
    flow.cover(lambda canvas: _cover(canvas, look, title, f"Report {number}", year, (width, height)))
    brief = parts.Brief(world, look, study, column, _curves(world, study), world.some(words.REMARKS, 99))
    flow.add_all([parts.abstract(brief), parts.introduction(brief), parts.specimens(brief)], look_ahead=1)
    makers = [
        parts.apparatus,
        parts.conditions,
        parts.results,
        parts.all_values,
        parts.spread,
        parts.first_effect,
        parts.second_effect,
        ends.cost,
        ends.field,
        ends.limits,
    ]
    flow.add_all(
        [
            make(brief)
            for make in (
                *makers,
                ends.advice,
                ends.next_step,
                ends.thanks,
                ends.archive,
                ends.references,
            )
        ],
        look_ahead=2,
    )
    return title, flow.close()


def _cover(
    canvas: Canvas, look: layout.Theme, title: str, number: str, year: int, size: tuple[float, float]
) -> None:
    width, height = size
    canvas.setFillColor(look.tint(0.1))
    canvas.rect(0, 0, width, height, stroke=0, fill=1)
    canvas.setFillColor(look.primary)
    canvas.rect(0, height - 150, width, 150, stroke=0, fill=1)
    canvas.setFillColor(look.tint(0.05))
    canvas.setFont(look.faces[1], 26)
    canvas.drawString(44, height - 80, "Skarholm Laboratory")
    canvas.setFont(look.faces[0], 14)
    canvas.drawString(44, height - 108, f"{number}  |  {year}")
    words_ = layout.heading(look, title, 2.6)
    words_.wrap(width - 88, 200)
    words_.drawOn(canvas, 44, height - 190 - words_.height)
    canvas.setStrokeColor(look.accent)
    canvas.setLineWidth(2)
    # A measured curve with its scatter, the laboratory's emblem.
    path = canvas.beginPath()
    for step in range(60):
        x, y = 44 + step * (width - 88) / 59, 130 + 170 * (step / 59) ** 0.6
        (path.lineTo if step else path.moveTo)(x, y)
        if step % 6 == 3:
            canvas.circle(x, y + 22 * ((step * 37) % 11 - 5) / 5, 3.4, stroke=1, fill=0)
    canvas.drawPath(path, stroke=1, fill=0)
    canvas.setFillColor(look.primary)
    canvas.setFont(look.faces[2], 11)
    canvas.drawString(44, 60, f"{GROUP}, for internal use")


def _head(
    canvas: Canvas, look: layout.Theme, title: str, authors: list[str], size: tuple[float, float]
) -> None:
    width, height = size
    face = look.faces[1]
    scale = min(22.0, 22.0 * (width - 100) / max(1.0, canvas.stringWidth(title, face, 22)))
    canvas.setFillColor(look.primary)
    canvas.setFont(face, scale)
    canvas.drawCentredString(width / 2, height - 84, title)
    canvas.setFont(look.faces[2], 11)
    canvas.drawCentredString(width / 2, height - 108, ", ".join(authors))
    canvas.setFont(look.faces[0], 9.5)
    canvas.drawCentredString(width / 2, height - 123, "Central Laboratory, Skarholm")
    canvas.setStrokeColor(look.primary)
    canvas.line(44, height - 138, width - 44, height - 138)


def _curves(world: World, study: Study) -> tuple[tuple[float, ...], ...]:
    """One rising or falling curve per variant, the last variant best and apart from the others."""
    rng = world.rng
    span = study.high - study.low
    falling = study.measured.written in ("residual shear strength", "breakdown voltage")
    made = []
    for place in range(len(study.variants)):
        slope = span * (0.85 - 0.27 * place) * rng.uniform(0.9, 1.05)
        start = study.low + span * rng.uniform(0.02, 0.08)
        shape = [(step / 4) ** rng.uniform(0.6, 0.9) for step in range(5)]
        values = [study.high - slope * s if falling else start + slope * s for s in shape]
        made.append(tuple(round(value, 1 if study.high < 100 else 0) for value in values))
    return tuple(made)
