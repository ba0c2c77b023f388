"""Blocks of text set as pages: A4, DejaVu, black on white, with a text layer that keeps headings.

A page of a million pixels has body text of 15 pixels, which vision-language models read without trouble. The
result depends on the blocks, the page size and the fonts alone: glyphs are placed by FreeType without shaping,
because the shaping library is there on some machines only. Right-to-left and Indic scripts suffer from that.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sightline.documents.fonts import RASTER, Fonts, Style
from sightline.documents.structure import Block

if TYPE_CHECKING:
    from PIL.Image import Image

PAGE = (595, 842)  # A4 in points
_MARGIN = 50.0
_INDENT = 16.0
_LEADING = 1.35  # of the font size
_BODY, _CODE = 10.5, 8.5
_HEADING = (20.0, 16.0, 13.5, 12.0, 11.0, 10.5)
_PADDING = 3.0  # inside a table cell
_MIN_COLUMN = 28.0
_TABLE_SIZE = 9.0
_WORDS = re.compile(r"\S+")
_INK, _RULE, _SHADE = (0, 0, 0), (150, 150, 150), (242, 242, 242)


@dataclass(frozen=True, slots=True)
class _Text:
    x: float
    y: float
    text: str
    style: Style
    size: float


@dataclass(frozen=True, slots=True)
class _Box:
    """A filled rectangle behind text, or a hairline."""

    x: float
    y: float
    width: float
    height: float
    colour: tuple[int, int, int]


@dataclass(slots=True)
class _Strip:
    """What stays together on a page: a line, or a row of a table. Lengths in points, from its upper left.

    Attributes:
        height: with the space above it, which is ``above``.
        marks: what is drawn.
        text: its share of the text layer.
        joined: whether the text goes on in the line of the strip before, as in a paragraph.
        keep: strips after it that belong on the same page, as after a heading.
        new_page: whether a page starts here.
    """

    height: float
    above: float = 0.0
    marks: list[_Text | _Box] = field(default_factory=list)
    text: str = ""
    joined: bool = False
    keep: int = 0
    new_page: bool = False


@dataclass(frozen=True, slots=True)
class SetPage:
    """A page that is set but not drawn.

    Attributes:
        text: its text layer; headings with the ``#`` of Markdown, cells of a table parted by ``|``.
    """

    strips: tuple[_Strip, ...]

    @property
    def text(self) -> str:
        lines: list[str] = []
        for strip in self.strips:
            if strip.joined and lines:
                lines[-1] = f"{lines[-1]} {strip.text}".strip()
            elif strip.text:
                lines.append(strip.text)
        return "\n".join(lines)


def set_pages(blocks: Sequence[Block], fonts: Fonts) -> list[SetPage]:
    """The pages that blocks of text fill; none for blocks without text."""
    strips = [strip for block in blocks for strip in _strips(block, fonts)]
    room = PAGE[1] - 2 * _MARGIN
    pages: list[list[_Strip]] = [[]]
    used = 0.0
    for number, strip in enumerate(strips):
        together = sum(item.height for item in strips[number : number + strip.keep + 1])
        if pages[-1] and (strip.new_page or used + min(together, room) > room):
            pages.append([])
            used = 0.0
        pages[-1].append(strip)
        used += strip.height if used else strip.height - strip.above
    return [SetPage(tuple(page)) for page in pages if any(strip.text for strip in page)]


def draw(page: SetPage, size: tuple[int, int], fonts: Fonts) -> Image:
    """The image of a page, RGB, of this width and height in pixels."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    image = Pillow.new("RGB", (round(PAGE[0] * RASTER), round(PAGE[1] * RASTER)), "white")
    pen = ImageDraw.Draw(image)
    top = _MARGIN
    for number, strip in enumerate(page.strips):
        top += strip.above if number else 0.0
        for mark in strip.marks:
            x, y = (_MARGIN + mark.x) * RASTER, (top + mark.y) * RASTER
            if isinstance(mark, _Box):
                corner = (round(x + mark.width * RASTER), max(round(y), round(y + mark.height * RASTER) - 1))
                pen.rectangle(((round(x), round(y)), corner), fill=mark.colour)
            else:
                font = fonts.sized(mark.style, mark.size)
                pen.text((x, y), mark.text, fill=_INK, font=font, anchor="ls")
        top += strip.height - strip.above
    return image.resize(size, Pillow.Resampling.LANCZOS)


def _strips(block: Block, fonts: Fonts) -> Iterator[_Strip]:
    width = PAGE[0] - 2 * _MARGIN
    if block.kind == "heading":
        size = _HEADING[block.level - 1]
        lines = list(_lines(block.text, "bold", size, width, fonts, above=size * 0.9))
        lines[0].text = f"{'#' * block.level} {lines[0].text}"
        for number, strip in enumerate(lines):
            strip.keep = len(lines) - number + 1
        yield from lines
    elif block.kind == "item":
        indent = _INDENT * block.level
        lines = list(_lines(block.text, "plain", _BODY, width - indent, fonts, indent=indent, above=2.0))
        first = lines[0].marks[0]
        assert isinstance(first, _Text)
        lines[0].marks.append(_Text(indent - _INDENT + 3.0, first.y, block.mark, "plain", _BODY))
        lines[0].text = f"{'-' if block.mark == '•' else block.mark} {lines[0].text}"
        yield from lines
    elif block.kind == "quote":
        for strip in _lines(
            block.text, "plain", _BODY, width - 2 * _INDENT, fonts, indent=_INDENT, above=5.0
        ):
            strip.marks.append(_Box(2.0, -strip.above, 2.0, strip.height, _RULE))
            yield strip
    elif block.kind == "code":
        yield from _code(block.text, width, fonts)
    elif block.kind == "table":
        yield from _table(block, width, fonts)
    elif block.kind == "rule":
        yield _Strip(12.0, 0.0, [_Box(0.0, 6.0, width, 0.6, _RULE)])
    elif block.kind == "break":
        yield _Strip(0.0, new_page=True)
    else:
        yield from _lines(block.text, "plain", _BODY, width, fonts, above=5.0)


