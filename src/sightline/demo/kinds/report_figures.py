"""Key figures in an annual report: their story, their chart, the table of five years, and questions across them."""

from __future__ import annotations

import random

from sightline.demo import charts, events, layout
from sightline.demo.facts import About, Section
from sightline.demo.metrics import Metric
from sightline.demo.terms import Term, sentence
from sightline.demo.world import Company, World

VALUE = (
    "What figure did {company} report for {metric} in {year}?",
    "{company} {metric} {year}",
    "How did {company} do in {year} as regards {metric}?",
    "I need a number for {metric} at {company}, year {year}",
    "{metric} in {year}: where did {company} stand?",
    "{company}, {year}: what were the numbers for {metric}?",
)
REASON = (
    "Why did {metric} change at {company}?",
    "What was behind the development of {metric} at {company}?",
    "What explains the movement in {metric} for {company}?",
)
BY_CAUSE = (
    "Which key figure of {company} was affected by {cause}?",
    "What did {cause} do to the results of {company}?",
    "{company}: effect of {cause}",
)
TREND = (
    "{company} {metric} over the last five years",
    "How has {metric} developed at {company}?",
    "Show me the trend of {metric} at {company}",
)
PEAK = (
    "In which year did {company} see {extreme} for {metric}?",
    "{company}: year with {extreme} for {metric}",
)
_OPENINGS = (
    "{name} {moved} to {value} in {year}, after {before} in the previous year.",
    "At the end of {year} {lower} stood at {value} ({last}: {before}).",
    "For {year} we report {value} under {lower}; a year earlier the entry read {before}.",
    "{name} {moved} from {before} to {value}.",
    "{name}: {value} in {year}, {before} twelve months earlier.",
)
_REASONS = (
    "Behind this lies above all {cause}.",
    "The largest single reason was {cause}.",
    "Most of the movement goes back to {cause}.",
    "{cause_up} made the difference.",
    "We attribute this to {cause}.",
)


# Figures that belong together, for questions that need several pages.
THEMES = {
    "people": ("muster", "lantern days", "crew drift", "squalls"),
    "environment": ("smoke line", "fresh draw", "lamp load", "salvage share"),
    "customers": ("gull index", "anchor share", "RBU"),
    "shareholders and lenders": ("pennant", "tow line", "keel ratio", "net catch"),
    "making and moving goods": ("bilge rate", "slack water", "berth days", "ferry cost"),
}
_ACROSS = {
    "people": (
        "What does {company} report about its people, from numbers to courses and resignations?",
        "{company} HR indicators",
    ),
    "environment": (
        "How green is {company}: emissions, water, power?",
        "Ecological footprint of {company}, all indicators",
    ),
    "customers": (
        "Do buyers like {company}? All indicators, please",
        "{company}: satisfaction, loyalty and complaints in numbers",
    ),
    "shareholders and lenders": (
        "What is there in {company}'s yearly accounts for owners and creditors?",
        "{company} profit, payout and borrowings",
    ),
    "making and moving goods": (
        "How well do production and logistics run at {company}?",
        "{company} operations indicators",
    ),
}


def theme_of(metric: Metric) -> str:
    """The theme a figure belongs to, or its own name."""
    return next(
        (theme for theme, names in THEMES.items() if metric.name.written in names), metric.name.written
    )


def across(section: Section, world: World, company: Company, metrics: list[Metric]) -> None:
    """Questions about a theme whose figures stand on several pages; asked from ``section``."""
    themes = {theme: metric for metric in metrics if (theme := theme_of(metric)) in THEMES}
    for theme in world.some(list(themes), 3):
        about: About = {"company": company.name, "theme": theme}
        shown = themes[theme].name.written
        section.tell(
            world.rng, about, evidence=shown, kind="topic", fixed=("theme",), templates=_ACROSS[theme], take=2
        )


def history(rng: random.Random, metric: Metric) -> list[float]:
    """Five yearly values inside the metric's range, no two equal as printed, the last two clearly apart."""
    while True:
        value = rng.uniform(metric.low * 1.25, metric.high * 0.8)
        values = [value]
        for _ in range(4):
            value = min(max(value * rng.uniform(0.82, 1.22), metric.low), metric.high)
            values.append(value)
        values = [round(value, metric.digits) for value in values]
        if len(set(values)) == 5 and abs(values[4] / values[3] - 1) > 0.03:
            return values


