"""English sentences turned into the questions they answer, where their form makes that safe.

Few forms are covered, each by its own rule; what no rule fits is asked for by its words instead (see
`sightline.documents.generation.phrases.key_phrases`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sightline.documents.generation.topics import VERBS
from sightline.documents.generation.words import content_words, word_set

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = rf"(?:{_MONTH} )?(?:\d{{1,2}}, )?(?:19|20)\d\d"
_ABOUT = (
    r"(?:about|around|nearly|almost|roughly|approximately|only|just|more than|less than|over|under|some"
    r"|an estimated|a) "
)
_AMOUNT = (
    r"(?P<amount>(?:US)?[$€£]?\d[\d,.]*\d?(?: ?(?:%|percent|percentage points|thousand|million|billion|trillion))?"
    r"(?: (?:dollars|euros|people|employees|pages|hours|days|years|months|miles|meters|feet|gallons))?)"
)
_SUBJECT = r"(?P<subject>[A-Z0-9][^,;:()]{2,80}?)"
# Verbs that say what a share of people or things does.
_SHARE_VERB = (
    r"(?P<verb>(?:now |also |still |strongly |generally )?(?:are|is|were|was|have|has|had|say|says|said|think|thinks"
    r"|believe|believes|use|used|own|owns|support|favor|favour|oppose|view|see|agree|disagree|expect|want|feel"
    r"|consider|prefer|live|trust|report|reported|do|did|would|can|could|hold|approve|disapprove|describe|rate|name|cite"
    r"|identify|go|get|watch|read|visit|work|rely|know|plan|need|come|make|take|spend|access|participate|received|completed))"
)
_SHARE = re.compile(
    rf"\b(?:{_ABOUT})?\d{{1,3}}(?:\.\d+)?(?:%| percent) of (?P<who>[^,;:.()0-9–—]{{3,80}}?) {_SHARE_VERB}"
    r" (?P<rest>[^,;:.()0-9%–—]{5,120}?)(?P<end>[,;.(]| [–—])"
)
_WAS_AMOUNT = re.compile(rf"^{_SUBJECT} (?P<verb>is|was|are|were) (?:{_ABOUT})?{_AMOUNT}(?P<rest>[ .,;(].*)$")
_DID_AMOUNT = re.compile(
    rf"^{_SUBJECT} (?P<verb>totaled|totalled|reached|amounted to|rose to|increased to|fell to|decreased to|declined to"
    rf"|grew to|dropped to|averaged|exceeded) (?:{_ABOUT})?{_AMOUNT}(?P<rest>[ .,;(].*)$"
)
_BASE = {
    "totaled": "total",
    "totalled": "total",
    "reached": "reach",
    "amounted to": "amount to",
    "rose to": "rise to",
    "increased to": "increase to",
    "fell to": "fall to",
    "decreased to": "decrease to",
    "declined to": "decline to",
    "grew to": "grow to",
    "dropped to": "drop to",
    "averaged": "average",
    "exceeded": "exceed",
}
_WHEN = re.compile(rf"\b(?P<when>(?:in|during|for|by|as of) (?:fiscal years? |FY ?)?{_DATE})")
_HAPPENED = re.compile(
    rf"^{_SUBJECT} (?P<verb>was|were) (?P<done>(?:first |originally |formally |officially )?(?:\w{{2,}}ed|built"
    rf"|founded|born|held|written|won|begun|set up|made)) (?P<rest>[^,;:.()]{{0,60}}?)(?:in|on) {_DATE}\b"
)
_STEP = re.compile(
    r"^(?:To|If you want to|In order to) (?P<what>[a-z][^,;:.()]{5,80}),"
    r" (?:please |first |simply |just )?(?P<do>[a-z]+)\b"
)
_BECAUSE = re.compile(
    rf"^{_SUBJECT} (?P<verb>is|are|was|were|can|cannot|could|should|must|may|might|will|would)"
    r" (?P<rest>[^;:()]{5,110}?),? (?:because|due to|so that|in order to) "
)
_DEFINED = re.compile(
    r"^(?P<subject>(?:An? |The )?[A-Z0-9][\w’'-]*(?: [\w’'&-]+){0,5}?(?: \([A-Z]{2,8}\))?)"
    r" (?P<verb>is|are|refers? to|means?) (?P<rest>(?:an?|the|one of|any|when|how) [a-z].{15,})$"
)
# Verbs an instruction begins with, after "To do this,".
_COMMANDS = word_set(
    """press tap select click go open turn use swipe touch hold choose set connect insert enter see make place remove
    follow log visit call check push slide double drag type scroll pull put rotate release switch start stop install
    download run add create change adjust attach align unplug plug charge wear clean wash contact complete fill
    submit send apply ask bring read refer sign register move point wait keep ensure tighten loosen navigate launch"""
)
_VAGUE = word_set(
    """this that these those it they he she we i you there here such its their his her our my your some many most both
    one another each all other others what which who when where while if as but and or so yes no also then thus neither
    either none few several more less who's it's they're we're there's"""
)
_INNER = re.compile(
    r"\b(?:that|which|who|whose|whom|where|and|but|is|are|was|were|has|have|had|will|not)\b", re.IGNORECASE
)
_LEADING = re.compile(
    r"^(?:However|Moreover|Furthermore|Additionally|In addition|For example|For instance|In fact|Indeed|Similarly"
    r"|Finally|Overall|Meanwhile|Nevertheless|Nonetheless|Therefore|Thus|As a result|In particular|Notably|Still|Today"
    r"|Specifically|Consequently|In contrast|By contrast|In general|In total|In other words|Likewise|First|Second|Third"
    r"|Also|Then|Next|Again|Of course|In short|In summary|To date),\s+"
)
MAX_WORDS = 26


