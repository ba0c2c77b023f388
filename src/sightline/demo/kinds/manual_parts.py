"""Sections of a technical manual."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from sightline.demo import layout, schematics
from sightline.demo import machine_words as words
from sightline.demo.facts import About, Section
from sightline.demo.house import WATCH_HOURS, WRENCHES
from sightline.demo.terms import Term, sentence
from sightline.demo.world import Product, World


@dataclass(frozen=True)
class Brief:
    """What all sections of a manual share."""

    world: World
    look: layout.Theme
    product: Product
    width: float

    def section(self, title: str, words: str = "") -> Section:
        made = Section([layout.heading(self.look, title, 1.4)])
        if words:
            made.blocks.append(layout.text(self.look, words))
        return made

    def about(self, **marks: Term | str) -> About:
        return {"product": self.product.term, **marks}

    def across(self, section: Section, group: str, title: str) -> None:
        """State that the section is part of a wider subject, and ask about that subject as a whole."""
        section.tell(
            self.world.rng, self.about(group=group), evidence=title, kind="topic", fixed=("group",),
            templates=_GROUPS[group],
        )  # fmt: skip


_GROUPS = {
    "upkeep": (
        "Everything on looking after {product}: intervals, cleaning, adjusting",
        "Care of {product}, complete",
        "What work does {product} need during its life?",
    ),
    "signals": (
        "How does {product} tell me its condition?",
        "All signs {product} gives, lights and codes",
        "Reading the lights and the display of {product}",
    ),
    "mechanics": (
        "Disassembling {product} and bolting it together again",
        "Mechanical work on {product}: sequence and tightening",
    ),
    "trouble": (
        "{product} is out of order: where do I look?",
        "{product} repair, faults and part numbers",
        "Repairing {product} myself: finding the fault and buying the part",
    ),
}
_LEADS = (
    "Read this part before touching the {machine}.",
    "What is said here holds for all versions of the {name}.",
    "The {machine} may be used only as described.",
    "Owners keep this page near the {name}.",
    "In case of doubt the works will help; have the type plate at hand.",
    "Settings made at the works must not be changed without need.",
    "Local rules may ask for more than this handbook does.",
    "Pictures may differ in detail from the {machine} delivered.",
    "Words in the house style of the group are used throughout.",
    "Entries are made in the logbook that comes with the {name}.",
)


def _lead(brief: Brief, count: int = 2) -> str:
    names = {"machine": brief.product.machine.written, "name": brief.product.name}
    return " ".join(line.format(**names) for line in brief.world.rng.sample(_LEADS, count))


def hazards(brief: Brief) -> Section:
    """Dangers and duties in warning boxes."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("For your safety", _lead(brief))
    for hazard, duty in brief.world.some(words.HAZARDS, 4):
        said = layout.text(look, f"<b>{hazard.written}.</b> {duty.written}.", spaceAfter=2)
        section.blocks.append(layout.boxed(look, [said], brief.width - 4, accent=True))
        templates = (
            "What must I do about {hazard} on {product}?", "{product} safety: {hazard}",
            ("{duty} for {product}", duty.written), "How do I guard against {hazard} when using {product}?",
        )  # fmt: skip
        section.tell(
            rng, brief.about(hazard=hazard, duty=duty, what="hazard"), evidence=duty.written, fixed=("what",),
            templates=templates, kind="procedure",
        )  # fmt: skip
    return section


def data(brief: Brief) -> Section:
    """The table of technical data."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("Technical data", _lead(brief, 1))
    rows = [["", brief.product.name]]
    for attribute in brief.world.some(words.ATTRIBUTES, 9):
        value = attribute.value(rng, brief.product.bulk)
        rows.append([attribute.name.written, value])
        templates = (
            "What is the {attribute} of {product}?"
            if " is" not in str(attribute.name.asked)
            else "{product}: {attribute}",
            "{product} {attribute}",
            "I am looking for {attribute}, {product}",
            "{attribute} given for {product}",
            "Specification of {product}: {attribute}",
        )
        section.tell(
            rng, brief.about(attribute=attribute.name, what="data"), evidence=value, kind="table", fixed=("what",),
            templates=templates if rng.random() < 0.62 else (),
        )  # fmt: skip
    style = rng.choice(("rules", "banded", "grid"))
    section.blocks.append(layout.table(look, rows, [brief.width * 0.5, brief.width * 0.5], style=style))
    return section


def drawing(brief: Brief) -> Section:
    """The machine in outline with numbered parts and their legend."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("Where things are", _lead(brief, 1))
    parts = brief.world.some(words.PARTS, 8)
    section.blocks.append(
        schematics.outline(look, brief.width, 230, brief.product.shape, 8, hash_of(brief.product.name))
    )
    rows = [["No.", "Part", "No.", "Part"]]
    for row in range(4):
        rows.append([str(row + 1), parts[row].written, str(row + 5), parts[row + 4].written])
    widths = [brief.width * share for share in (0.08, 0.42, 0.08, 0.42)]
    section.blocks.append(layout.table(look, rows, widths, style="rules"))
    for number, part in enumerate(parts, start=1):
        templates = (
            "Where do I find the {part} of {product}?", "Which number marks the {part} in the picture of {product}?",
            "Location of the {part}, {product}", "Show me the {part} on {product}",
        )  # fmt: skip
        section.tell(
            rng, brief.about(part=part, what="position"), evidence=str(number), kind="figure", fixed=("what",),
            templates=templates if rng.random() < 0.55 else (),
        )  # fmt: skip
    return section


