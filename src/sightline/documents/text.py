"""The text layer of a PDF as people would type it.

What PDF text comes with and search does not want: ligatures as one character, words cut at the end of
a line, soft hyphens, control characters, characters of private fonts, ragged white space, and layers
that are no text at all because the font does not say which letter a glyph is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

MAX_CHARACTERS = 200_000  # of one page; a dense newspaper page has under 30,000
# With a larger share of unreadable characters a text layer is noise, and the page counts as a scan.
MAX_UNREADABLE = 0.3

_LETTERS = r"[^\W\d_]+"
# PDFium reports a hyphen at the end of a line as U+0002 (older versions U+FFFE) and drops the line break.
_CUT_WORD = re.compile(
    rf"((?:{_LETTERS}-)*{_LETTERS})"
    r"(?:[-\u2010\u00ad][ \t]*\n[ \t]*|[\x02\ufffe][ \t]*\n?[ \t]*)"
    rf"({_LETTERS})(-?)"
)
_WORD = re.compile(r"\w+(?:-\w+)*")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_SUSPECT = re.compile(r"[^\t\n\x20-\x7e]")
_VISIBLE = re.compile(r"[^\s\x00-\x1f\ufffd\ue000-\uf8ff]")
_SPACES = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
# Latin ligatures, Hebrew and Arabic presentation forms: glyph variants of ordinary letters. The rest of
# NFKC is left alone because it changes meaning (10² would become 102).
_GLYPH_FORMS = re.compile("[\ufb00-\ufdff\ufe70-\ufefc]")
# Control, surrogate, private use, unassigned; U+FFFD stands for what was lost already.
_UNREADABLE = ("Cc", "Cs", "Co", "Cn")


def normalise(pages: Sequence[str]) -> list[str]:
    """The raw text of the pages of one document, cleaned; ``""`` for a page without usable text.

    A word cut at a line's end is joined. Its hyphen is kept where it is part of the word, which the rest
    of the document tells: it writes "long-term" elsewhere, or "long" and "term" but never "longterm".
    """
    raw = [_GLYPH_FORMS.sub(_plain, _unify_lines(page[:MAX_CHARACTERS])) for page in pages]
    vocabulary = {word.casefold() for page in raw for word in _WORD.findall(_CUT_WORD.sub(" ", page))}
    return [_clean(page, vocabulary) for page in raw]


def _clean(text: str, vocabulary: set[str]) -> str:
    def join(match: re.Match[str]) -> str:
        start, end, more = match.groups()
        hyphen = "-" if more or _keeps_hyphen(start, end, vocabulary) else ""
        return f"{start}{hyphen}{end}{more}"

    text = _INVISIBLE.sub("", _CUT_WORD.sub(join, text))
    lost = sum(_readable(match) is None for match in _SUSPECT.findall(text))
    if lost and lost > MAX_UNREADABLE * (lost + len(_VISIBLE.findall(text))):
        return ""
    text = unicodedata.normalize("NFC", _SUSPECT.sub(lambda match: _readable(match.group()) or " ", text))
    lines = (_SPACES.sub(" ", line).strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _keeps_hyphen(start: str, end: str, vocabulary: set[str]) -> bool:
    if "-" in start or not end[0].islower():
        return True
    joined = f"{start}{end}".casefold()
    if joined in vocabulary:
        return False
    parts_known = start.casefold() in vocabulary and end.casefold() in vocabulary
    return f"{start}-{end}".casefold() in vocabulary or parts_known


def _unify_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match.group())


@cache
def _readable(character: str) -> str | None:
    """The character, a plainer one for it, or None where it says nothing."""
    if character in "\x02\ufffe":
        return "-"
    if character == "\ufffd" or unicodedata.category(character) in _UNREADABLE:
        return None
    return character