def plain_sentence(sentence: str) -> str:
    """The sentence without the word that ties it to the one before."""
    shorter = _LEADING.sub("", sentence)
    return shorter[:1].upper() + shorter[1:]


def is_vague(phrase: str) -> bool:
    """Whether a phrase begins by pointing at something said before."""
    return (phrase.split() or ["it"])[0].casefold().strip("“\"'’") in _VAGUE


def question_from(sentence: str, inside: Callable[[str], str]) -> str | None:
    """The question that ``sentence`` answers, or None where no rule is sure of one.

    Args:
        sentence: one sentence, with its full stop.
        inside: writes a word from the beginning of a sentence as it stands inside one.
    """
    sentence = plain_sentence(sentence)
    for rule in (_step, _share, _cause, _amount, _date, _definition):
        question = rule(sentence, inside)
        if question and len(question.split()) <= MAX_WORDS:
            return question
    return None


def _step(sentence: str, inside: Callable[[str], str]) -> str | None:
    match = _STEP.match(sentence)
    if match is None or match["do"] not in _COMMANDS:
        return None
    return f"How do I {_mine(match['what'])}?"


def _share(sentence: str, inside: Callable[[str], str]) -> str | None:
    match = _SHARE.search(sentence)
    if match is None or is_vague(match["who"]) or len(match["rest"].split()) < 2:
        return None
    last = match["rest"].split()[-1]
    if len(last) == 1 or last in VERBS:
        return None  # cut off at an abbreviation ("the U.S."), or before what is said
    rest = re.sub(
        r" (?:while|compared|although|and|but|than|with|as|including|whereas)$", "", match["rest"].strip()
    )
    return f"What percentage of {match['who']} {match['verb']} {rest}?"


def _amount(sentence: str, inside: Callable[[str], str]) -> str | None:
    match = _WAS_AMOUNT.match(sentence) or _DID_AMOUNT.match(sentence)
    if match is None or not _good(match["subject"]) or re.fullmatch(r"(?:19|20)\d\d", match["amount"]):
        return None
    when = _WHEN.search(match["rest"])
    tail = f" {when['when']}" if when and when["when"] not in match["subject"] else ""
    subject = _lowered(match["subject"], inside)
    if match["verb"] in _BASE:
        return f"What did {subject} {_BASE[match['verb']]}{tail}?"
    money = match["amount"][0] in "$€£" or match["amount"].startswith("US$")
    return (
        f"{'How much' if money else 'What'} {match['verb']} {subject}{tail}?"
        if money or _counted(match)
        else None
    )


def _counted(match: re.Match[str]) -> bool:
    # "The sky was 3 times darker" is no amount of the sky; a percentage or a plain end of the sentence is.
    return "%" in match["amount"] or "percent" in match["amount"] or match["rest"][:1] in ".,;("


def _date(sentence: str, inside: Callable[[str], str]) -> str | None:
    match = _HAPPENED.match(sentence)
    if match is None or not _good(match["subject"]):
        return None
    rest = match["rest"].strip()
    return f"When {match['verb']} {_lowered(match['subject'], inside)} {match['done']}{' ' + rest if rest else ''}?"


def _cause(sentence: str, inside: Callable[[str], str]) -> str | None:
    match = _BECAUSE.match(sentence)
    if match is None or not _good(match["subject"]):
        return None
    verb = match["verb"]
    subject = _lowered(match["subject"], inside)
    if verb == "cannot":
        return f"Why can {subject} not {match['rest']}?"
    return f"Why {verb} {subject} {match['rest']}?"


