"""Words in two forms: as the documents write them, and as people ask for them.

The whole collection is built from such pairs. A page carries the written form, a question one of
the asked forms, so a question shares meaning with its page and only now and then a word.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass

_FORMATTER = string.Formatter()
_ARTICLE = re.compile(r"\b([Aa]) (?!one|eu)([aeio])")

# How often a question uses the page's own word: people do, insiders more than others.
_OWN_WORD = 0.25


@dataclass(frozen=True, slots=True)
class Term:
    """One notion: ``written`` in documents, any of ``asked`` in questions; ``written`` identifies it."""

    written: str
    asked: tuple[str, ...]

    def __str__(self) -> str:
        return self.written


def term(spec: str) -> Term:
    """A term from ``"written | asked | asked"``; without asked forms people use the written one."""
    written, *asked = (piece.strip() for piece in spec.split("|"))
    return Term(written, tuple(asked) or (written,))


def terms(block: str) -> tuple[Term, ...]:
    """One term per non-empty line of ``block``."""
    return tuple(term(line) for line in block.strip().splitlines() if line.strip())


def slots_of(template: str) -> frozenset[str]:
    """Names of the ``{slots}`` in a template."""
    return frozenset(name for _, name, _, _ in _FORMATTER.parse(template) if name)


def fill(rng: random.Random, template: str, values: Mapping[str, Term | str]) -> str:
    """A question from a template; each term appears in one of its asked forms, now and then as written."""
    chosen = {}
    for name in sorted(slots_of(template)):
        value = values[name]
        chosen[name] = _say(rng, value) if isinstance(value, Term) else value
    return sentence(template.format(**chosen))


def _say(rng: random.Random, value: Term) -> str:
    # A written form in capitals is a heading or an entry in a form; nobody asks in those words.
    if rng.random() < _OWN_WORD and value.written[0].islower():
        return value.written
    return rng.choice(value.asked)


def sentence(text: str) -> str:
    """``text`` with its first letter in upper case, single spaces, and "an" where a vowel follows."""
    text = _ARTICLE.sub(r"\1n \2", " ".join(text.split()))
    return text[:1].upper() + text[1:]
