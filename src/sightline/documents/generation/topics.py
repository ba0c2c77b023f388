"""What an English sentence is about, as a searcher would type it: its noun phrases with what hangs on them.

There is no tagger here. A phrase is a run of content words and the small words that join nouns ("quality of air in
schools"); verbs and everything else end it. Verbs are known by a list of those that are hardly ever nouns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sightline.documents.generation.phrases import Terms
from sightline.documents.generation.words import STOP_WORDS, content_words, word_set

MAX_WORDS = 10
_TOKEN = re.compile(r"[^\W_]+(?:['’.&/-][^\W_]+)*")
# What may stand between the words of one phrase.
_JOINT = re.compile(r"\s+")
_LINKS = word_set(
    "of in for on the a an with by from at between and among under over per within during against"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_BASES = word_set(
    """achieve adopt advise affect agree allow announce apply argue arise ask assess attend begin believe belong bring
    buy call choose come comply conduct confirm consider consist contain continue convene cover create decide define
    deliver demonstrate depend derive describe deserve determine develop differ disclose discuss disrupt elevate emerge
    employ enable encourage enhance ensure enter establish evaluate examine exceed execute exist expand expect explain
    explore extend facilitate fail feel finalize find follow foster gain generate get give go govern grow hamper happen
    help hold identify illustrate imagine implement imply improve include incorporate indicate inform introduce invite
    involve join keep know lack lead learn leave let leverage lie live lose maintain make manage mean mention monitor
    move need note observe obtain occur offer operate oversee participate pay perform permit persist prefer prepare
    prevent proceed produce promote propose protect prove provide publish pursue put reach read realize receive
    recognize recommend reduce refer reflect regard reinforce rely remain remove replace represent require resolve
    respond retain retrieve reveal run say see seek seem select sell send serve show simplify solve speak spend
    strengthen succeed suffer suggest take teach tell tend think transmit try turn undergo understand undertake unveil
    utilize vary wait want warn weaken win worry write accelerate maximize sustain aim attain avoid collect combine
    compare complete conclude contribute convert cope correspond describe encounter enjoy experience extract focus
    inspire invest investigate match meet modify outperform overcome possess predict press prohibit recover redefine
    restart resume rise satisfy tap touch transfer"""
)
_IRREGULAR = word_set(
    """began fell rose met lost stood sat drew drove broke ate woke threw chose struck swept
    brought bought came chose done found gave given gone got grew grown held kept knew known led made meant
    paid proven ran said saw seen sent shown sought sold spent spoke taken taught told took understood undertaken went
    won wrote written including according based compared related regarding concerning"""
)


_BEFORE_VERBS = word_set("to will would can could should must may might not cannot does did do who let lets")


def _forms(base: str) -> Iterator[str]:
    yield base
    stem = base[:-1] if base.endswith("e") else base
    if base.endswith("y") and base[-2] not in "aeiou":
        yield from (f"{base[:-1]}ies", f"{base[:-1]}ied")
    else:
        yield from (f"{base}es" if base.endswith(("s", "sh", "ch", "x", "o")) else f"{base}s", f"{stem}ed")


VERBS = _IRREGULAR | {form for base in _BASES for form in _forms(base)}
# At the edge of a phrase these are what is left of a clause.
_LOOSE = word_set(
    """also further likely able due least most many several various certain such same other new following next last
    first second third already always often usually currently recently particularly especially significantly"""
)


def topics(sentence: str, terms: Terms) -> list[tuple[str, float]]:
    """The phrases of a sentence with the sum of their words' idf, in its order; each has two content words or more.

    Args:
        sentence: English, its first word written as inside a sentence.
        terms: how rare words are.
    """
    found = []
    for run in _runs(sentence):
        words = _trimmed(run)
        phrase = " ".join(words)
        own = set(content_words(phrase, "en"))
        if 2 <= len(words) <= MAX_WORDS and len(own) >= 2 and any(len(word) > 3 for word in own):
            found.append((phrase, sum(terms.idf(word) for word in own)))
    return found


def _runs(sentence: str) -> Iterator[list[str]]:
    run: list[str] = []
    end, before = 0, ""
    for match in _TOKEN.finditer(sentence):
        token = match.group()
        joined = _JOINT.fullmatch(sentence[end : match.start()]) is not None
        if run and not joined:
            yield run
            run = []
        # Behind "to" or "will" stands a verb, in whatever form a list has it or not.
        a_verb = joined and before.casefold() in _BEFORE_VERBS and token.casefold() not in _LINKS
        if _belongs(token) and not a_verb:
            # No noun stands right before an article: "launched the programme", "clean the filter".
            if run and run[-1].casefold() not in _LINKS and token.casefold() in ("the", "a", "an"):
                yield run[:-1]
                run = []
            run.append(token)
        elif run:
            yield run
            run = []
        end, before = match.end(), token
    if run:
        yield run


def _belongs(token: str) -> bool:
    plain = token.casefold()
    if plain in _LINKS:
        return True
    if plain in STOP_WORDS["en"] or plain in VERBS:
        return False
    digits = sum(character.isdigit() for character in token)
    return (
        not digits
        or bool(_YEAR.fullmatch(token))
        or (digits <= 2 and len(token) <= 8 and not token.isdigit())
    )


def _trimmed(run: list[str]) -> list[str]:
    words = list(run)
    while words and (words[0].casefold() in _LINKS | _LOOSE or words[0].endswith("ly") or len(words[0]) == 1):
        words.pop(0)
    if len(words) > 1 and words[0].endswith("ed") and words[1].casefold() in _LINKS:
        words = _trimmed(words[1:])
    while words and (
        words[-1].casefold() in _LINKS | _LOOSE
        or words[-1].endswith("ly")
        or _YEAR.fullmatch(words[-1]) is not None
    ):
        words.pop()
    return words
