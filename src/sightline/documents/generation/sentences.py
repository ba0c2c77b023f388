"""The sentences of a page that say most about it and that make sense without their neighbours."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from sightline.documents.generation.phrases import Terms
from sightline.documents.generation.words import content_words

_END = re.compile(
    r"(?<=[.!?])(?:['\")\]”’]|\[\d+\])*\s+(?=[\"'“(\[「『]?[A-ZÀ-ÞА-Я0-9぀-ヿ一-鿿])|(?<=[。！？])"
)
# A full stop after one of these ends no sentence.
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|Sen|Rep|Gov|Gen|St|No|Nos|Fig|Figs|Tab|Eq|Sec|Ch|vs|cf|al|approx|Inc|Ltd|Co"
    r"|Corp|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|e\.g|i\.e|U\.S|U\.K|a\.m|p\.m|bzw|z\.B|ca|Nr|Abb)\.)$"
)
_NOISE = re.compile(
    r"https?://|www\.|@|©|\bdoi\b|arXiv|et al\.|\bISBN\b|\bpp?\. ?\d|all rights reserved|\[\d+(?:, ?\d+)*\].*\[\d+"
    r"|[=≤≥∑∈→]|\.{4,}|[|_]{2,}",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\S+")
SHORTEST, LONGEST = 7, 45  # words; characters of scripts without spaces count by the pair


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of running text."""
    found: list[str] = []
    for piece in _END.split(paragraph):
        piece = piece.strip()
        if found and (_ABBREVIATION.search(found[-1])):
            found[-1] = f"{found[-1]} {piece}"
        elif piece:
            found.append(piece)
    return found


def is_whole(sentence: str) -> bool:
    """Whether this is a full sentence of words: not cut off, no reference, formula, address or row of numbers."""
    tokens = _TOKEN.findall(sentence)
    unspaced = len(tokens) <= 2 and not sentence.isascii()
    length = len(sentence) // 2 if unspaced else len(tokens)
    if not SHORTEST <= length <= LONGEST or not sentence.rstrip("\"')]”’")[-1:] or _NOISE.search(sentence):
        return False
    if sentence.rstrip("\"')]”’")[-1] not in ".!?。！？" or sentence[0].islower():
        return False
    letters = sum(character.isalpha() for character in sentence)
    numbers = sum(any(character.isdigit() for character in token) for token in tokens)
    shouted = sum(token.isupper() and len(token) > 3 for token in tokens)
    # A list of names; German, where every noun has a capital, stays below this.
    named = sum(token[0].isupper() for token in tokens[1:])
    return (
        letters >= 0.68 * len(sentence)
        and numbers <= 0.25 * len(tokens) + 1
        and shouted <= 0.4 * len(tokens)
        and named <= 0.55 * len(tokens)
    )


def salience(sentence: str, page: Counter[str], language: str, terms: Terms) -> float:
    """How much a sentence says about its page and not about others.

    The sum over its different content words of idf * (1 + ln tf on the page), over the root of its length, so
    that long sentences do not win by length alone.
    """
    found = content_words(sentence, language)
    total = sum(terms.idf(word) * (1 + math.log(max(page[word], 1))) for word in set(found))
    return total / math.sqrt(max(len(found), 1))


def key_sentences(paragraphs: Iterable[str], language: str, terms: Terms) -> list[tuple[str, float]]:
    """The whole sentences of a page with their `salience`, best first."""
    texts = list(paragraphs)
    page = Counter(word for text in texts for word in content_words(text, language))
    whole = {sentence: None for text in texts for sentence in split_sentences(text) if is_whole(sentence)}
    scored = [(sentence, salience(sentence, page, language, terms)) for sentence in whole]
    return sorted(scored, key=lambda item: (-item[1], item[0]))
