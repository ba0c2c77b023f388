"""Sections of an annual report besides its figures: events, markets, risks, people, plans."""

from __future__ import annotations

import random

from sightline.demo import charts, events, layout
from sightline.demo.facts import About, Section
from sightline.demo.house import DESKS
from sightline.demo.terms import sentence
from sightline.demo.world import Company, Site, World


def event(world: World, look: layout.Theme, company: Company, site: Site, year: int) -> Section:
    """Something that happened at a works: what, why, how long, and what was done about it."""
    rng = world.rng
    plant = site.name_for(company)
    incident, cause, remedy = events.mishap(world, company)
    days, cost = rng.randint(2, 26), rng.randint(4, 96) * 10
    month = rng.choice(("January", "March", "May", "June", "September", "November"))
    openings = (
        f"In {month} {incident} brought part of the {plant} to a standstill for {days} days.",
        f"The {plant} lost {days} days of output in {month} because of {incident}.",
        f"{sentence(incident.written)} is what the {plant} will remember of {month}: {days} days were lost.",
    )
    middles = (
        f"The enquiry named {cause} as the root.",
        f"It began with {cause}, as the investigation showed.",
        f"Specialists found that {cause} had set it off.",
    )
    ends = (
        f"Since then there is {remedy}. The damage came to EUR {cost} thousand.",
        f"The bill was EUR {cost} thousand; the answer is {remedy}.",
        f"Damage of EUR {cost} thousand was insured. Part of the follow-up is {remedy}.",
    )
    words = " ".join(
        (rng.choice(openings), rng.choice(middles), rng.choice(ends), rng.choice(events.EVENT_REMARKS))
    )
    section = Section([layout.heading(look, f"From the {plant}"), layout.text(look, words)])
    about: About = {
        "plant": plant,
        "company": company.name,
        "incident": incident,
        "cause": cause,
        "remedy": remedy,
        "what": "event",
        "file": "report",
    }
    ask_event(section, rng, about, days=str(days), cost=str(cost))
    section.tell(
        rng, about, evidence=incident.written, kind="topic", fixed=("what", "file"),
        templates=("Which accidents and disruptions does the yearly report of {company} mention?",
                   "All mishaps of the year at {company} as told to shareholders",
                   "What went wrong in {company}'s factories according to its year-end publication?"),
    )  # fmt: skip
    return section


def ask_event(section: Section, rng: random.Random, about: About, *, days: str, cost: str) -> None:
    """Three questions about an incident, each from another side."""
    sides = [
        (
            str(about["cause"]),
            (
                "What led to {incident} at {plant}?",
                "Reason for {incident}, {plant}",
                "How could {incident} happen at {company}?",
            ),
        ),
        (
            str(about["remedy"]),
            (
                "What was changed at {plant} after {incident}?",
                "How does {company} make sure that {incident} does not happen again?",
            ),
        ),
        (
            days,
            (
                "How long was production interrupted by {incident} at {plant}?",
                "How many days did {company} lose through {incident}?",
            ),
        ),
        (cost, ("How much did {incident} cost {company}?", "Financial loss from {incident} at {plant}")),
        (
            str(about["incident"]),
            (
                "What went wrong at {company} because of {cause}?",
                "{plant}: trouble traced to {cause}",
                "Where in {company} did {cause} have consequences?",
            ),
        ),
    ]
    for evidence, templates in rng.sample(sides, 3):
        section.tell(rng, about, evidence=evidence, templates=templates, fixed=("what",))


def markets(world: World, look: layout.Theme, company: Company, year: int, width: float) -> Section:
    """Where sales come from: bars or a ring of market shares, or a table."""
    rng = world.rng
    regions = world.fresh("markets", events.MARKETS, 5)
    shares = _parts_of_hundred(rng, 5)
    order = sorted(range(5), key=lambda i: -shares[i])
    regions, shares = [regions[i] for i in order], [shares[i] for i in order]
    growth = [rng.choice([-1, 1]) * rng.randint(1, 19) for _ in regions]
    section = Section([layout.heading(look, "Where the cargo lands")])
    section.blocks.append(layout.text(look, (
        f"{company.short} sells {company.trade} in {rng.randint(19, 64)} countries. "
        f"The five largest areas of {year} are shown here. {rng.choice(events.REMARKS)}"
    )))  # fmt: skip
    form = rng.choice(("ring", "bars", "table"))
    names = [region.written for region in regions]
    if form == "ring":
        section.blocks.append(charts.ring(look, width, 118, names, shares, str(year)))
    elif form == "bars":
        section.blocks.append(charts.bars(look, width, names, shares, show=lambda value: f"{value:.0f} %"))
    else:
        rows = [["Area", "Share of cargo", "Change"]]
        rows += [[n, f"{s} %", f"{g:+d} %"] for n, s, g in zip(names, shares, growth)]
        section.blocks.append(
            layout.table(look, rows, [width * 0.5, width * 0.25, width * 0.25], right=(1, 2))
        )
    for place, (region, share) in enumerate(zip(regions, shares)):
        about: About = {"company": company.name, "region": region, "what": "sales share", "year": str(year)}
        templates = (
            "What part of its sales does {company} make in {region}?",
            "How important is {region} as an outlet for {company}?",
            "{company} business in {region}",
            "Percentage of turnover {company} gets from {region}",
        )
        kind = "table" if form == "table" else "chart"
        section.tell(
            rng,
            about,
            evidence=str(share),
            kind=kind,
            fixed=("what",),
            templates=templates if place < 3 else (),
        )
    section.tell(
        rng, {"company": company.name, "what": "sales by area"}, evidence=names[0], kind="chart", fixed=("what",),
        templates=("Which region is the biggest outlet for {company}?", "Geographic split of {company}'s sales"),
    )  # fmt: skip
    return section


