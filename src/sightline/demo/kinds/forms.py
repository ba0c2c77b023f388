"""Form files: the filled-in forms of one works in one quarter, one form to a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reportlab.pdfgen.canvas import Canvas

from sightline.demo import events, layout
from sightline.demo import paperwork_words as words
from sightline.demo.facts import About, Ledger, Section
from sightline.demo.house import DESKS, FLAGS, GROUP
from sightline.demo.kinds.form_sheet import Field, draw_form
from sightline.demo.marks import draw_mark
from sightline.demo.terms import Term, sentence
from sightline.demo.world import Company, Site, World


@dataclass(frozen=True)
class Brief:
    """What all forms of a file share."""

    world: World
    look: layout.Theme
    company: Company
    plant: Term
    year: int
    width: float
    month: int
    desks: tuple[Term, ...]

    def about(self, **marks: Term | str) -> About:
        return {"plant": self.plant, "company": self.company.name, "file": "forms", **marks}

    def day(self) -> str:
        return self.world.day(self.year, self.month + self.world.rng.randint(0, 2))

    def form(self, title: str, fields: list[Field], ticks: tuple[str, ...], signed: str) -> Section:
        """A page with the form laid out in rows of boxes, tick boxes and a signature."""
        rng = self.world.rng
        number = f"{rng.randint(100, 999)}/{self.year % 100}"
        fields = [*fields, Field("Remarks", rng.choice(words.NOTES), 1.0)]
        chosen = rng.randrange(len(ticks))
        seed = rng.randrange(10**6)
        picture = layout.Picture(
            self.width, 384,
            lambda canvas, wide, high: draw_form(
                canvas, self.look, (title, number), fields, (ticks, chosen), signed, seed, (wide, high)
            ),
        )  # fmt: skip
        return Section([picture], full_page=True)


def build(
    world: World, ledger: Ledger, path: Path, document: str, company: Company, site: Site
) -> tuple[str, int]:
    """Write the form file of a works; its title and number of pages."""
    rng = world.rng
    year, quarter = rng.randint(2019, 2024), rng.randint(1, 4)
    look = layout.theme(company.colour, company.accent, layout.SANS, 10)
    width, height = layout.SHEET
    plant = site.name_for(company)
    title = f"Form file, {company.short} {plant.written}, quarter {quarter} of {year}"

    def furniture(canvas: Canvas, page: int) -> None:
        draw_mark(canvas, company, 48, height - 62, 34)
        canvas.setFillColor(look.primary)
        canvas.setFont("Helvetica-Bold", 13)
        canvas.drawString(92, height - 42, company.full)
        canvas.setFont("Helvetica", 9)
        canvas.setFillColor(layout.GREY)
        canvas.drawString(92, height - 56, f"{plant.written}  |  {GROUP}")
        canvas.drawString(48, 24, title)
        canvas.drawRightString(width - 48, 24, f"Sheet {page + 1}")

    flow = layout.Flow(
        path, document, ledger, size=layout.SHEET, furniture=furniture, title=title,
        columns=[(48, 46, width - 96, height - 46 - 76)],
    )  # fmt: skip
    brief = Brief(world, look, company, plant, year, width - 96, 3 * quarter - 2, tuple(world.some(DESKS, 4)))
    makers = rng.sample(FORMS, len(FORMS)) + rng.sample(FORMS, 1)
    sheets = [make(brief) for make in makers[: rng.choice((8, 9))]]
    for sheet in sheets:
        _whose(sheet, brief)
    flow.add_all(sheets)
    return title, flow.close()


def _whose(sheet: Section, brief: Brief) -> None:
    """A question about all sheets that concern the same desk."""
    marks = dict(sheet.facts[0])
    desk = next((desk for desk in brief.desks if desk.written == marks.get("desk")), None)
    if desk is not None:
        templates = (
            "Which sheets of {plant} involve {desk}?", "Paperwork for {desk} at {plant}",
            "All slips of {plant} that {desk} received or paid for",
        )  # fmt: skip
        sheet.tell(
            brief.world.rng,
            brief.about(desk=desk),
            evidence=desk.written,
            kind="topic",
            fixed=("file",),
            templates=templates,
        )


def _logbook(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    incident, cause, remedy = events.mishap(world, brief.company)
    person, days, cost, desk = world.person(), rng.randint(1, 9), rng.randint(2, 60), rng.choice(brief.desks)
    section = brief.form("Logbook entry", [
        Field("Date", brief.day(), 0.35), Field("Reported by", person, 0.65),
        Field("What happened", sentence(incident.written), 1.0), Field("Root", sentence(cause.written), 1.0),
        Field("What we do so that it does not come again", sentence(remedy.written), 1.0),
        Field("Days lost", str(days), 0.3), Field("Damage, EUR thousand", str(cost), 0.3),
        Field("Copy to", desk.written, 0.4),
    ], ("nobody hurt", "first aid", "doctor"), person)  # fmt: skip
    sides = (
        (cause.written, ("What caused {incident} at {plant}?", "Reason for {incident} in {company}")),
        (remedy.written, ("What is done at {plant} so that {incident} is not repeated?",)),
        (person, ("Who reported {incident} at {plant}?",)),
        (
            incident.written,
            ("What happened at {plant} owing to {cause}?", "{company}: {cause} had consequences, which?"),
        ),
        (str(days), ("How long did {incident} hold up {plant}?",)),
    )
    for evidence, templates in rng.sample(sides, 4):
        section.tell(
            rng, brief.about(incident=incident, cause=cause, remedy=remedy, person=person, desk=desk, what="event"),
            evidence=sentence(evidence), templates=templates, fixed=("what",),
        )  # fmt: skip
    return section


def _change(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    [(change, why)] = world.fresh("change", words.CHANGES)
    person, chief, desk, flag = world.person(), world.person(), rng.choice(brief.desks), rng.choice(FLAGS)
    section = brief.form("Course change slip", [
        Field("Date", brief.day(), 0.35), Field("Proposed by", person, 0.65),
        Field("What should be different", change.written, 1.0), Field("Why", why.written, 1.0),
        Field("Goes to", desk.written, 0.5), Field("Urgency", flag.written, 0.5),
        Field("Decided by", chief, 0.6), Field("Cost, EUR", f"{rng.randint(2, 90) * 50:,}", 0.4),
    ], ("granted", "granted with conditions", "refused"), chief)  # fmt: skip
    about = brief.about(change=change, why=why, desk=desk, flag=flag, person=person, what="change")
    _ask(section, brief, about, (
        (person, ("Who suggested {change} at {plant}?", "Employee idea at {company}: {change}")),
        (why.written, ("Why does {plant} want {change}?", "Reason given at {company} for {change}")),
        (change.written, ("What was proposed at {company} because of {why}?", "{plant}: remedy for {why}")),
        (desk.written, ("Which department deals with {change} at {company}?",)),
        (flag.written, ("How urgent is {change} at {plant}?",)),
    ))  # fmt: skip
    return section


def _hot_work(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    [work] = world.fresh("work", words.WORKS)
    person, watch, chief = world.person(), world.person(), world.person()
    start, hours = rng.randint(6, 14), rng.randint(2, 8)
    section = brief.form("Hot ticket", [
        Field("Valid on", brief.day(), 0.5), Field("From - to", f"{start}:00 - {start + hours}:00", 0.5),
        Field("Job", work.written, 1.0), Field("Carried out by", person, 0.5), Field("Fire watch", watch, 0.5),
        Field("Watch stays after the end, minutes", str(rng.choice((30, 60, 90, 120))), 0.5),
        Field("Issued by", chief, 0.5),
    ], ("sprinklers off", "sprinklers on", "no sprinklers"), chief)  # fmt: skip
    about = brief.about(work=work, person=person, watch=watch, what="hot work")
    _ask(section, brief, about, (
        (chief, ("Who authorised {work} at {plant}?", "Fire permit for {work}, {company}")),
        (watch, ("Who stood by against fire during {work} at {plant}?",)),
        (f"{start}:00", ("When was {work} allowed at {plant}?", "Time slot for {work} at {company}")),
        (person, ("Who did {work} at {company}?",)),
    ))  # fmt: skip
    return section


def _flotsam(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    [article] = world.fresh("article", words.ARTICLES)
    person, count, value = world.person(), rng.randint(30, 4000), rng.randint(3, 260) * 100
    desk = rng.choice(brief.desks)
    section = brief.form(
        "Flotsam note",
        [
            Field("Date", brief.day(), 0.4),
            Field("Store keeper", person, 0.6),
            Field("Article", sentence(article.written), 1.0),
            Field("Pieces", f"{count:,}", 0.33),
            Field("Book value, EUR", f"{value:,}", 0.34),
            Field("Not moved since", str(brief.year - rng.randint(3, 11)), 0.33),
            Field("Checked by", desk.written, 0.5),
            Field("Approved by", world.person(), 0.5),
        ],
        ("scrap", "give to schools", "sell by weight"),
        person,
    )
    about = brief.about(article=article, person=person, desk=desk, what="obsolete")
    _ask(
        section,
        brief,
        about,
        (
            (
                f"{value:,}",
                (
                    "What amount was written off for {article} at {plant}?",
                    "Value of unsold {article}, {company}",
                ),
            ),
            (
                f"{count:,}",
                ("How many {article} lay about at {plant}?", "Obsolete stock at {company}: {article}"),
            ),
            (person, ("Who in the warehouse of {plant} reported {article} as dead stock?",)),
        ),
    )
    return section


def _journey(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    [journey], vehicle, person = (
        world.fresh("journey", words.JOURNEYS),
        rng.choice(words.VEHICLES),
        world.person(),
    )
    nights, cost, desk = rng.randint(1, 12), rng.randint(180, 4900), rng.choice(brief.desks)
    section = brief.form(
        "Shore leave claim",
        [
            Field("Name", person, 0.6),
            Field("Desk", desk.written, 0.4),
            Field("Where and what for", journey.written, 1.0),
            Field("Begun", brief.day(), 0.5),
            Field("Nights", str(nights), 0.5),
            Field("Means of travel", vehicle.written, 0.5),
            Field("Total, EUR", f"{cost:,}", 0.5),
        ],
        ("receipts attached", "receipts lost", "advance paid"),
        person,
    )
    about = brief.about(journey=journey, person=person, desk=desk, what="journey")
    _ask(
        section,
        brief,
        about,
        (
            (
                f"{cost:,}",
                (
                    "How much was spent on the trip of {company} to {journey}?",
                    "Travel expenses: {journey}, {plant}",
                ),
            ),
            (
                person,
                (
                    "Who from {plant} went to {journey}?",
                    "Which colleague of {company} travelled for {journey}?",
                ),
            ),
            (vehicle.written, ("How did the traveller from {company} get to {journey}?",)),
        ),
    )
    return section


def _supplier(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    [supplier], finding, auditor = (
        world.fresh("supplier", words.SUPPLIERS),
        rng.choice(words.FINDINGS),
        world.person(),
    )
    score, desk = rng.randint(48, 97), rng.choice(brief.desks)
    section = brief.form("Sounding sheet", [
        Field("Vendor", supplier, 0.6), Field("Date", brief.day(), 0.4), Field("Led by", auditor, 0.6),
        Field("Desk", desk.written, 0.4), Field("Worst finding", sentence(finding.written), 1.0),
        Field("Points of 100", str(score), 0.3), Field("To be mended by", world.day(brief.year + 1), 0.7),
    ], ("released", "released for a year", "blocked"), auditor)  # fmt: skip
    about = brief.about(supplier=supplier, finding=finding, person=auditor, desk=desk, what="audit")
    _ask(section, brief, about, (
        (finding.written, ("What was criticised when {plant} inspected {supplier}?", "Weakness of vendor {supplier}")),
        (str(score), ("How well did {supplier} do in the assessment by {company}?", "Vendor rating of {supplier}")),
        (supplier, ("At which vendor did {company} come across {finding}?",)),
        (auditor, ("Who from {company} examined {supplier}?",)),
    ))  # fmt: skip
    return section


def _hold(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    [defect], verdict, person = (
        world.fresh("defect", words.DEFECTS),
        rng.choice(words.VERDICTS),
        world.person(),
    )
    count, order = rng.randint(1, 240), f"{rng.randint(10000, 99999)}"
    section = brief.form("Quarantine tag", [
        Field("Order", order, 0.35), Field("Found by", person, 0.65), Field("Defect", sentence(defect.written), 1.0),
        Field("Pieces", str(count), 0.35), Field("Verdict", sentence(verdict.written), 0.65),
        Field("Date", brief.day(), 0.5), Field("Cost borne by", rng.choice(("vendor", "works", "carrier")), 0.5),
    ], ("before packing", "at goods-in", "sent back by customer"), person)  # fmt: skip
    about = brief.about(defect=defect, verdict=verdict, person=person, what="defect")
    _ask(
        section,
        brief,
        about,
        (
            (
                sentence(verdict.written),
                (
                    "What was decided about goods with {defect} at {plant}?",
                    "{company}: fate of parts with {defect}",
                ),
            ),
            (str(count), ("How many items had {defect} at {plant}?",)),
            (person, ("Who noticed {defect} at {company}?", "Quality problem at {plant}: {defect}")),
            (sentence(defect.written), ("Which flaw led to {verdict} at {plant}?",)),
        ),
    )
    return section


def _kit(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    [kit], person, desk, flag = (
        world.fresh("kit", words.KIT),
        world.person(),
        rng.choice(brief.desks),
        rng.choice(FLAGS),
    )
    price, grant = rng.randint(30, 1900), world.person()
    section = brief.form(
        "Stores request",
        [
            Field("Name", person, 0.6),
            Field("Date", brief.day(), 0.4),
            Field("Item", sentence(kit.written), 1.0),
            Field("Price, EUR", f"{price:,}", 0.3),
            Field("Paid by", desk.written, 0.35),
            Field("Urgency", flag.written, 0.35),
            Field("Handed out by", grant, 1.0),
        ],
        ("new", "replacement", "on loan"),
        person,
    )
    about = brief.about(kit=kit, person=person, desk=desk, flag=flag, what="kit")
    _ask(section, brief, about, (
        (person, ("Who asked for {kit} at {plant}?", "{company} colleague who needed {kit}")),
        (f"{price:,}", ("What does {kit} for {plant} cost?",)),
        (desk.written, ("Which department pays for {kit} at {company}?", "Whose budget covers {kit}, {plant}?")),
        (flag.written, ("How pressing was the wish for {kit} at {plant}?",)),
    ))  # fmt: skip
    return section


def _ask(
    section: Section,
    brief: Brief,
    about: About,
    sides: tuple[tuple[str, tuple[str, ...]], ...],
) -> None:
    """Questions from three or more sides of a form, each with its own evidence."""
    rng = brief.world.rng
    for evidence, templates in rng.sample(sides, min(len(sides), 4)):
        section.tell(rng, about, evidence=evidence, templates=templates, fixed=("what",))


FORMS: tuple[Callable[[Brief], Section], ...] = (
    _logbook, _change, _hot_work, _flotsam, _journey, _supplier, _hold, _kit,
)  # fmt: skip
