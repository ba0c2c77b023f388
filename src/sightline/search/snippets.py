"""The piece of a page's text that shows why the page was found."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

from sightline.search.words import fold, query_terms, tokens, word_tokens

LENGTH = 240
# A character with the marks that voice it, which half-width kana have behind them.
_CLUSTER = re.compile(r"[^\uff9e\uff9f\u3099\u309a][\uff9e\uff9f\u3099\u309a]*", re.DOTALL)
_SPACE = re.compile(r"\s+")
# Scripts written without spaces come as one run of characters; the words asked for stand inside it.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d]"
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of page text on one line, and where the words of the query stand in it.

    Attributes:
        text: at most about 240 characters; "…" where the page goes on.
        highlights: (start, end) of each query word within ``text``, in order.
    """

    text: str = ""
    highlights: tuple[tuple[int, int], ...] = ()


def snippet(text: str, query: str, *, length: int = LENGTH) -> Snippet:
    """The stretch of ``text`` with the most different words of ``query``, else its beginning.

    Words count as equal when the full-text index takes them as equal (stem, case, accents). Stop words
    are marked only where the query has nothing else.
    """
    line = _SPACE.sub(" ", text).strip()
    if not line:
        return Snippet()
    wanted = _wanted(query)
    spans = _find(line, wanted) if wanted else []
    start, end = _window(line, spans, length)
    head, tail = "… " if start else "", " …" if end < len(line) else ""
    shift = len(head) - start
    marks = tuple((a + shift, b + shift) for a, b, _ in spans if start <= a and b <= end)
    return Snippet(f"{head}{line[start:end]}{tail}", marks)


@lru_cache(maxsize=64)
def _wanted(query: str) -> frozenset[str]:
    """The index terms of a query; kept, because taking a query apart costs more than a snippet of each of ten pages."""
    folded = query_terms(query)
    return frozenset(tokens(folded, stop_words=False) or tokens(folded))


@cache
def _word() -> re.Pattern[str]:
    """A word: letters and digits with the marks on them (Python's ``\\w`` knows no marks), and what joins them."""
    marks = "".join(
        chr(one) for one in range(0x300, 0x10000) if unicodedata.category(chr(one)) in ("Mn", "Mc")
    )
    return re.compile(rf"\w[\w{marks}]*(?:['’.,_]\w[\w{marks}]*)*")


def _find(line: str, wanted: frozenset[str]) -> list[tuple[int, int, str]]:
    """(start, end, term) of every wanted word in ``line``, in order."""
    found: list[tuple[int, int, str]] = []
    for match in _word().finditer(line):
        word = match.group()
        if _UNSPACED.search(word):
            found += _inside(word, match.start(), wanted)
            continue
        hit = next((term for term in word_tokens(word) if term in wanted), None)
        if hit is not None:
            found.append((match.start(), match.end(), hit))
    return found


def _inside(run: str, offset: int, wanted: frozenset[str]) -> list[tuple[int, int, str]]:
    """Wanted words inside a run of a script without spaces, the longest first."""
    folded, origins = [], []
    for cluster in _CLUSTER.finditer(run):
        piece = _folded(cluster.group())
        folded.append(piece)
        origins += [cluster.span()] * len(piece)
    found = []
    pattern = "|".join(map(re.escape, sorted(wanted, key=len, reverse=True)))
    for match in re.finditer(pattern, "".join(folded)):
        start, end = origins[match.start()][0], origins[match.end() - 1][1]
        found.append((offset + start, offset + end, match.group()))
    return found


@lru_cache(maxsize=65_536)
def _folded(cluster: str) -> str:
    return fold(cluster)


def _window(line: str, spans: list[tuple[int, int, str]], length: int) -> tuple[int, int]:
    """Start and end of the best stretch: most different terms, then most words, then the earliest."""
    if len(line) <= length:
        return 0, len(line)
    best, last = (0, 0, 0, length), 0
    counts: dict[str, int] = {}
    for first, (start, _, term) in enumerate(spans):
        while last < len(spans) and spans[last][1] <= start + length:
            counts[spans[last][2]] = counts.get(spans[last][2], 0) + 1
            last += 1
        score = (len(counts), last - first)
        if last > first and score > best[:2]:
            best = (*score, start, spans[last - 1][1])
        if last > first:
            counts[term] -= 1
            if not counts[term]:
                del counts[term]
        else:
            last = first + 1  # a word longer than the window
    _, _, start, end = best
    # The words found stand in the middle of what room is left, and no word is cut.
    room = max(length - (end - start), 0)
    start = max(0, min(start - room // 2, len(line) - length))
    end = min(len(line), max(start + length, end))
    if start:
        start = line.find(" ", start, best[2]) + 1 or start
    if end < len(line):
        cut = line.rfind(" ", best[3], end)
        # Without a space there is no better place to cut.
        end = cut if cut > 0 and line[end] != " " else end
    return start, end