def risks(world: World, look: layout.Theme, company: Company, width: float) -> Section:
    """A table of risks, each with what is done against it and who watches it."""
    rng = world.rng
    rows = [["Risk", "What we do about it", "Watched by"]]
    section = Section([layout.heading(look, "Weather warnings")])
    section.blocks.append(layout.text(look, (
        f"The board of {company.short} reviews its risks twice a year. Those below could cost more than "
        f"{rng.choice(('one', 'two', 'three', 'five'))} per cent of the yearly result. {rng.choice(events.REMARKS)}"
    )))  # fmt: skip
    for (risk, *answers), desk in zip(world.some(events.RISKS, 4), world.some(DESKS, 4)):
        answer = rng.choice(answers)
        rows.append([sentence(risk.written), sentence(answer.written), desk.written])
        about: About = {"company": company.name, "risk": risk, "answer": answer, "desk": desk, "what": "risk"}
        sides = [
            (answer.written, ("How does {company} protect itself against {risk}?",
                              "What has {company} done about {risk}?", "{company}: {risk}, countermeasure")),
            (desk.written, ("Which department of {company} keeps an eye on {risk}?",)),
            (risk.written, ("What danger is {answer} meant to limit at {company}?",
                            "What risks does {desk} look after at {company}?")),
        ]  # fmt: skip
        evidence, templates = rng.choice(sides)
        section.tell(
            rng, about, evidence=sentence(evidence), kind="table", templates=templates, fixed=("what",)
        )
    style = rng.choice(("rules", "banded", "grid"))
    section.blocks.append(layout.table(look, rows, [width * 0.34, width * 0.43, width * 0.23], style=style))
    return section


def people(world: World, look: layout.Theme, company: Company, width: float) -> Section:
    """Who leads which department."""
    rng = world.rng
    rows = [["Desk", "Head", "Since"]]
    section = Section([layout.heading(look, "At the helm")])
    section.blocks.append(layout.text(look, (
        f"The desks of {company.short} report to the managing board. {rng.choice(events.REMARKS)}"
    )))  # fmt: skip
    for desk in world.some(DESKS, 5):
        name, since = world.person(), rng.randint(2006, 2021)
        rows.append([desk.written, name, str(since)])
        about: About = {"company": company.name, "desk": desk, "person": name, "what": "head"}
        templates = (
            "Who runs {desk} at {company}?",
            "Head of {desk}, {company}",
            "Who is in charge of {desk} in {company}?",
            ("What does {person} do for a living?", desk.written),
            ("Since when has {person} been in office?", str(since)),
        )
        section.tell(
            rng,
            about,
            evidence=name,
            kind="table",
            fixed=("what",),
            templates=templates if rng.random() < 0.6 else (),
        )
    section.blocks.append(layout.table(look, rows, [width * 0.32, width * 0.42, width * 0.26]))
    return section


def plans(world: World, look: layout.Theme, company: Company, year: int) -> Section:
    """What the coming year brings: three projects with place, date and budget."""
    rng = world.rng
    section = Section([layout.heading(look, f"On the chart for {year + 1}")])
    lines = []
    for plan, site in zip(
        world.fresh(f"plans {company.short}", events.PLANS, 3), world.some(company.sites, 3)
    ):
        plant, budget = site.name_for(company), rng.randint(3, 98) / 10
        when = rng.choice(("in spring", "by midsummer", "in autumn", "before the year is out"))
        lines.append(f"{sentence(plan.written)} at the {plant}, {when}; budget EUR {budget} million.")
        about: About = {"company": company.name, "plan": plan, "plant": plant, "what": "plan"}
        templates = (
            "Does {company} intend to have {plan}?", "How much will {company} spend on {plan}?",
            "When and where does {company} want {plan}?", ("What is planned next at {plant}?", plan.written),
        )  # fmt: skip
        section.tell(rng, about, evidence=f"{budget} million", templates=templates, fixed=("what",))
    section.blocks.append(layout.text(look, f"{rng.choice(events.REMARKS)} Three projects lead the list:"))
    section.blocks.extend(layout.items(look, lines))
    return section


def _parts_of_hundred(rng: random.Random, count: int) -> list[int]:
    """``count`` different whole numbers, at least 4, that add up to 100."""
    while True:
        cuts = sorted(rng.sample(range(4, 97), count - 1))
        parts = [high - low for low, high in zip([0, *cuts], [*cuts, 100])]
        if min(parts) >= 4 and len(set(parts)) == count:
            return parts
