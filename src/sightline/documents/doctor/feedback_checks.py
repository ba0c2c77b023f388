"""What the doctor tells of questions that come from feedback."""

from __future__ import annotations

from collections.abc import Iterator

from sightline.documents.dataset import Dataset
from sightline.documents.doctor.findings import Case
from sightline.documents.feedback_facts import FEEDBACK_FACTS, read_feedback_facts
from sightline.documents.records import FEEDBACK


def check_feedback(dataset: Dataset) -> Iterator[Case]:
    """How many there are and on what evidence, where people disagreed, and what is not in the dataset any more."""
    asked = [question for question in dataset.all_questions if question.origin == FEEDBACK]
    facts = read_feedback_facts(dataset.root)
    if not asked and facts is None:
        return
    marked = sum(question.extra.get("evidence") == "marks" for question in asked)
    negatives = sum(len(question.negatives) for question in asked)
    held = sum(question.split != "train" for question in asked)
    yield Case(
        "feedback",
        str(dataset.root),
        f"{len(asked):,} questions, {marked:,} by marks and {len(asked) - marked:,} by clicks alone; {held:,} held "
        f"out; {negatives:,} negatives",
    )
    for question in asked:
        if count := question.extra.get("contradictions"):
            message = f"people, or their marks and clicks, disagree about {count} of its pages"
            yield Case("feedback-contradiction", question.id, message)
    yield from _elsewhere(dataset)
    if facts is None:
        return
    if count := facts.get("gone_count"):
        example = next(iter(facts.get("gone", ())), "")
        yield Case("feedback-gone", FEEDBACK_FACTS, f"{count} right pages, {example}")
    lost = facts.get("questions", 0) - len(asked)
    if lost > 0:
        message = f"{lost} questions went when their documents changed or left"
        yield Case("feedback-gone", FEEDBACK_FACTS, message)


def _elsewhere(dataset: Dataset) -> Iterator[Case]:
    """Negatives that training passes over."""
    splits = {page.page_id: item.split for item in dataset.documents for page in item.pages}
    for question in dataset.all_questions:
        for name in question.negatives:
            if name not in splits:
                yield Case("negative-passed-over", question.id, f"{name} is not in the dataset")
            elif splits[name] != question.split:
                yield Case("negative-passed-over", question.id, f"{name} belongs to '{splits[name]}'")
