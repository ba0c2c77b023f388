"""Words as the full-text index sees them, so that a query, a page and a snippet agree.

Choices, with the figures of BM25 over 170 questions on 832 pages of real reports (NDCG@10 over the whole
collection / within the document the question is about):

- ``icu`` segmentation: knows where words end in Chinese, Japanese or Thai, and keeps 1,234.56 and U.S.
  whole (0.456/0.568; the tokenizer that splits at punctuation 0.449/0.559).
- English stemming, so that "report" finds "reports" (without: 0.454/0.559). Words of other languages go
  through the same stemmer on both sides, so they still meet.
- Stop words stay: a question made of them ("who is it?", a band called The Who) must find something, and
  BM25 weighs them down by itself.
- Positions are kept, so that phrases can be asked for without building the index again.

Accents and letter forms are folded here and not by Lance, which folds after stemming: "résumé" and
"resume" would be different words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

# A query costs time in proportion to its words: 8,000 characters take 30 ms over 20,000 pages, a pasted
# book would take minutes.
MAX_QUERY_CHARACTERS = 8_000

TOKENIZER: dict[str, Any] = {
    "base_tokenizer": "icu",
    "language": "English",
    "stem": True,
    "remove_stop_words": False,
    "lower_case": True,
    "ascii_folding": True,
    "max_token_length": 64,
}

# Accents over Latin, Greek and Cyrillic letters; Arabic and Hebrew vowel points, which only some texts are written
# with, and the stroke that stretches Arabic words. Marks of other scripts are letters of theirs and stay.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]"
)
# NFKC takes the Thai and Lao vowel am apart, and words cannot be told in what is left.
_AM = (("\u0e4d\u0e32", "\u0e33"), ("\u0ecd\u0eb2", "\u0eb3"))
_BROKEN = re.compile("[\x00\ud800-\udfff]")
# What Unicode does not take apart, and people do.
_LETTERS = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u02bc": "'",
        "œ": "oe",
        "æ": "ae",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ı": "i",
    }
)


def clean(text: str) -> str:
    """``text`` without what cannot be stored: NUL and lone surrogates become spaces."""
    return _BROKEN.sub(" ", text)


def fold(text: str) -> str:
    """``text`` for matching: compatibility forms, accents, case ("Œuvre naïve" becomes "oeuvre naive")."""
    text = unicodedata.normalize("NFKC", clean(text)).casefold().translate(_LETTERS)
    for apart, whole in _AM:
        text = text.replace(apart, whole)
    plain = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", _ACCENTS.sub("", plain))


def query_terms(text: str) -> str:
    """A query as the index takes it: folded and cut to `MAX_QUERY_CHARACTERS`. Nothing in it is syntax."""
    return fold(text[:MAX_QUERY_CHARACTERS])


def tokens(text: str, *, stop_words: bool = True) -> list[str]:
    """The index terms of ``text``, in order; without English stop words if ``stop_words`` is False."""
    import lancedb

    settings = {**TOKENIZER, "remove_stop_words": not stop_words}
    return [token.text for token in lancedb.tokenize(fold(text), **settings)]


@lru_cache(maxsize=65_536)
def word_tokens(word: str) -> tuple[str, ...]:
    """`tokens` of one word of a page, remembered, since pages share most of their words."""
    return tuple(tokens(word))
