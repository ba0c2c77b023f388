"""A page's text as lines with a meaning: running headers out, headings, captions, table rows and prose apart.

Text layers have lines but no fonts and few blank lines, so what a line is has to be seen from its words and
from its neighbours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from sightline.documents.generation.topics import VERBS
from sightline.documents.generation.words import word_set
from sightline.documents.records import Document

Role = Literal["heading", "caption", "row", "prose", "other"]

_DIGITS = re.compile(r"\d+")
_LETTERS = re.compile(r"[^\W\d_]")
_LABEL = (
    r"(?P<label>(?:supplementary|appendix|extended data)?\s*(?:figure|fig\.?|table|tab\.|chart|exhibit|map|graph"
    r"|diagram|box|illustration|plate|abbildung|abb\.|tabelle|schaubild|diagramm|figura|fig|tabla|gráfico|cuadro"
    r"|tableau|graphique|figuur|tabel|tabella|grafico|tabela|рис\.|рисунок|таблица|図|表|图))"
)
# "Figure 3: text", "Table 2. text", "Fig. 4-1 text"; the number is what tells a caption from a sentence.
_CAPTION = re.compile(
    _LABEL + r"\s*(?P<number>(?:[A-Z]{1,2}[.-]?)?\d+(?:[.\-–]\d+)*[a-z]?|[IVX]{1,5}|[A-Z](?=\s*[:.]))"
    r"(?P<mark>\s*[:.|–—\-]+\s*|\s+)(?P<text>\S.*)$",
    re.IGNORECASE,
)
_TABLES = (
    "table",
    "tab.",
    "tabelle",
    "tabla",
    "cuadro",
    "tableau",
    "tabel",
    "tabella",
    "tabela",
    "таблица",
    "表",
)
_NUMBERED = re.compile(
    r"^(?:(?:chapter|section|part|step|appendix|kapitel|chapitre|capítulo)\s+)?"
    r"(?P<number>\d{1,2}(?:\.\d{1,2}){0,3}|[A-Z]|[IVX]{1,4})[.):]?\s+(?=[^\W\d_])",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[•·●▪■◆○–—*\-►➢✓❖]|\(?[a-z0-9]{1,2}[.)])\s+")
_ENDS = re.compile(r"[.!?:;。！？]['\")\]”’]*\d{0,2}$")
# A cell that is a value: 1,234  -5.6  45%  $3.2  (12)  —  n/a
_VALUE = re.compile(
    r"^[<>~±+−–-]?[(\[]?[$€£¥]?\d[\d,. ]*(?:%|pp|[KMB]|bn|m)?[)\]]?[*†‡]*$|^(?:n/?a|—|–|-|\*)$", re.IGNORECASE
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_PUBLISHED = re.compile(
    r"\barXiv\b|\bdoi\b|\bet al\.|\bIn Proceedings\b|\bProceedings of\b|\bPress\b.*\d{4}|\bpages? \d+[–-]\d+|\bpp\. \d+"
    r"|\b(?:19|20)\d\d[a-z]?\. |\((?:19|20)\d\d[a-z]?\)\.|\b\d+\(\d+\): ?\d+"
)
_CODE = re.compile(r"[\[\]{}<>=|\\_^~@#×÷∈∑]|::|—.*—|\b(?:NIL|Nil|None|Yes)\b|\$[a-z]|\(\s*\)|\w\(")
_LEADERS = re.compile(r"(?:\.\s?){4,}|…{2,}|\s\d{1,3}$")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page and what it is.

    Attributes:
        text: without list bullet and section number where it is a heading, whole captions in one line.
        label: "Figure 3" of a caption; else "".
        values: how many cells at the end of a row are values.
    """

    role: Role
    text: str
    label: str = ""
    values: int = 0

    @property
    def is_table(self) -> bool:
        """Whether the caption is a table's title."""
        return self.label.casefold().split(" ")[0].startswith(_TABLES)


