"""What the slides of a deck share: the facts of the project, the title, the speaker's note."""

from __future__ import annotations

from dataclasses import dataclass

from reportlab.platypus import Table

from sightline.demo import layout
from sightline.demo.facts import About, Section
from sightline.demo.terms import Term
from sightline.demo.world import Company, World


@dataclass(frozen=True)
class Brief:
    """What all slides of a deck share."""

    world: World
    look: layout.Theme
    company: Company
    project: Term
    goal: Term
    whys: tuple[Term, ...]
    year: int
    width: float

    def slide(self, title: str) -> Section:
        """An empty slide with its title."""
        made = Section(full_page=True)
        made.blocks.append(layout.heading(self.look, title, 1.75, spaceAfter=12))
        return made

    def about(self, **marks: Term | str) -> About:
        return {"project": self.project, "company": self.company.name, **marks}

    def across(self, section: Section, group: str, evidence: str) -> None:
        """State that the slide is part of a wider subject, and ask about that subject as a whole."""
        section.tell(
            self.world.rng, self.about(group=group), evidence=evidence, kind="topic", fixed=("group",),
            templates=_GROUPS[group],
        )  # fmt: skip


_GROUPS = {
    "names": ("Everybody with a role in {project}, whatever it is", "Whom could I call about {project}?"),
    "dates": ("All dates that matter in {project}", "When is what due in {project}?"),
    "outside": (
        "How do outsiders see {company} according to {project}?",
        "Opinion research and competition in {project}",
    ),
    "sums": ("{project} in numbers: money, aims, hours", "Quantities planned in {project}, all of them"),
}


def note(brief: Brief, words: str = "") -> Table:
    """A panel with what the speaker adds."""
    remarks = " ".join(brief.world.rng.sample(_REMARKS, 2))
    size = brief.look.size * 0.88
    said = layout.text(brief.look, f"{words} {remarks}".strip(), fontSize=size, leading=size * 1.35)
    return layout.boxed(brief.look, [said], brief.width - 40, accent=brief.world.rng.random() < 0.5)


_REMARKS = (
    "The steering committee has seen these numbers.",
    "Open points are marked in the project room.",
    "Nothing here is final before the next meeting.",
    "The works council has been informed.",
    "Details are in the appendix of the minutes.",
    "This page was last updated on the eve of the meeting.",
    "Questions go to the project office, please.",
    "We are on course and expect no change.",
    "Three of us have doubts; they are on record.",
    "What we saw in the halls confirms it.",
    "A second opinion has been asked for.",
    "We come back to this in four weeks.",
    "Please keep this page inside the group.",
    "The earlier version, shown in the workshop, is out of date.",
    "Thanks to everyone who supplied numbers at short notice.",
    "We suggest taking note without discussion.",
)
