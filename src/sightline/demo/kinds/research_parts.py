"""Sections of a research report."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.demo import charts, layout
from sightline.demo import study_words as words
from sightline.demo.facts import About, Section
from sightline.demo.house import DESKS
from sightline.demo.study_words import Study
from sightline.demo.terms import Term, sentence
from sightline.demo.world import World


@dataclass(frozen=True)
class Brief:
    """What all sections of a report share; ``curves`` are the results, one per variant; ``remarks`` are used up."""

    world: World
    look: layout.Theme
    study: Study
    width: float
    curves: tuple[tuple[float, ...], ...]
    remarks: list[str]

    def section(self, title: str, *paragraphs: str) -> Section:
        made = Section([layout.heading(self.look, title, 1.2)])
        made.blocks.extend(layout.text(self.look, words, firstLineIndent=0) for words in paragraphs)
        return made

    def about(self, **marks: Term | str) -> About:
        return {"study": self.study.subject, **marks}

    def across(self, section: Section, group: str, evidence: str) -> None:
        """State that the section is part of a wider subject, and ask about that subject as a whole."""
        section.tell(
            self.world.rng, self.about(group=group), evidence=evidence, kind="topic",
            fixed=("group",), templates=_GROUPS[group],
        )  # fmt: skip

    def remark(self, count: int = 2) -> str:
        return " ".join(self.remarks.pop() for _ in range(count))


_GROUPS = {
    "numbers": (
        "All measurements on {study}, graphs and tables",
        "Numerical outcome for {study} including scatter",
    ),
    "why": ("Explanations and reservations regarding {study}", "How solid is our understanding of {study}?"),
    "what now": (
        "Consequences of the work on {study}: advice, plans, price",
        "Conclusions for practice and further steps, {study}",
    ),
    "set-up": (
        "How was the work on {study} carried out, from samples to climate?",
        "Test set-up for {study}",
    ),
}


def abstract(brief: Brief) -> Section:
    rng, study = brief.world.rng, brief.study
    first, _, best = study.variants
    section = brief.section("Summary", (
        f"This report deals with {study.subject.written}. We compared three variants: "
        f"{', '.join(v.written for v in study.variants)}. The {study.measured.written} was followed against "
        f"{study.along}. {sentence(best.written)} did best; {first.written} did worst. {brief.remark(2)}"
    ))  # fmt: skip
    section.tell(
        rng,
        brief.about(best=best, what="summary"),
        evidence=sentence(best.written),
        kind="topic",
        fixed=("what",),
        take=2,
        templates=(
            "Research on {study}",
            "What has our lab found out about {study}?",
            "Study about {study}, main outcome",
            "Which option wins in the investigation of {study}?",
        ),
    )
    return section


def introduction(brief: Brief) -> Section:
    rng, study = brief.world.rng, brief.study
    [desk] = brief.world.some(DESKS, 1)
    asked = (
        f"The question came from the {desk.written} of one of our companies in {rng.randint(2014, 2017)}. "
        f"{brief.remark(3)}"
    )
    section = brief.section("Introduction", study.setting, asked)
    section.tell(
        rng,
        brief.about(desk=desk, what="motive"),
        evidence=desk.written,
        kind="topic",
        fixed=("what",),
        templates=(
            "Who asked the lab to look into {study}?",
            "Why does the group care about {study}?",
            "Which department wanted to know about {study}?",
        ),
    )
    return section


def specimens(brief: Brief) -> Section:
    rng, study = brief.world.rng, brief.study
    count, batch = rng.randint(4, 30) * 6, rng.choice(("two", "three", "four", "five"))
    section = brief.section("Specimens", (
        f"{count} specimens were made, {count // 3} of each variant, from {batch} batches. The reference was "
        f"{study.variants[0].written}. {brief.remark(3)}"
    ))  # fmt: skip
    section.tell(
        rng, brief.about(count=str(count), what="specimens"), evidence=str(count), fixed=("what",),
        templates=("How many pieces were examined in the work on {study}?", "Sample size, {study}",
                   ("What served as the baseline in the study of {study}?", study.variants[0].written)),
    )  # fmt: skip
    brief.across(section, "set-up", "Specimens")
    return section


def apparatus(brief: Brief) -> Section:
    rng = brief.world.rng
    [main, extra] = brief.world.fresh("instrument", words.INSTRUMENTS, 2)
    section = brief.section("Apparatus", (
        f"The main tool was {main.written}. Selected pieces were also examined with {extra.written}. {brief.remark(3)}"
    ))  # fmt: skip
    for tool in (main, extra):
        section.tell(
            rng, brief.about(tool=tool, what="apparatus"), evidence=tool.written, fixed=("what",),
            templates=("What equipment did they use to examine {study}?", "Was {tool} employed for {study}?",
                       "Measuring method for {study}", "Which investigation used {tool} on {study}?"),
        )  # fmt: skip
    brief.across(section, "set-up", "Apparatus")
    return section


def conditions(brief: Brief) -> Section:
    rng = brief.world.rng
    warm, damp, rate = rng.randint(-12, 38), rng.randint(20, 97), rng.randint(2, 60)
    section = brief.section("Conditions", (
        f"The air was kept at {warm} °C and {damp} % relative humidity. Readings were taken every {rate} minutes. "
        f"{brief.remark(3)}"
    ))  # fmt: skip
    section.tell(
        rng,
        brief.about(what="conditions"),
        evidence=f"{warm} °C",
        fixed=("what",),
        templates=(
            "At which temperature was {study} tested?",
            ("How damp was the room in the trial on {study}?", f"{damp} %"),
            "Climate during the experiment on {study}",
            ("How often were data recorded when studying {study}?", f"{rate} minutes"),
        ),
        take=2,
    )
    brief.across(section, "set-up", "Conditions")
    return section


def results(brief: Brief) -> Section:
    rng, study = brief.world.rng, brief.study
    section = brief.section("Results", (
        f"Figure 1 shows the {study.measured.written} of the three variants. {brief.remark(2)}"
    ))  # fmt: skip
    show = (lambda value: f"{value:.1f}") if study.high < 100 else (lambda value: f"{value:.0f}")
    names = [variant.written for variant in study.variants]
    marks = ["A", "B", "C"]
    section.blocks.append(
        charts.lines(
            brief.look,
            brief.width,
            170,
            study.ticks,
            brief.curves,
            marks,
            unit=study.unit,
            across=study.along,
            show=show,
        )
    )
    key = "; ".join(f"{mark}: {name}" for mark, name in zip(marks, names))
    section.blocks.append(
        layout.caption(
            brief.look, f"Figure 1. {sentence(study.measured.written)} against {study.along}. {key}."
        )
    )
    for variant, curve in zip(study.variants, brief.curves):
        section.tell(
            rng, brief.about(variant=variant, what="curve"), evidence=show(curve[-1]), kind="chart", fixed=("what",),
            templates=("What {measured} did {variant} reach at the end of the test on {study}?",
                       "Curve of {measured} for {variant}", "{study}: final value with {variant}"),
            say={"measured": study.measured},
        )  # fmt: skip
    section.tell(
        rng,
        brief.about(what="curve"),
        evidence="Figure 1",
        kind="chart",
        fixed=("what",),
        say={"measured": study.measured},
        templates=("Graph of {measured} for {study}", "How does {measured} change in the work on {study}?"),
    )
    brief.across(section, "numbers", "Results")
    return section


def spread(brief: Brief) -> Section:
    rng, study = brief.world.rng, brief.study
    section = brief.section("Spread", f"Table 1 gives scatter and failures. {brief.remark(2)}")
    rows = [["Variant", "Scatter", "Failed"]]
    for variant in study.variants:
        scatter, failed = rng.randint(2, 29), rng.randint(0, 9)
        rows.append([variant.written, f"± {scatter} %", str(failed)])
        section.tell(
            rng, brief.about(variant=variant, what="spread"), evidence=f"± {scatter} %", kind="table", fixed=("what",),
            templates=("How reproducible were the values for {variant} in {study}?",
                       ("How many samples with {variant} broke in {study}?", str(failed)),
                       "Deviation between pieces, {variant}, {study}"),
        )  # fmt: skip
    widths = [brief.width * share for share in (0.5, 0.26, 0.24)]
    section.blocks.append(layout.table(brief.look, rows, widths, right=(1, 2)))
    brief.across(section, "numbers", "Spread")
    return section


def first_effect(brief: Brief) -> Section:
    return _mechanism(brief, 0)


def second_effect(brief: Brief) -> Section:
    return _mechanism(brief, 1)


def _mechanism(brief: Brief, number: int) -> Section:
    rng, study = brief.world.rng, brief.study
    cause, share = study.mechanisms[number], rng.randint(12, 75)
    lead = (
        f"The sections point to {cause.written}. About {share} % of the change can be put down to it.",
        f"We found signs of {cause.written}, which accounts for some {share} % of the change.",
    )[number]
    section = brief.section(("What happens", "A second effect")[number], f"{lead} {brief.remark(3)}")
    section.tell(
        rng, brief.about(cause=cause, what="mechanism"), evidence=cause.written, fixed=("what",), take=2,
        templates=("What explains the findings on {study}?", "What part does {cause} play in {study}?",
                   "Does {cause} matter for {study}?", "Cause of the deterioration in {study}"),
    )  # fmt: skip
    brief.across(section, "why", cause.written)
    return section


def all_values(brief: Brief) -> Section:
    rng, study = brief.world.rng, brief.study
    section = brief.section(
        "All values", f"Table 2 lists the {study.measured.written} in {study.unit}. {brief.remark(1)}"
    )
    axis = study.along.split(" in ")[0]
    rows = [[sentence(axis), "A", "B", "C"]]
    digits = 1 if study.high < 100 else 0
    for place, tick in enumerate(study.ticks):
        rows.append([tick, *(f"{curve[place]:.{digits}f}" for curve in brief.curves)])
    for variant, curve in zip(study.variants, brief.curves):
        place = rng.randrange(1, 4)
        section.tell(
            rng,
            brief.about(variant=variant, tick=study.ticks[place], what="values"),
            evidence=f"{curve[place]:.{digits}f}",
            kind="table",
            fixed=("what", "variant", "tick"),
            templates=(
                "Reading for {variant} after {tick} in the trial on {study}",
                "{study}: which number belongs to {variant} at the mark of {tick}?",
            ),
        )
    widths = [brief.width * share for share in (0.46, 0.18, 0.18, 0.18)]
    section.blocks.append(layout.table(brief.look, rows, widths, right=(1, 2, 3)))
    key = "; ".join(f"{mark}: {variant.written}" for mark, variant in zip("ABC", study.variants))
    section.blocks.append(layout.caption(brief.look, f"Table 2. {key}."))
    brief.across(section, "numbers", "All values")
    return section