def _definition(sentence: str, inside: Callable[[str], str]) -> str | None:
    match = _DEFINED.match(sentence)
    if match is None or not _good(match["subject"]) or len(sentence.split()) < 9:
        return None
    verb = match["verb"] if match["verb"] in ("is", "are") else "is meant by"
    return f"What {verb} {_lowered(match['subject'], inside)}?"


def _good(subject: str) -> bool:
    words = subject.split()
    return (
        len(words) <= 9
        and not is_vague(subject)
        and not _INNER.search(subject)
        and any(len(w) > 3 for w in words)
    )


def _lowered(subject: str, inside: Callable[[str], str]) -> str:
    first, _, rest = subject.partition(" ")
    if first in ("The", "A", "An", "In", "At", "On", "For"):
        first = first.lower()
    else:
        first = inside(first)
    return f"{first} {rest}".strip()


def _mine(text: str) -> str:
    text = re.sub(r"\byour\b", "my", text)
    text = re.sub(r"\byourself\b", "myself", text)
    return re.sub(r"\byou\b", "I", text)


# Verbs that plans and strategies begin their aims with.
_AIMS = word_set(
    """accelerate achieve address advance build clean combat cut decrease deliver develop drive eliminate
    enable encourage engage enhance ensure expand foster grow implement improve increase integrate
    leverage limit lower maintain manage maximize minimize mitigate modernize optimize preserve prevent
    promote protect provide reduce reform restore simplify strengthen streamline support sustain tackle
    transform upgrade"""
)
_WH = (
    "how",
    "what",
    "why",
    "when",
    "where",
    "who",
    "which",
    "is",
    "are",
    "can",
    "do",
    "does",
    "should",
    "will",
)
_FINITE = word_set(
    """is are was were has have had do does did say says see sees grow grows remain remains rise rises fall falls
    believe believes think thinks want wants support supports oppose favor express holds hold lead leads continue
    continues increase increases decline declines differ differs prefer need needs use uses trust worry feel feels
    become becomes get gets give gives make makes show shows outperforms outperform improves improve helps can
    will should could must may doesn't don't isn't aren't can't"""
)


# Commands that are no nouns: "Delete songs", but not "Open source" or "Charge transfer".
_SURE = word_set(
    """add adjust connect create delete disable download enable install remove replace reset restart resume select send
    turn uninstall unpair update upload"""
)


def is_step(heading: str) -> bool:
    """Whether a line that looks like a heading is a step of instructions, too long to be asked for."""
    words = heading.split()
    return len(words) > 9 and words[0].casefold() in _COMMANDS


def asks(heading: str) -> bool:
    """Whether a heading is a question already."""
    first = heading.split()[0].casefold()
    return heading.endswith("?") and (first in _WH or len(heading.split()) >= 4)


def how_to(heading: str) -> str | None:
    """ "How to pair the watch" and "Pair your watch" as a question; None for other headings."""
    words = heading.split()
    if len(words) >= 3 and [word.casefold() for word in words[:2]] == ["how", "to"]:
        return f"How do I {_mine(' '.join(words[2:]))}?"
    if (
        len(words) >= 3
        and words[0].casefold() in _COMMANDS
        and words[1].casefold() in ("the", "your", "a", "an", "my")
    ):
        return f"How do I {words[0].lower()} {_mine(' '.join(words[1:]))}?"
    if 2 <= len(words) <= 7 and words[0].casefold() in _SURE and words[1].islower():
        return f"How do I {words[0].lower()} {_mine(' '.join(words[1:]))}?"
    return None


def aim(heading: str) -> str | None:
    """ "Reduce lead in drinking water", an aim of a plan, as a question; None for other headings."""
    words = heading.split()
    return (
        f"How to {_mine(heading[0].lower() + heading[1:])}?"
        if len(words) >= 3 and words[0].casefold() in _AIMS
        else None
    )


def is_telling(question: str, page: Mapping[str, int]) -> bool:
    """Whether a question names what it is about: three content words, or fewer that the page comes back to.

    Args:
        question: made by `question_from`.
        page: how often the page has each content word.
    """
    own = set(content_words(question, "en")) - {"percentage"}
    return len(own) >= 3 or all(page.get(word, 0) >= 2 for word in own)


def is_claim(heading: str) -> bool:
    """Whether a heading is a sentence, "Majorities see trade as good", and not the name of a topic."""
    words = heading.split()
    return len(words) >= 5 and any(word in _FINITE for word in words[1:-1]) and words[0].casefold() not in _WH
