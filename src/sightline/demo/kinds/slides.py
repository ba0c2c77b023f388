"""Slide decks: a project of one company, landscape, with schedules, budgets, surveys and decisions."""

from __future__ import annotations

from pathlib import Path

from reportlab.lib.colors import HexColor
from reportlab.pdfgen.canvas import Canvas

from sightline.demo import layout
from sightline.demo.facts import Ledger
from sightline.demo.house import GROUP
from sightline.demo.kinds import slide_parts as parts
from sightline.demo.kinds.slide_brief import Brief
from sightline.demo.marks import draw_mark
from sightline.demo.project_words import GOALS
from sightline.demo.terms import Term, sentence
from sightline.demo.world import Company, World


def build(
    world: World, ledger: Ledger, path: Path, document: str, company: Company, wind: str
) -> tuple[str, int]:
    """Write the deck of project ``wind``; its title and number of pages."""
    rng = world.rng
    year = rng.randint(2021, 2024)
    look = layout.theme(company.colour, company.accent, layout.SANS, 14)
    width, height = layout.WIDE
    [(goal, *whys)] = world.fresh("goal", GOALS)
    project = Term(
        f"Project {wind}", (f"Project {wind}", f"{wind} at {company.short}", f"the {wind} project")
    )
    title = f"Project {wind}: {goal.written}"
    style = rng.choice(("bar", "side", "plain"))

    def furniture(canvas: Canvas, page: int) -> None:
        canvas.setFillColor(look.primary if style == "bar" else look.accent)
        if style == "bar":
            canvas.rect(0, 0, width, 22, stroke=0, fill=1)
        elif style == "side":
            canvas.rect(0, 0, 14, height, stroke=0, fill=1)
        else:
            canvas.rect(40, 26, 60, 2.5, stroke=0, fill=1)
        canvas.setFillColor(HexColor("#ffffff") if style == "bar" else layout.GREY)
        canvas.setFont("Helvetica", 8)
        canvas.drawString(40, 8, f"{company.full}  |  Project {wind}")
        canvas.drawRightString(width - 40, 8, str(page + 1))
        draw_mark(canvas, company, width - 70, height - 46, 28)

    flow = layout.Flow(
        path, document, ledger, size=layout.WIDE, furniture=furniture, title=title,
        columns=[(40, 34, width - 80, height - 62)],
    )  # fmt: skip
    flow.cover(lambda canvas: _cover(canvas, look, company, project, goal, year))
    brief = Brief(world, look, company, project, goal, tuple(whys), year, width - 80)
    first = [parts.reason(brief)]
    rest = [make(brief) for make in rng.sample(parts.SLIDES, min(rng.choice((8, 9)), len(parts.SLIDES)))]
    flow.add_all([*first, *rest])
    return sentence(title), flow.close()


def _cover(
    canvas: Canvas, look: layout.Theme, company: Company, project: Term, goal: Term, year: int
) -> None:
    width, height = layout.WIDE
    canvas.setFillColor(look.primary)
    canvas.rect(0, 0, width, height, stroke=0, fill=1)
    canvas.setFillColor(look.accent)
    canvas.rect(0, height * 0.36, 24, height * 0.3, stroke=0, fill=1)
    draw_mark(canvas, company, width - 210, 40, 160, mono=look.tint(0.85))
    canvas.setFillColor(HexColor("#ffffff"))
    canvas.setFont("Helvetica-Bold", 36)
    canvas.drawString(48, height * 0.57, project.written)
    canvas.setFont("Helvetica", 17)
    canvas.drawString(48, height * 0.47, sentence(goal.written))
    canvas.setFont("Helvetica", 11)
    canvas.drawString(48, height * 0.38, f"Steering committee, {company.full}, {year}")
    canvas.drawString(48, 30, GROUP)