def _lines(
    text: str,
    style: Style,
    size: float,
    width: float,
    fonts: Fonts,
    *,
    indent: float = 0.0,
    above: float = 0.0,
) -> Iterator[_Strip]:
    height = size * _LEADING
    for number, line in enumerate(_wrapped(text, style, size, width, fonts)):
        space = 0.0 if number else above
        mark = _Text(indent, size, line, style, size)
        yield _Strip(height + space, space, [mark], line, joined=number > 0)


def _code(text: str, width: float, fonts: Fonts) -> Iterator[_Strip]:
    """Lines as they are, parted between words where they are too long for the page."""
    letters = max(1, int(width / fonts.width("0", "mono", _CODE)))
    for line in text.split("\n"):
        parts = textwrap.wrap(line, letters, replace_whitespace=False, break_on_hyphens=False) or [""]
        for number, part in enumerate(parts):
            marks: list[_Text | _Box] = [_Text(0.0, _CODE, part, "mono", _CODE)] if part else []
            yield _Strip(_CODE * 1.25, 0.0, marks, part, joined=number > 0)


def _table(block: Block, width: float, fonts: Fonts) -> Iterator[_Strip]:
    count = max(len(row) for row in block.rows)
    widths = _columns(block.rows, count, width, fonts)
    for number, row in enumerate(block.rows):
        text = " | ".join(row)
        style: Style = "bold" if block.header and number == 0 else "plain"
        height, marks = _row(row, widths, style, fonts) if widths else (0.0, [])
        above = 6.0 if number == 0 else 0.0
        if not widths or height > (PAGE[1] - 2 * _MARGIN) / 2:
            # Too many columns, or a row as tall as a page: it is read more easily as lines.
            yield from _lines(text, style, _TABLE_SIZE, width, fonts, above=above)
        else:
            yield _Strip(height + above, above, marks, text, keep=1 if style == "bold" else 0)


def _columns(rows: Sequence[Sequence[str]], count: int, width: float, fonts: Fonts) -> list[float]:
    """The widths of the columns, each as wide as it needs and the long ones sharing the rest; none if too many."""
    if count * _MIN_COLUMN > width:
        return []
    needs = [_MIN_COLUMN] * count
    for row in rows:
        for column, cell in enumerate(row):
            needs[column] = max(needs[column], fonts.width(cell, "bold", _TABLE_SIZE) + 2 * _PADDING + 1.0)
    rest, open_columns = width, sorted(range(count), key=lambda column: needs[column])
    widths = [0.0] * count
    for place, column in enumerate(open_columns):
        widths[column] = min(needs[column], rest / (count - place))
        rest -= widths[column]
    return widths


def _row(
    row: Sequence[str], widths: Sequence[float], style: Style, fonts: Fonts
) -> tuple[float, list[_Text | _Box]]:
    marks: list[_Text | _Box] = []
    cells = [
        list(_wrapped(cell, style, _TABLE_SIZE, room - 2 * _PADDING, fonts)) if cell else []
        for cell, room in zip(row, widths)
    ]
    height = max(1, *(len(lines) for lines in cells)) * _TABLE_SIZE * _LEADING + 2 * _PADDING
    if style == "bold":
        marks.append(_Box(0.0, 0.0, sum(widths), height, _SHADE))
    marks += [_Box(0.0, y, sum(widths), 0.6, _RULE) for y in (0.0, height)]
    left = 0.0
    for lines, room in zip([*cells, *([[]] * (len(widths) - len(cells)))], widths):
        marks.append(_Box(left, 0.0, 0.6, height, _RULE))
        for number, line in enumerate(lines):
            y = _PADDING + _TABLE_SIZE + number * _TABLE_SIZE * _LEADING
            marks.append(_Text(left + _PADDING, y, line, style, _TABLE_SIZE))
        left += room
    marks.append(_Box(left, 0.0, 0.6, height, _RULE))
    return height, marks


def _wrapped(text: str, style: Style, size: float, width: float, fonts: Fonts) -> Iterator[str]:
    """Lines within the width; a word that is longer than a line is cut, as is text without spaces."""
    line: list[str] = []
    used = 0.0
    gap = fonts.width(" ", style, size)
    for word in _WORDS.findall(text):
        length = fonts.width(word, style, size)
        if line and used + gap + length > width:
            yield " ".join(line)
            line, used = [], 0.0
        while length > width and len(word) > 1:
            fits = _fitting(word, style, size, width, fonts)
            yield word[:fits]
            word = word[fits:]
            length = fonts.width(word, style, size)
        used += length + (gap if line else 0.0)
        line.append(word)
    if line:
        yield " ".join(line)


def _fitting(word: str, style: Style, size: float, width: float, fonts: Fonts) -> int:
    """How many of a word's letters fit, at least one."""
    used = 0.0
    for number, letter in enumerate(word):
        used += fonts.width(letter, style, size)
        if used > width:
            return max(1, number)
    return len(word)
