"""Slides of words and tables; with those of `slide_charts` they make a project deck, one page each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sightline.demo import layout
from sightline.demo import project_words as words
from sightline.demo.facts import Section
from sightline.demo.house import DESKS
from sightline.demo.kinds.slide_brief import Brief, note
from sightline.demo.kinds.slide_charts import rivals, spending, timetable, voices
from sightline.demo.metrics import METRICS
from sightline.demo.terms import sentence


def reason(brief: Brief) -> Section:
    """Why the project exists, and what it wants."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    person = world.person()
    title = rng.choice(("Where we stand", "Why we are here", "The starting point"))
    section = brief.slide(title)
    larger = replace(look, size=look.size * 1.25)
    section.blocks.extend(layout.items(larger, [sentence(why.written) for why in brief.whys]))
    section.blocks.append(
        layout.boxed(
            look, [layout.text(larger, f"<b>What we want:</b> {brief.goal.written}")], brief.width - 60
        )
    )
    section.blocks.append(note(brief))
    section.blocks.append(layout.text(look, f"Sponsor: {person}, {rng.choice(brief.company.sites).city}"))
    for why in brief.whys:
        section.tell(
            rng, brief.about(why=why, goal=brief.goal, what="reason"), evidence=brief.goal.written, fixed=("what",),
            templates=("What is being done about {why} at {company}?", "Which project of {company} responds to {why}?",
                       "{company} initiative because of {why}"),
        )  # fmt: skip
    section.tell(
        rng, brief.about(goal=brief.goal, person=person, what="goal"), evidence=brief.goal.written, kind="topic",
        fixed=("what",), take=2,
        templates=("What is {project} meant to achieve?", "Which programme at {company} is about {goal}?",
                   ("Who backs {goal} at {company}?", person), "Background and purpose of {project}",
                   ("{company}: {goal}, who is the sponsor?", person)),
    )  # fmt: skip
    return section


def budget(brief: Brief) -> Section:
    """A table of planned and spent money per item."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    section = brief.slide(rng.choice(("The purse", "Money", "What it costs")))
    rows = [["Item", "Planned", "Spent", "Left"]]
    for item in world.some(words.ITEMS, 5):
        planned = rng.randint(12, 190) * 5
        spent = rng.randint(planned // 5, planned)
        rows.append([sentence(item.written), f"{planned}", f"{spent}", f"{planned - spent}"])
        templates = (
            "How much has {project} laid out for {item}?",
            "{project} expenses for {item}",
            "What sum was set aside in {project} for {item}?",
            ("Money left for {item} in {project}", str(planned - spent)),
        )
        section.tell(
            rng, brief.about(item=item, what="budget"), evidence=str(planned), kind="table", fixed=("what",),
            templates=templates if rng.random() < 0.7 else (),
        )  # fmt: skip
    width = brief.width
    section.blocks.append(
        layout.table(
            look,
            rows,
            [width * 0.49, *[width * 0.17] * 3],
            style="banded",
            right=(1, 2, 3),
            scale=1.15,
            pad=0.5,
        )
    )
    section.blocks.append(note(brief, "EUR thousand."))
    section.tell(
        rng, brief.about(what="budget"), evidence="EUR thousand", kind="table", fixed=("what",),
        templates=("Is {project} within its financial limits?", "Cost overview of {project}"),
    )  # fmt: skip
    brief.across(section, "sums", rows[1][1])
    return section


def obstacles(brief: Brief) -> Section:
    """What stands in the way, and the answer to it."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    section = brief.slide(rng.choice(("Reefs ahead", "Rocks and shoals", "What could stop us")))
    numbers = rng.sample(range(len(words.OBSTACLES)), 3)
    rows = [["Obstacle", "Way round it", "Owner"]]
    for number in numbers:
        obstacle, answer = words.OBSTACLES[number], words.ANSWERS[number]
        person = world.person()
        rows.append([sentence(obstacle.written), sentence(answer.written), person])
        sides = (
            (
                answer.written,
                ("How does {project} cope with {obstacle}?", "{project}: what about {obstacle}?"),
            ),
            (person, ("Who in {project} takes care of {obstacle}?",)),
            (
                obstacle.written,
                ("Why does {company} need {answer}?", "What problem does {answer} solve for {project}?"),
            ),
        )
        for evidence, templates in rng.sample(sides, 2):
            section.tell(
                rng, brief.about(obstacle=obstacle, answer=answer, person=person, what="obstacle"), evidence=evidence,
                kind="table", fixed=("what",), templates=templates,
            )  # fmt: skip
    width = brief.width
    section.blocks.append(
        layout.table(
            look, rows, [width * 0.36, width * 0.4, width * 0.24], style="rules", scale=1.15, pad=0.6
        )
    )
    section.blocks.append(note(brief))
    brief.across(section, "names", rows[1][2])
    return section