def dismantling(brief: Brief) -> Section:
    """A diagram of the order in which parts come off."""
    rng, look = brief.world.rng, brief.look
    parts = brief.world.some(words.PARTS, 8)
    section = brief.section(
        "Order of taking apart", f"Follow the arrows; put together in reverse. {_lead(brief, 1)}"
    )
    names = [part.written for part in parts]
    section.blocks.append(
        schematics.chain(look, brief.width, names, "start at the top left", hash_of(brief.product.name))
    )
    for first, second in rng.sample(list(pairwise(parts)), 3):
        templates = (
            "Which piece of {product} is removed right after the {before}?",
            "Next step once the {before} of {product} is off",
            ("What must come off {product} just ahead of the {after}?", first.written),
        )
        section.tell(
            rng, brief.about(before=first, after=second, what="dismantling"), evidence=second.written,
            kind="figure", fixed=("what",), templates=templates,
        )  # fmt: skip
    section.tell(
        rng, brief.about(what="dismantling"), evidence=names[0], kind="figure", fixed=("what",),
        templates=("In what sequence do I disassemble {product}?", "{product} disassembly diagram"),
    )  # fmt: skip
    brief.across(section, "mechanics", "Order of taking apart")
    return section


def hash_of(name: str) -> int:
    """A number that depends on the name alone (``hash`` differs between runs)."""
    return sum((place + 1) * ord(letter) for place, letter in enumerate(name))


def torques(brief: Brief) -> Section:
    """Tightening moments."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("Moments for the wrench", _lead(brief, 1))
    rows = [["Joint", "Thread", "Moment"]]
    for joint in brief.world.some(words.FASTENERS, 5):
        value = f"{rng.randint(2, 190)} Nm"
        rows.append([sentence(joint.written), rng.choice(("M5", "M6", "M8", "M10", "M12", "M16")), value])
        templates = (
            "How tight is the correct setting on {product} for: {joint}?", "Torque for the {joint}, {product}",
            "Tightening force, {product}: {joint}",
        )  # fmt: skip
        section.tell(
            rng, brief.about(joint=joint, what="torque"), evidence=value, kind="table", fixed=("what",),
            templates=templates if rng.random() < 0.7 else (),
        )  # fmt: skip
    section.blocks.append(
        layout.table(look, rows, [brief.width * share for share in (0.5, 0.25, 0.25)], right=(2,))
    )
    brief.across(section, "mechanics", "Moments for the wrench")
    return section


def service(brief: Brief) -> Section:
    """The service plan: job, interval in watches, and who may do it."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("Service plan", f"One watch is {WATCH_HOURS} hours of running. {_lead(brief, 1)}")
    rows = [["Job", "Every", "By"]]
    for job in brief.world.some(words.JOBS, 6):
        watches, wrench = rng.choice((1, 2, 3, 4, 6, 8, 12, 16, 24)), rng.choice(WRENCHES)
        every = f"{watches} watch{'es' if watches > 1 else ''}"
        rows.append([sentence(job.written), every, wrench.written])
        templates = (
            "How often do I have to {job} on {product}?", "{product} interval: {job}",
            ("Who is allowed to {job} on {product}?", wrench.written),
            "After how many running hours must one {job}, {product}?",
        )  # fmt: skip
        section.tell(
            rng, brief.about(job=job, wrench=wrench, what="service"), evidence=every, kind="table", fixed=("what",),
            templates=templates if rng.random() < 0.75 else (),
        )  # fmt: skip
    section.tell(
        rng, brief.about(wrench=WRENCHES[2], what="service"), evidence=WRENCHES[2].written, kind="topic",
        fixed=("what", "wrench"),
        templates=("Which jobs on {product} are for {wrench}?",) if "red wrench" in str(rows) else (),
    )  # fmt: skip
    section.blocks.append(
        layout.table(look, rows, [brief.width * share for share in (0.54, 0.22, 0.24)], style="banded")
    )
    brief.across(section, "upkeep", "Service plan")
    return section