class Furniture:
    """The lines that pages share: running headers and footers, form labels, legal notices.

    A line counts by its words, numbers aside ("Page 3 of 9" is "page # of #"). It is furniture where it stands on
    at least three pages of a document and on a fifth of them, at the edge of at least three pages, or in at least
    three documents.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        in_documents: Counter[str] = Counter()
        self._by_document: dict[str, frozenset[str]] = {}
        for document in documents:
            anywhere: Counter[str] = Counter()
            at_edge: Counter[str] = Counter()
            for page in document.pages:
                keys = [key for line in page.text.split("\n") if (key := _key(line))]
                labels = {key for line in page.text.split("\n") if (key := _label_key(line))}
                anywhere.update({*keys, *labels})
                at_edge.update({*keys[:3], *keys[-3:]})
            in_documents.update(anywhere.keys())
            enough = max(3, 0.2 * len(document.pages))
            self._by_document[document.document] = frozenset(
                key for key, count in anywhere.items() if count >= enough or at_edge[key] >= 3
            )
        self._everywhere = frozenset(key for key, count in in_documents.items() if count >= 3)

    def without(self, document: str, text: str) -> list[str]:
        """The lines of a page of ``document`` that are its own; blank lines stay as ``""``."""
        own = self._by_document.get(document, frozenset())
        kept = []
        for line in text.split("\n"):
            key = _key(line)
            label = _label_key(line)
            if not line.strip() or (key and not {key, label} & own and not {key, label} & self._everywhere):
                kept.append(line.strip())
        return kept


def _key(line: str) -> str:
    """What a line has in common with its copies; "" for a line of numbers and marks alone."""
    return " ".join(_DIGITS.sub("#", line.casefold()).split()) if _LETTERS.search(line) else ""


def _label_key(line: str) -> str:
    """What a filled-in line of a form has in common with those of other forms: "Engine manufacturer:"."""
    label, colon, _ = line.partition(": ")
    return _key(f"{label}:") if colon and len(label.split()) <= 4 and _caption(line) is None else ""


def is_reference_page(lines: Sequence[str]) -> bool:
    """Whether a page lists literature: many of its lines have a year and a mark of a publication."""
    full = [line for line in lines if line]
    return len(full) >= 8 and sum(bool(_PUBLISHED.search(line)) for line in full) >= 0.2 * len(full)


def is_contents_page(lines: Sequence[str]) -> bool:
    """Whether a page is a table of contents or an index: many of its lines end in a page number."""
    full = [line for line in lines if line]
    leading = sum(bool(_LEADERS.search(line)) and bool(_LETTERS.search(line)) for line in full)
    return len(full) >= 5 and leading >= 0.4 * len(full) and _running_numbers(full)


def _running_numbers(lines: Sequence[str]) -> bool:
    """Whether the numbers at the ends of lines mostly grow, as page numbers do and values do not."""
    numbers = [int(match.group()) for line in lines if (match := re.search(r"\d{1,3}$", line))]
    pairs = list(pairwise(numbers))
    return len(pairs) >= 4 and sum(one <= two for one, two in pairs) >= 0.85 * len(pairs)


def read_lines(lines: Sequence[str]) -> list[Line]:
    """The lines of a page with their roles, in order; captions that run over several lines are joined."""
    full = [len(line) for line in lines if len(line) > 30]
    width = median(full) if full else 60
    found: list[Line] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if not line:
            continue
        if caption := _caption(line):
            position = _take_caption(caption, lines, position, width, found)
            continue
        label, values = split_row(line)
        if values and label:
            found.append(Line("row", label, values=values))
            continue
        before = lines[position - 2] if position >= 2 else ""
        after = next((item for item in lines[position:] if item), "")
        # A few words over a row of values are the heads of its columns.
        over_values = len(line.split()) <= 3 and split_row(after)[1] >= 2
        if not over_values and (heading := _heading(line, before, after, width)) is not None:
            found.append(Line("heading", heading))
        elif len(line) >= 0.5 * width or _ENDS.search(line) or (found and found[-1].role == "prose"):
            found.append(Line("prose", _BULLET.sub("", line)))
        else:
            found.append(Line("other", line))
    return found


def _caption(line: str) -> re.Match[str] | None:
    match = _CAPTION.match(line)
    if match is None:
        return None
    text = match["text"]
    # "Table 2 shows that ..." is a sentence about a caption: only a mark or a capital begins one.
    if match["mark"].strip() == "" and not (text[0].isupper() or not text[0].isascii()):
        return None
    return match if len(_LETTERS.findall(text)) >= 4 else None


def _take_caption(
    match: re.Match[str], lines: Sequence[str], position: int, width: float, found: list[Line]
) -> int:
    """Add a caption with the lines it goes on in; gives the position behind it."""
    text, taken = match["text"], 0
    while (
        position < len(lines)
        and taken < 3
        and lines[position]
        and not _ENDS.search(text)
        and len(lines[position - 1]) >= 0.7 * width
        and _caption(lines[position]) is None
        and not split_row(lines[position])[1]
    ):
        text = f"{text} {lines[position]}"
        position, taken = position + 1, taken + 1
    label = " ".join(match["label"].split())
    found.append(Line("caption", text.strip(), label=f"{label} {match['number']}"))
    return position


def split_row(line: str) -> tuple[str, int]:
    """A line of a table as its label and the number of values behind it; ``("", 0)`` where it is none."""
    if line[-1:] in ".!?:;":
        return "", 0  # a sentence with a number at its end
    cells = line.split()
    count = 0
    while cells and _VALUE.match(cells[-1]):
        cells.pop()
        count += 1
    label = " ".join(cells).strip(" .:…")
    if not count or not _LETTERS.search(label) or len(cells) > 8 or ".." in label:
        return "", 0
    # One number behind many words is a sentence cut off or a page number, and a year ends titles.
    if count == 1 and (len(cells) > 6 or _YEAR.fullmatch(line.split()[-1])):
        return "", 0
    return (label, count) if not _ENDS.search(label) else ("", 0)


def _heading(line: str, before: str, after: str, width: float) -> str | None:
    """The words of a heading, or None where the line is none."""
    numbered = _NUMBERED.match(line)
    text = line[numbered.end() :] if numbered else line
    letters = _LETTERS.findall(text)
    words = text.split()
    if (
        not 1 <= len(words) <= 14
        or len(text) > 110
        or len(letters) < 4
        or len(letters) < 0.6 * len(text.replace(" ", ""))
    ):
        return None
    if (
        text[-1] in ".,;:-–—&/"
        or (_BULLET.match(line) and not numbered)
        or not (text[0].isupper() or not text[0].isascii())
    ):
        return None
    if _CODE.search(text) or _codes(words) > 0.25 * len(words):
        return None
    if text.count("(") != text.count(")") or words[-1].casefold() in _OPEN_ENDS | VERBS:
        return None
    if not after or not (
        after[0].isupper() or after[0].isdigit() or not after[0].isascii() or after[0] in "“\"'•("
    ):
        return None
    apart = not before or bool(_ENDS.search(before)) or len(before) < 0.6 * width
    short = len(line) < 0.75 * width or not before
    if numbered and apart:
        return text
    long_words = [word for word in words if len(word) > 3 and word[0].isalpha()]
    titled = len(long_words) >= 2 and sum(word[0].isupper() for word in long_words) >= 0.7 * len(long_words)
    capitals = len(letters) >= 6 and all(letter.isupper() for letter in letters)
    question = text.endswith("?") and len(words) >= 3
    body = len(after) >= 0.6 * width
    # Two or three capitals over short lines are mostly a cell of a table or a label in a picture.
    opens = body or not before or bool(_BULLET.match(after)) or len(words) >= 5
    if question and apart:
        return text
    return text if apart and short and opens and (capitals or titled or body) else None


def _codes(words: Sequence[str]) -> int:
    """How many words are codes or parts of formulas: XTAL1, 4a, x."""
    mixed = sum(bool(_LETTERS.search(word)) and any(c.isdigit() for c in word) for word in words)
    return mixed + sum(len(word) == 1 and word.isalpha() and word not in ("A", "a", "I") for word in words)


# A line that ends in one of these goes on in the next.
_OPEN_ENDS = word_set(
    """a an and are as at be by for from has have in into is of on or than that the their to was were which who will
    with enough available nearby more most less also not only one two same such other very when where how
    your our its this these der die das und von zu im in le la les de des du et el los las y en del"""
)


def prose(lines: Sequence[Line]) -> list[str]:
    """Paragraphs: the runs of prose lines, joined."""
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.role == "prose":
            paragraphs[-1].append(line.text)
        elif paragraphs[-1]:
            paragraphs.append([])
    return [" ".join(part) for part in paragraphs if part]
