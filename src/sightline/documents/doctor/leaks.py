"""What training would see of the questions it is measured with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from sightline.documents.doctor.contents import Ask
from sightline.documents.doctor.examined import Examined
from sightline.documents.doctor.findings import Case, Drop
from sightline.documents.doctor.question_checks import answers, spoken


def check_leaks(examined: Examined) -> Iterator[Case]:
    """Questions of other splits that training sees: their pages, or pages nearly the same, or their words.

    A page counts where both a training question and a held-out one are answered by it. A page that both splits
    have, but that no held-out question asks for, does no harm.
    """
    contents = examined.contents
    trained = [(number, one) for number, one in enumerate(contents.asked) if one.side == contents.train]
    held_out = [one for one in contents.asked if one.side != contents.train]
    if not trained or not held_out:
        return
    by_key: dict[str, list[int]] = defaultdict(list)
    by_group: dict[int, list[int]] = defaultdict(list)
    by_words: dict[str, list[int]] = defaultdict(list)
    for number, one in trained:
        for key in answers(examined, one):
            by_key[key].append(number)
        for sheet in one.positives:
            by_group[examined.groups.of(sheet)].append(number)
        if one.query is not None:
            by_words[spoken(one.query)].append(number)
    for one in held_out:
        yield from _leak(examined, one, by_key, by_group, by_words)


def _leak(
    examined: Examined,
    one: Ask,
    by_key: Mapping[str, list[int]],
    by_group: Mapping[int, list[int]],
    by_words: Mapping[str, list[int]],
) -> Iterator[Case]:
    asked = examined.contents.asked
    same = sorted({number for key in answers(examined, one) for number in by_key.get(key, ())})
    if same:
        message = f"its page answers {asked[same[0]].name} of {asked[same[0]].side!r}"
        yield Case("leak", one.name, message, _drops(same))
        return
    groups = {examined.groups.of(sheet) for sheet in one.positives}
    near = sorted({number for group in groups for number in by_group.get(group, ())})
    if near:
        first = asked[near[0]]
        page = examined.sheets[first.positives[0]].name
        yield Case("near-leak", one.name, f"its page is nearly {page}, which is trained on", _drops(near))
    elif one.query is not None and (words := spoken(one.query)) in by_words and words:
        # The same words about another page are no leak of an answer, but of a question.
        first = asked[by_words[words][0]]
        yield Case("near-leak", one.name, f"{first.name} asks the same in training", _drops(by_words[words]))


def _drops(numbers: list[int]) -> tuple[Drop, ...]:
    """The training questions go: what is measured stays what it was."""
    return tuple(Drop("question", number) for number in numbers)
