"""What can be wrong with a question, its answers and its negatives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from sightline.documents.doctor.contents import Ask
from sightline.documents.doctor.examined import Examined
from sightline.documents.doctor.findings import Case, Drop


def check_questions(examined: Examined) -> Iterator[Case]:
    """Empty and repeated questions, answers that are missing, blank or not the only ones."""
    contents = examined.contents
    if not contents.asked:
        yield Case("no-questions", contents.subject, "there is nothing to train on or to measure with")
    for number, one in enumerate(contents.asked):
        drop = (Drop("question", number),)
        if one.query is not None and not one.query.strip():
            yield Case("empty-question", one.name, "it has no text", drop)
        elif not one.positives and not one.negatives:
            yield Case("missing-page", one.name, "no page that answers it is there", drop)
        elif one.positives and all(examined.is_blank(sheet) for sheet in one.positives):
            name = examined.sheets[one.positives[0]].name
            yield Case("blank-answer", one.name, f"{name} has nothing on it", drop)
    yield from _repeated(examined)
    yield from _answered_elsewhere(examined)


def _repeated(examined: Examined) -> Iterator[Case]:
    """Questions asked twice: of the same pages they count twice, of others each has an answer nobody names."""
    asked = examined.contents.asked
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, one in enumerate(asked):
        if one.query is not None and (text := spoken(one.query)):
            groups[one.side, text].append(number)
    for members in groups.values():
        if len(members) < 2:
            continue
        by_answer: dict[frozenset[str], list[int]] = defaultdict(list)
        for number in members:
            by_answer[answers(examined, asked[number])].append(number)
        if len(by_answer) == 1:
            for number in members[1:]:
                where = f"the same question as {asked[members[0]].name}"
                yield Case("duplicate-question", asked[number].name, where, (Drop("question", number),))
            continue
        known = examined.contents.table or all(asked[number].one_of_several for number in members)
        if known and asked[members[0]].side == examined.contents.train:
            continue  # a row has one answer, so what is trained on has several rows
        first, *others = (numbers[0] for numbers in by_answer.values())
        for number in members:
            other = first if number != first else others[0]
            message = f"asked of other pages by {asked[other].name}: {asked[number].query}"
            yield Case("several-answers", asked[number].name, message, (Drop("question", number),))


def _answered_elsewhere(examined: Examined) -> Iterator[Case]:
    """Questions whose page occurs again, as a page that is not named: found, it counts as wrong."""
    if examined.contents.table:
        return  # cells of equal content are one document
    sheets = examined.sheets
    for one in examined.contents.asked:
        for sheet in one.positives:
            twins = [
                twin for twin in examined.same.get(examined.keys[sheet], ()) if sheets[twin].side == one.side
            ]
            others = [twin for twin in twins if twin not in one.positives]
            if others:
                # The first that is asked about stays; the other copies go, and what is asked about them alone.
                kept = next(twin for twin in twins if twin in examined.answering)
                drops = tuple(Drop("sheet", twin) for twin in twins if twin != kept)
                message = f"{sheets[others[0]].name} is the same as {sheets[sheet].name}"
                yield Case("several-answers", one.name, message, drops)
                break
        else:
            yield from _similar(examined, one)


def _similar(examined: Examined, one: Ask) -> Iterator[Case]:
    for sheet in one.positives:
        for other in examined.near.get(examined.groups.of(sheet), ()):
            if other not in one.positives and examined.sheets[other].side == one.side:
                message = f"{examined.sheets[other].name} is nearly the same as {examined.sheets[sheet].name}"
                yield Case("similar-answer", one.name, message)
                return


def check_text(examined: Examined) -> Iterator[Case]:
    """Questions that a model which is shown text only cannot answer."""
    for number, one in enumerate(examined.contents.asked):
        if one.positives and not any(examined.sheets[sheet].text.strip() for sheet in one.positives):
            message = f"{examined.sheets[one.positives[0]].name} has no text, and pages are shown as text"
            yield Case("no-text", one.name, message, (Drop("question", number),))


def check_negatives(examined: Examined) -> Iterator[Case]:
    """Negatives that answer the question."""
    for number, one in enumerate(examined.contents.asked):
        right = answers(examined, one)
        like = {examined.groups.of(sheet) for sheet in one.positives}
        for place, sheet in enumerate(one.negatives):
            column = one.cells[place] if one.cells else ""
            where = f"{one.name}, column {column!r}" if column else one.name
            # Of a list one element cannot go alone.
            drops = (Drop("negative", number, sheet),) if column or not one.cells else ()
            name = examined.sheets[sheet].name
            if sheet in one.positives or (examined.keys[sheet] and examined.keys[sheet] in right):
                yield Case("negative-is-positive", where, f"{name} is a page that answers it", drops)
            elif examined.groups.of(sheet) in like:
                message = f"{name} is nearly the same as a page that answers it"
                yield Case("negative-like-positive", where, message, drops)


def answers(examined: Examined, one: Ask) -> frozenset[str]:
    """The content keys of what answers a question; unreadable pages stand for themselves."""
    return frozenset(examined.keys[sheet] or f"#{sheet}" for sheet in one.positives)


def spoken(query: str) -> str:
    """A question as it is compared with others: case, white space and the mark at its end aside."""
    return " ".join(query.casefold().split()).rstrip("?.! ")
