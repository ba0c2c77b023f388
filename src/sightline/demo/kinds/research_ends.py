"""The later sections of a research report: cost, field use, limits, advice, outlook, thanks, data, references."""

from __future__ import annotations

from reportlab.lib.enums import TA_JUSTIFY

from sightline.demo import charts, layout
from sightline.demo import study_words as words
from sightline.demo.facts import Section
from sightline.demo.kinds.research_parts import Brief


def archive(brief: Brief) -> Section:
    rng, world = brief.world.rng, brief.world
    keeper, years = world.person(), rng.randint(6, 30)
    section = brief.section("Data and specimens", (
        f"{keeper} keeps the raw data and the broken pieces for {years} years. {brief.remark(2)}"
    ))  # fmt: skip
    section.tell(
        rng, brief.about(keeper=keeper, what="archive"), evidence=keeper, fixed=("what",),
        templates=("Whom do I ask for the original measurements on {study}?",
                   ("How long are the files about {study} stored?", f"{years} years")),
    )  # fmt: skip
    return section


def cost(brief: Brief) -> Section:
    rng, study = brief.world.rng, brief.study
    section = brief.section("What it costs", f"Figure 2 compares the cost of one part. {brief.remark(2)}")
    key = "; ".join(f"{mark}: {variant.written}" for mark, variant in zip("ABC", study.variants))
    prices = [round(rng.uniform(0.4, 2.2) * (1 + 0.6 * place), 2) for place in range(3)]
    section.blocks.append(
        charts.bars(
            brief.look, brief.width - 20, ["A", "B", "C"], prices, show=lambda v: f"EUR {v:.2f}", accent=True
        )
    )
    section.blocks.append(
        layout.caption(brief.look, f"Figure 2. Cost per part at a thousand pieces a year. {key}.")
    )
    for variant, price in zip(study.variants, prices):
        section.tell(
            rng, brief.about(variant=variant, what="cost"), evidence=f"EUR {price:.2f}", kind="chart", fixed=("what",),
            templates=("How expensive is {variant} in the case of {study}?", "Price of a piece with {variant}"),
        )  # fmt: skip
    brief.across(section, "what now", "What it costs")
    return section


def field(brief: Brief) -> Section:
    rng = brief.world.rng
    [place] = brief.world.fresh("field", words.FIELDS)
    months, count = rng.randint(3, 30), rng.randint(2, 16)
    section = brief.section("In the field", (
        f"For {months} months {count} parts were in use at {place.written}. {brief.remark(3)}"
    ))  # fmt: skip
    section.tell(
        rng, brief.about(place=place, what="field"), evidence=place.written, fixed=("what",), take=2,
        templates=("Where was {study} observed in real use?", "What did they try out at {place} for {study}?",
                   ("How long did practical use last in the work on {study}?", f"{months} months"),
                   "Which study went on at {place}?"),
    )  # fmt: skip
    return section


def limits(brief: Brief) -> Section:
    rng = brief.world.rng
    found = brief.world.fresh("limit", words.LIMITS, 2)
    section = brief.section("Limits", (
        f"Two weaknesses should be kept in mind: {found[0].written}; and {found[1].written}. {brief.remark(3)}"
    ))  # fmt: skip
    section.tell(
        rng, brief.about(limit=found[0], what="limits"), evidence=found[0].written, fixed=("what",), take=2,
        templates=("How far can one trust the conclusions on {study}?", "Shortcomings of the work about {study}",
                   "Did the study of {study} suffer from {limit}?"),
    )  # fmt: skip
    brief.across(section, "why", "Limits")
    return section


def advice(brief: Brief) -> Section:
    rng = brief.world.rng
    advice = brief.world.fresh("advice", words.ADVICE, 2)
    section = brief.section("Recommendations", "On the strength of these findings we suggest to:")
    section.blocks.extend(layout.items(brief.look, [line.written for line in advice], numbered=True))
    section.blocks.append(layout.text(brief.look, brief.remark(2)))
    section.tell(
        rng,
        brief.about(advice=advice[0], what="advice"),
        evidence=advice[0].written,
        kind="procedure",
        fixed=("what",),
        take=2,
        templates=(
            "What should we do in practice about {study}?",
            "Lab's suggestions regarding {study}",
            "Should one {advice} because of {study}?",
        ),
    )
    brief.across(section, "what now", "Recommendations")
    return section


def next_step(brief: Brief) -> Section:
    rng = brief.world.rng
    [plan] = brief.world.fresh("next", words.NEXT)
    section = brief.section("Outlook", f"The next step is {plan.written}. {brief.remark(3)}")
    section.tell(
        rng, brief.about(plan=plan, what="outlook"), evidence=plan.written, fixed=("what",),
        templates=("What will the scientists do next about {study}?", "Is {plan} foreseen for {study}?",
                   "Follow-up work on {study}"),
    )  # fmt: skip
    brief.across(section, "what now", "Outlook")
    return section


def thanks(brief: Brief) -> Section:
    rng = brief.world.rng
    [funder] = brief.world.fresh("funder", words.FUNDERS)
    section = brief.section(
        "Acknowledgement", f"The work was paid for by {funder.written}. {brief.remark(2)}"
    )
    section.tell(
        rng, brief.about(funder=funder, what="funding"), evidence=funder.written, fixed=("what",), take=2,
        templates=("Who financed the research on {study}?", "Which study was sponsored by {funder}?",
                   "Money behind the investigation of {study}"),
    )  # fmt: skip
    return section


def references(brief: Brief) -> Section:
    rng = brief.world.rng
    section = Section([layout.heading(brief.look, "References", 1.2)])
    for number in range(1, 7):
        names = brief.world.rng.sample(
            ("Aas", "Brun", "Chandra", "Dietz", "Eide", "Fabre", "Goto", "Hill", "Ito"), 2
        )
        line = (
            f"[{number}] {names[0]}, {chr(rng.randint(65, 90))}., {names[1]}, {chr(rng.randint(65, 90))}.: "
            f"{rng.choice(words.JOURNALS)} {rng.randint(3, 88)} ({rng.randint(1988, 2019)}) {rng.randint(1, 900)}."
        )
        size = brief.look.size * 0.84
        section.blocks.append(
            layout.text(
                brief.look, line, fontSize=size, leading=size * 1.25, spaceAfter=2, alignment=TA_JUSTIFY
            )
        )
    return section
