"""Annual reports: one per company, A4, with tables, charts, events and people."""

from __future__ import annotations

from pathlib import Path

from reportlab.lib.colors import HexColor
from reportlab.pdfgen.canvas import Canvas

from sightline.demo import events, layout
from sightline.demo.facts import About, Ledger, Section
from sightline.demo.house import GROUP
from sightline.demo.kinds import report_figures as figures
from sightline.demo.kinds import report_parts as parts
from sightline.demo.marks import draw_mark
from sightline.demo.metrics import METRICS
from sightline.demo.world import Company, World


def build(world: World, ledger: Ledger, path: Path, document: str, company: Company) -> tuple[str, int]:
    """Write the annual report of ``company``; its title and number of pages."""
    rng = world.rng
    year = rng.randint(2017, 2023)
    faces = rng.choice((layout.SANS, layout.SERIF))
    look = layout.theme(company.colour, company.accent, faces, 10.8 if faces is layout.SANS else 11.8)
    title = f"{company.full}: {rng.choice(('Annual Report', 'Annual Report', 'Logbook of the Year'))} {year}"
    width, height = layout.A4
    margin = rng.choice((58, 66, 72))
    body = width - 2 * margin

    def furniture(canvas: Canvas, page: int) -> None:
        canvas.setFillColor(look.primary)
        canvas.rect(0, height - 12, width, 12, stroke=0, fill=1)
        draw_mark(canvas, company, margin, 30, 16)
        canvas.setFont(faces[0], 8)
        canvas.setFillColor(layout.GREY)
        canvas.drawString(margin + 24, 35, title)
        canvas.drawRightString(width - margin, 35, str(page + 1))

    flow = layout.Flow(
        path, document, ledger, size=layout.A4, furniture=furniture, title=title,
        columns=[(margin, 62, body, height - 62 - 48)], sections_per_page=3,
    )  # fmt: skip
    flow.cover(
        lambda canvas: _cover(canvas, look, company, year, title, rng.choice(("band", "frame", "block")))
    )

    chosen = world.fresh("report metrics", METRICS, 17)
    sections = [figures.figure(world, look, company, metric, year, body) for metric in chosen[:9]]
    sections.append(figures.five_years(world, look, company, list(chosen[9:]), year, body))
    sections.extend(parts.event(world, look, company, site, year) for site in world.some(company.sites, 3))
    sections.append(parts.markets(world, look, company, year, body))
    sections.append(parts.risks(world, look, company, body))
    sections.append(parts.people(world, look, company, body))
    sections.append(parts.plans(world, look, company, year))
    figures.across(sections[9], world, company, list(chosen[9:]))
    rng.shuffle(sections)
    flow.add_all([_chair(world, look, company, year), *sections])
    return title, flow.close()


def _chair(world: World, look: layout.Theme, company: Company, year: int) -> Section:
    rng = world.rng
    person = world.person()
    [theme] = world.fresh("chair theme", events.CHAIR_THEMES)
    section = Section([layout.heading(look, "Dear shareholders", 2.0)])
    paragraphs = (
        f"{year} was {rng.choice(('a year of two halves', 'an uneven year', 'a steadier year than the last one'))} "
        f"for {company.full}. If I had to put what we learned into one line, it would be this: {theme}. "
        f"{rng.choice(events.REMARKS)}",
        f"Our trade, {company.trade}, rewards those who stay with it. The crews in "
        f"{', '.join(site.city for site in company.sites[:2])} and {company.sites[2].city} have shown it again, "
        f"and I thank every one of them. The pages that follow give the account in full.",
    )
    section.blocks.extend(layout.text(look, words) for words in paragraphs)
    section.blocks.append(layout.text(look, f"<b>{person}</b><br/>Chair of the board, {company.short}"))
    about: About = {"company": company.name, "person": person, "theme": theme, "what": "chair"}
    section.tell(
        rng, about, evidence=person, fixed=("what",), take=1,
        templates=("Who presides over the board of {company}?", "Who signed the message to the owners of {company}?"),
    )  # fmt: skip
    section.tell(
        rng, about, evidence=theme.written, fixed=("what",), take=1, kind="topic",
        templates=("Which company's chair wrote about {theme}?", "{company} chair on {theme}",
                   "What lesson did the head of the board of {company} draw from the year?"),
    )  # fmt: skip
    return section


def _cover(canvas: Canvas, look: layout.Theme, company: Company, year: int, title: str, style: str) -> None:
    width, height = layout.A4
    white = HexColor("#ffffff")
    kind = title.split(": ")[1].rsplit(" ", 1)[0]
    if style == "block":
        canvas.setFillColor(look.primary)
        canvas.rect(0, 0, width, height, stroke=0, fill=1)
        canvas.setFillColor(look.accent)
        canvas.rect(0, 0, width, 150, stroke=0, fill=1)
        draw_mark(canvas, company, 70, height - 230, 120, mono=white)
        ink = white
    elif style == "band":
        canvas.setFillColor(look.primary)
        canvas.rect(0, height * 0.42, width, height * 0.58, stroke=0, fill=1)
        canvas.setFillColor(look.accent)
        canvas.rect(0, height * 0.42 - 8, width, 8, stroke=0, fill=1)
        draw_mark(canvas, company, width - 250, height - 300, 190, mono=look.tint(0.75))
        ink = look.primary
    else:
        canvas.setStrokeColor(look.primary)
        canvas.setLineWidth(6)
        canvas.rect(36, 36, width - 72, height - 72, stroke=1, fill=0)
        draw_mark(canvas, company, 70, height - 240, 130)
        ink = look.primary
    canvas.setFillColor(ink)
    canvas.setFont(look.faces[1], 34)
    canvas.drawString(70, 290, company.full)
    canvas.setFont(look.faces[0], 24)
    canvas.drawString(70, 252, kind)
    canvas.setFont(look.faces[1], 64)
    canvas.drawString(68, 182, str(year))
    canvas.setFont(look.faces[0], 10)
    canvas.drawString(70, 70, f"A company of the {GROUP}")
