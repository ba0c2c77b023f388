"""Names of topics in a page's text: how they are written inside a sentence, and how telling they are.

Shape letters: none; everything here is counting.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from sightline.documents.generation.words import content_words
from sightline.evaluation.bm25 import words

_WORD = re.compile(r"[^\W_]+(?:['’.&-][^\W_]+)*")
# Several capitals in a row inside a sentence: Federal Employee Viewpoint Survey.
_NAME = re.compile(r"\b[A-Z][\w’'-]*(?: (?:of the |of |and |for |the )?[A-Z][\w’'-]*)+")
_SENTENCE_START = re.compile(r"(?:^|[.!?:]['\")\]”’]*\s+|[•·▪–—-]\s+)(?=\S)")
_YEAR = re.compile(r"(?:19|20)\d\d")
_SPACES = re.compile(r"\s+")
_EDGES = " \t.,;:–—-*•·'\"“”‘’"


class Terms:
    """How rare the words of the collection's pages are.

    ``idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))``, as BM25 has it, with N pages of which df hold t.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.pages = 0
        self._df: Counter[str] = Counter()
        for text in texts:
            self.pages += 1
            self._df.update(set(words(text)))

    def idf(self, word: str) -> float:
        df = self._df[word]
        return math.log1p((self.pages - df + 0.5) / (df + 0.5))

    def weight(self, text: str, language: str = "") -> float:
        """The idf of all different content words together: what it can say about which page is meant."""
        return sum(self.idf(word) for word in set(content_words(text, language)))


class Casing:
    """How the collection writes a word inside a sentence, so that headings lose their capitals and names keep them."""

    def __init__(self, texts: Iterable[str]) -> None:
        forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
        names: set[str] = set()
        for text in texts:
            for line in text.split("\n"):
                # Capitals say nothing in headings and at the beginning of a sentence.
                if not any(letter.islower() for letter in line) or _titled(line):
                    continue
                starts = {match.end() for match in _SENTENCE_START.finditer(line)}
                for match in _WORD.finditer(line):
                    if match.start() not in starts:
                        forms[match.group().casefold()][match.group()] += 1
                names.update(name.group().casefold() for name in _NAME.finditer(line))
        self._names = names
        self._form = {
            word: max(sorted(counts), key=lambda form: counts[form]) for word, counts in forms.items()
        }

    def inside(self, phrase: str) -> str:
        """``phrase`` as it stands inside a sentence: "Views of the United States" to "views of the United States"."""
        shouted = not any(letter.islower() for letter in phrase)

        def form(match: re.Match[str]) -> str:
            word = match.group()
            known = self._form.get(word.casefold())
            if known is not None and (shouted or word[0].isupper()):
                return known if not known.isupper() or word.isupper() or len(known) <= 5 else word
            if shouted and len(word) > 5:
                return word.lower()
            return word

        kept = [match.span() for match in _NAME.finditer(phrase) if match.group().casefold() in self._names]
        return _WORD.sub(lambda m: m.group() if any(a <= m.start() < b for a, b in kept) else form(m), phrase)

    def first(self, word: str) -> str:
        """The first word of a sentence as it stands inside one; a word never seen there is taken for no name."""
        known = self._form.get(word.casefold())
        if known is not None:
            return known
        return word.lower() if word[1:].islower() else word


def _titled(line: str) -> bool:
    long = [word for word in _WORD.findall(line) if len(word) > 3]
    return len(long) >= 2 and sum(word[0].isupper() for word in long) >= 0.7 * len(long)


@lru_cache(maxsize=4096)
def clean_phrase(text: str) -> str:
    """A heading or caption without marks at its ends, footnote signs and doubled spaces."""
    text = _SPACES.sub(" ", text).strip(_EDGES)
    text = re.sub(r"[*†‡§¹²³]+$", "", text)
    return re.sub(r"\s*\((?:continued|cont\.?d?|fortsetzung)\)$", "", text, flags=re.IGNORECASE).strip(_EDGES)


def key_phrases(sentence: str, language: str, terms: Terms, count: int = 3) -> list[str]:
    """The runs of content words between stop words and marks that tell most, in the order of the sentence.

    As in RAKE (Rose et al. 2010), but a phrase is weighed by how rare its words are in the collection.
    """
    found: dict[str, float] = {}
    for part in re.split(r"[,;:()\[\]“”\"–—?!]|\.\s", sentence):
        for run in _runs(_WORD.findall(part), language):
            phrase = " ".join(run[:5])
            if any(letter.isalpha() for letter in phrase) and len(phrase) > 3:
                found.setdefault(phrase, terms.weight(phrase, language))
    best = sorted(found, key=lambda phrase: (-found[phrase], phrase))[:count]
    return [phrase for phrase in found if phrase in best]


def _runs(tokens: Sequence[str], language: str) -> Iterable[list[str]]:
    run: list[str] = []
    for token in tokens:
        digits = sum(character.isdigit() for character in token)
        if content_words(token, language) and (digits < 2 or _YEAR.fullmatch(token)):
            run.append(token)
        elif run:
            yield run
            run = []
    if run:
        yield run