def faults(brief: Brief) -> Section:
    """Symptom, probable cause, remedy."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("When something is wrong", _lead(brief, 1))
    rows = [["What you notice", "Probable cause", "What helps"]]
    for symptom, cause, remedy in brief.world.some(words.FAULTS, 5):
        rows.append([symptom.written, cause.written, remedy.written])
        templates = (
            "{product}, {symptom}: what can I do?", "My machine is a {machine} and the trouble is {symptom}",
            ("Reason for {symptom}, {product}", cause.written),
            ("How do I recognise {cause} on {product}?", symptom.written), "{product} troubleshooting {symptom}",
        )  # fmt: skip
        # The machine named by what it is identifies the product: each is the only one of its sort.
        section.tell(
            rng, brief.about(symptom=symptom, cause=cause, remedy=remedy, what="fault"), evidence=remedy.written,
            kind="procedure", fixed=("what", "product"), templates=templates, say={"machine": brief.product.machine},
            take=2 if rng.random() < 0.25 else 1,
        )  # fmt: skip
    section.blocks.append(
        layout.table(look, rows, [brief.width * share for share in (0.32, 0.32, 0.36)], style="grid")
    )
    brief.across(section, "trouble", "When something is wrong")
    return section


def messages(brief: Brief) -> Section:
    """Codes on the display, what they mean and what the machine does."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("Messages on the panel", _lead(brief, 1))
    rows = [["Code", "Meaning", "The machine"]]
    letter = rng.choice("EFHKU")
    for number, message in zip(sorted(rng.sample(range(1, 60), 5)), brief.world.some(words.MESSAGES, 5)):
        code, reaction = f"{letter}{number:02d}", rng.choice(words.REACTIONS)
        rows.append([code, message.written, reaction.written])
        templates = (
            "What does code {code} mean on {product}?", ("Which code does {product} show for {message}?", code),
            ("How does {product} react to {message}?", reaction.written), ("{product} error {message}", code),
            ("What happens to {product} in the event of {message}?", reaction.written),
        )  # fmt: skip
        section.tell(
            rng, brief.about(code=code, message=message, what="message"), evidence=message.written, kind="table",
            fixed=("what",), templates=templates if rng.random() < 0.8 else (),
        )  # fmt: skip
    section.blocks.append(
        layout.table(look, rows, [brief.width * share for share in (0.14, 0.4, 0.46)], style="banded")
    )
    brief.across(section, "signals", "Messages on the panel")
    return section


def lamps(brief: Brief) -> Section:
    """What the lamp says."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("What the lamp says", _lead(brief, 1))
    rows = [["Lamp", "State"]]
    unused = brief.world.some(words.LAMPS, len(words.LAMPS))
    for state, colours in brief.world.some(words.STATES, 6):
        lamp = next((lamp for lamp in unused if any(colour in lamp.written for colour in colours)), None)
        if lamp is None:
            continue
        unused.remove(lamp)
        rows.append([lamp.written, state.written])
        templates = (
            "What is the meaning of the light on {product}: {lamp}?", "{product} indicator {lamp}",
            ("Which colour of light tells me {product} is {state}?", lamp.written),
        )  # fmt: skip
        section.tell(
            rng, brief.about(lamp=lamp, state=state, what="lamp"), evidence=state.written, kind="table",
            fixed=("what",), templates=templates if rng.random() < 0.6 else (),
        )  # fmt: skip
    section.blocks.append(layout.table(look, rows, [brief.width * 0.45, brief.width * 0.55], style="rules"))
    brief.across(section, "signals", "What the lamp says")
    return section


def spares(brief: Brief) -> Section:
    """Order numbers of spare parts."""
    rng, look = brief.world.rng, brief.look
    section = brief.section("Parts to order", _lead(brief, 1))
    rows = [["Part", "Order number", "EUR"]]
    for spare in brief.world.some(words.SPARES, 6):
        number, price = f"{rng.randint(100, 999)} {rng.randint(100, 999)}", rng.randint(9, 480)
        rows.append([sentence(spare.written), number, str(price)])
        templates = (
            "Order number of the {spare} for {product}", ("What does a {spare} for {product} cost?", str(price)),
            "I want to buy a {spare}, {product}",
        )  # fmt: skip
        section.tell(
            rng, brief.about(spare=spare, what="spare"), evidence=number, kind="table", fixed=("what",),
            templates=templates if rng.random() < 0.5 else (),
        )  # fmt: skip
    section.blocks.append(
        layout.table(look, rows, [brief.width * share for share in (0.5, 0.3, 0.2)], right=(2,))
    )
    brief.across(section, "trouble", "Parts to order")
    return section


def procedure(brief: Brief, task: words.Task) -> Section:
    """Numbered steps for one task."""
    rng, look = brief.world.rng, brief.look
    name, steps = task.name, task.steps
    count = rng.randint(task.low, task.high)
    section = brief.section(name.written, _lead(brief, rng.choice((1, 2))))
    lines = [step.format(n=count) for step in steps]
    section.blocks.extend(layout.items(look, lines, numbered=True))
    section.tell(
        rng,
        brief.about(task=name, what="procedure"),
        evidence=next(line for line in lines if str(count) in line),
        kind="procedure",
        fixed=("what",),
        take=2,
        templates=(
            "Steps for {task}, {product}",
            "What is the procedure for {task} with {product}?",
            "{product} {task}",
            "Instructions on {task} for {product}",
        ),
    )
    if name.written.startswith(("Wash-down", "Sounding", "Lay-up")):
        brief.across(section, "upkeep", name.written)
    return section