def story(
    rng: random.Random, metric: Metric, values: list[float], year: int, cause: Term, remarks: list[str]
) -> str:
    """Prose on a figure: both values, the reason, and remarks."""
    opening = rng.choice(_OPENINGS).format(
        name=sentence(metric.name.written),
        lower=metric.name.written,
        moved="rose" if values[4] > values[3] else "fell",
        value=metric.show(values[4]),
        before=metric.show(values[3]),
        year=year,
        last=year - 1,
    )
    why = rng.choice(_REASONS).format(cause=cause.written, cause_up=sentence(cause.written))
    return " ".join([sentence(opening), why, *remarks])


def figure(
    world: World, look: layout.Theme, company: Company, metric: Metric, year: int, width: float
) -> Section:
    """One key figure: text with the reason and, half of the time, a chart of five years."""
    rng = world.rng
    values = history(rng, metric)
    rising = values[4] > values[3]
    [cause] = world.fresh(metric.name.written, metric.ups if rising else metric.downs)
    remarks = rng.sample(events.FIGURE_REMARKS, 5)
    section = Section([layout.heading(look, sentence(metric.name.written))])
    about: About = {
        "company": company.name,
        "metric": metric.name,
        "year": str(year),
        "theme": theme_of(metric),
    }
    section.blocks.append(layout.text(look, story(rng, metric, values, year, cause, remarks[:3])))
    section.tell(rng, about, evidence=metric.number(values[4]), templates=VALUE)
    section.tell(
        rng, {"company": company.name, "metric": metric.name, "cause": cause},
        evidence=cause.written, templates=REASON if rng.random() < 0.5 else BY_CAUSE,
        fixed=("company",),
    )  # fmt: skip
    if rng.random() < 0.55:
        years = [str(year - 4 + step) for step in range(5)]
        unit = metric.measure
        made = charts.columns(look, width, 165, years, [values], unit=unit, show=metric.number)
        section.blocks.append(made)
        for past, value in zip(years[:-1], values):
            section.tell(
                rng, {**about, "year": past}, evidence=metric.number(value), kind="chart",
                templates=VALUE if rng.random() < 0.2 else (),
            )  # fmt: skip
        high = rng.random() < 0.5
        pick = max(values) if high else min(values)
        extreme = "the highest mark" if high else "the low point"
        section.tell(
            rng,
            {"company": company.name, "metric": metric.name, "shown": "trend"},
            evidence=years[values.index(pick)],
            kind="chart",
            templates=PEAK,
            fixed=("shown",),
            say={"extreme": extreme},
        )
    else:
        section.blocks.append(layout.text(look, " ".join(remarks[3:])))
    return section


def five_years(
    world: World, look: layout.Theme, company: Company, metrics: list[Metric], year: int, width: float
) -> Section:
    """A table of several figures over five years."""
    rng = world.rng
    years = [str(year - 4 + step) for step in range(5)]
    rows = [["", *years]]
    section = Section([layout.heading(look, "Five years at a glance")])
    for metric in metrics:
        values = history(rng, metric)
        unit = metric.measure
        rows.append([f"{sentence(metric.name.written)} ({unit})", *map(metric.number, values)])
        for past, value in zip(years, values):
            about: About = {
                "company": company.name,
                "metric": metric.name,
                "year": past,
                "theme": theme_of(metric),
            }
            chosen = VALUE if rng.random() < 0.24 else ()
            section.tell(rng, about, evidence=metric.number(value), kind="table", templates=chosen)
        section.tell(
            rng, {"company": company.name, "metric": metric.name, "shown": "trend"},
            evidence=metric.number(values[-1]), kind="topic", fixed=("shown",),
            templates=TREND if rng.random() < 0.5 else (),
        )  # fmt: skip
    style = rng.choice(("rules", "banded"))
    section.blocks.append(
        layout.table(look, rows, [width - 5 * 50, *[50] * 5], style=style, right=range(1, 6), scale=0.86)
    )
    return section