def targets(brief: Brief) -> Section:
    """Key figures now and at the goal, as large numbers in a table."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    section = brief.slide(rng.choice(("How we will know", "What will be different", "Marks to steer by")))
    rows = [["", "Today", "Goal"]]
    for metric in world.fresh("targets", METRICS, 3):
        now = round(rng.uniform(metric.low, metric.high), metric.digits)
        then = round(now * rng.choice((0.6, 0.7, 0.8, 1.2, 1.3)), metric.digits)
        rows.append([sentence(metric.name.written), metric.show(now), f"<b>{metric.show(then)}</b>"])
        section.tell(
            rng,
            brief.about(metric=metric.name, what="target"),
            evidence=metric.show(then),
            kind="table",
            fixed=("what",),
            take=2 if rng.random() < 0.4 else 1,
            templates=(
                "What does {project} aim for in terms of {metric}?",
                "{project} target {metric}",
                "How should {project} change {metric}?",
                "Where does {metric} have to be once {project} is finished?",
            ),
        )
    width = brief.width
    section.blocks.append(
        layout.table(look, rows, [width * 0.34, width * 0.33, width * 0.33], style="rules", scale=1.15)
    )
    section.blocks.append(note(brief))
    brief.across(section, "sums", rows[1][0])
    return section


def team(brief: Brief) -> Section:
    """Who takes part, from which department, with how much time."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    section = brief.slide(rng.choice(("All hands", "The crew", "Who does what")))
    rows = [["Name", "From", "Days a week"]]
    for desk in world.some(DESKS, 5):
        person, days = world.person(), rng.choice(("0.5", "1", "1.5", "2", "3", "4"))
        rows.append([person, desk.written, days])
        templates = (
            "Who represents {desk} in {project}?",
            "{project} member from {desk}",
            ("How many days a week does {desk} give to {project}?", days),
            ("Which department sent {person} into a project?", desk.written),
        )
        section.tell(
            rng, brief.about(desk=desk, person=person, what="team"), evidence=person, kind="table", fixed=("what",),
            templates=templates if rng.random() < 0.6 else (),
        )  # fmt: skip
    width = brief.width
    section.blocks.append(
        layout.table(
            look,
            rows,
            [width * 0.42, width * 0.34, width * 0.24],
            style="banded",
            right=(2,),
            scale=1.15,
            pad=0.5,
        )
    )
    section.tell(
        rng, brief.about(what="team"), evidence=rows[1][0], kind="topic", fixed=("what",),
        templates=("People involved in {project}", "Which departments take part in {project}?"),
    )  # fmt: skip
    brief.across(section, "names", rows[1][0])
    return section


def next_steps(brief: Brief) -> Section:
    """Tasks with owner and date."""
    rng, world, look = brief.world.rng, brief.world, brief.look
    section = brief.slide(rng.choice(("Decisions of today", "Next steps", "Orders for the watch")))
    rows = [["What", "Who", "By"]]
    for task in world.fresh("tasks", words.TASKS, 4):
        person, day = world.person(), world.day(brief.year)
        rows.append([sentence(task.written), person, day])
        templates = (
            ("Who has to {task} for {project}?", person),
            "By when must {project} {task}?",
            "{project}: deadline to {task}",
            ("What was {person} told to do?", sentence(task.written)),
        )
        section.tell(
            rng, brief.about(task=task, person=person, what="task"), evidence=f"{day}", kind="procedure",
            fixed=("what",), templates=templates if rng.random() < 0.75 else (),
        )  # fmt: skip
    width = brief.width
    section.blocks.append(
        layout.table(
            look, rows, [width * 0.46, width * 0.28, width * 0.26], style="rules", scale=1.15, pad=0.6
        )
    )
    section.blocks.append(note(brief))
    brief.across(section, "names", rows[1][1])
    brief.across(section, "dates", rows[1][2])
    return section


SLIDES: tuple[Callable[[Brief], Section], ...] = (
    timetable, budget, obstacles, voices, rivals, targets, team, next_steps, spending,
)  # fmt: skip
