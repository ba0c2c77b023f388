"""Slides with a picture: schedule, survey, comparison with a rival, shares of the work."""

from __future__ import annotations

from sightline.demo import charts
from sightline.demo import project_words as words
from sightline.demo.facts import Section
from sightline.demo.house import STAGES
from sightline.demo.kinds.slide_brief import Brief, note
from sightline.demo.terms import Term, sentence
from sightline.demo.world import MONTHS


def timetable(brief: Brief) -> Section:
    """A Gantt chart of five stages."""
    rng, world = brief.world.rng, brief.world
    section = brief.slide(rng.choice(("Course and speed", "Timetable", "The passage plan")))
    stages = world.some(STAGES, 5)
    ticks = [month[:3] for month in MONTHS]
    rows, start = [], rng.randint(0, 1)
    for stage in stages:
        length = rng.randint(1, 3)
        rows.append((sentence(stage.written), start, length, who := world.person().split()[1]))
        month = MONTHS[start]
        templates = (
            "When does {stage} begin in {project}?", "Which month is reserved for {stage} in {project}?",
            "{project} {stage} date", ("Who is responsible for {stage} in {project}?", who),
        )  # fmt: skip
        section.tell(
            rng, brief.about(stage=stage, month=month, what="schedule"), evidence=ticks[start], kind="chart",
            fixed=("what",), templates=templates if rng.random() < 0.75 else (),
        )  # fmt: skip
        start = min(start + max(1, length - rng.randint(0, 1)), 9)
    section.blocks.append(note(brief, f"All dates {brief.year}."))
    section.blocks.append(charts.schedule(brief.look, brief.width, rows, ticks, 34))
    section.tell(
        rng, brief.about(what="schedule"), evidence=sentence(stages[0].written), kind="chart", fixed=("what",),
        templates=("What are the phases of {project}?", "Calendar of {project}", "{project} milestones"),
    )  # fmt: skip
    brief.across(section, "dates", sentence(stages[0].written))
    return section


def voices(brief: Brief) -> Section:
    """A survey among customers or staff: horizontal bars."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    customers = rng.random() < 0.5
    pool = words.COMPLAINTS if customers else words.WISHES
    who = "customers" if customers else "colleagues"
    found = world.fresh(f"voices {customers}", pool, 5)
    shares = sorted(rng.sample(range(8, 64), 5), reverse=True)
    asked = rng.randint(90, 880)
    section = brief.slide(f"What {asked} {who} told us")
    names = [sentence(item.written) for item in found]
    section.blocks.append(
        charts.bars(
            look,
            brief.width - 20,
            names,
            shares,
            show=lambda v: f"{v:.0f} %",
            pitch=38,
            accent=rng.random() < 0.5,
        )
    )
    section.blocks.append(note(brief, "Several answers possible."))
    term = Term(who, ("buyers", "clients") if customers else ("employees", "staff"))
    for item, share in zip(found, shares):
        templates = (
            "What share of the {who} of {company} mentioned {item}?", "How many {who} at {company} care about {item}?",
            "{company} {who} survey: {item}",
        )  # fmt: skip
        section.tell(
            rng, brief.about(item=item, who=term, what="survey"), evidence=f"{share} %", kind="chart",
            fixed=("what",), templates=templates if rng.random() < 0.5 else (),
        )  # fmt: skip
    if customers:
        wordings = (
            "What annoys {who} of {company} most?",
            "Main grievance of {who} in the poll for {project}",
        )
    else:
        wordings = (
            "What do the {who} of {company} want most?",
            "Top request of {who} in the poll for {project}",
        )
    section.tell(
        rng,
        brief.about(who=term, what="survey"),
        evidence=names[0],
        kind="chart",
        fixed=("what",),
        templates=wordings,
    )
    brief.across(section, "outside", names[0])
    return section


def rivals(brief: Brief) -> Section:
    """Grades of the company and a rival on several qualities, as grouped columns."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    [rival] = world.fresh("rival", words.RIVALS)
    found = world.some(words.QUALITIES, 4)
    ours, theirs = ([rng.randint(21, 94) / 10 for _ in found] for _ in range(2))
    section = brief.slide(f"Side by side with {rival}")
    section.blocks.append(
        charts.columns(
            look,
            brief.width,
            220,
            [item.written for item in found],
            [ours, theirs],
            unit="grade",
            names=[brief.company.short, rival],
            show=lambda value: f"{value:.1f}",
        )
    )
    section.blocks.append(note(brief, "Grades from 0 to 10 by an independent institute."))
    for item, grade in zip(found, ours):
        templates = (
            "How does {company} compare with {rival} for {quality}?", "{rival} against {company}: {quality}",
            "Which mark did {company} get for {quality} next to {rival}?",
        )  # fmt: skip
        section.tell(
            rng, brief.about(quality=item, rival=rival, what="comparison"), evidence=f"{grade:.1f}", kind="chart",
            fixed=("what",), templates=templates if rng.random() < 0.7 else (),
        )  # fmt: skip
    section.tell(
        rng, brief.about(what="comparison"), evidence=rival, kind="topic", fixed=("what",),
        templates=("Benchmark of {company} against a competitor", "With whom did {project} compare {company}?"),
    )  # fmt: skip
    brief.across(section, "outside", rival)
    return section


def spending(brief: Brief) -> Section:
    """A ring: how the work is shared among plants."""
    rng, look = brief.world.rng, brief.look
    cuts = sorted(rng.sample(range(15, 85, 3), 2))
    shares = [cuts[0], cuts[1] - cuts[0], 100 - cuts[1]]
    section = brief.slide(rng.choice(("Who carries the load", "Shares of the work", "Three works, one crew")))
    plants = [site.name_for(brief.company) for site in brief.company.sites]
    section.blocks.append(
        charts.ring(look, brief.width, 210, [p.written for p in plants], shares, str(brief.year))
    )
    section.blocks.append(note(brief, "Share of working hours."))
    for plant, share in zip(plants, shares):
        section.tell(
            rng,
            brief.about(plant=plant, what="share of work"),
            evidence=f"{share} %",
            kind="chart",
            fixed=("what", "project"),
            templates=(
                "How much of the effort for {project} falls to {plant}?",
                "{project}: contribution of {plant}",
            ),
        )
    brief.across(section, "sums", f"{shares[0]} %")
    return section
