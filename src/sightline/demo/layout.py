"""Typesetting: themes, paragraphs, tables, and the flow that puts sections on pages.

Imports reportlab (extra ``demo``); only the drawing code of the collection imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_JUSTIFY, TA_LEFT
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, Spacer, Table, TableStyle

from sightline.demo.facts import Ledger, Section

A4 = (595.0, 842.0)
LETTER = (612.0, 792.0)
B5 = (499.0, 709.0)
SHEET = (700.0, 510.0)
WIDE = (720.0, 405.0)
INK = HexColor("#20242b")
GREY = HexColor("#69707a")
FAINT = HexColor("#d5d9df")

# Sizes, positions: points (1/72 inch), origin at the lower left.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Theme:
    """Colours and type of a document: regular, bold and italic face, body size in points."""

    primary: Color
    accent: Color
    faces: tuple[str, str, str]
    size: float
    justify: bool = False

    def style(self, name: str, scale: float = 1.0, **changes: Any) -> ParagraphStyle:
        """A paragraph style from the body style, ``scale`` times its size."""
        size = self.size * scale
        settings: dict[str, Any] = {
            "fontName": self.faces[0],
            "fontSize": size,
            "leading": size * 1.38,
            "textColor": INK,
            "alignment": TA_JUSTIFY if self.justify else TA_LEFT,
            "spaceAfter": size * 0.55,
        }
        settings.update(changes)
        return ParagraphStyle(name, **settings)

    def tint(self, strength: float = 0.1, accent: bool = False) -> Color:
        """The primary (or accent) colour mixed with white."""
        base = self.accent if accent else self.primary
        return Color(*(1 - strength * (1 - part) for part in (base.red, base.green, base.blue)))

    def shades(self) -> list[Color]:
        """Colours that go together, for the series of a chart."""
        return [self.primary, self.accent, self.tint(0.55), self.tint(0.5, accent=True), GREY, self.tint(0.3)]


SANS = ("Helvetica", "Helvetica-Bold", "Helvetica-Oblique")
SERIF = ("Times-Roman", "Times-Bold", "Times-Italic")
MONO = ("Courier", "Courier-Bold", "Courier-Oblique")


def theme(
    primary: str, accent: str, faces: tuple[str, str, str], size: float, justify: bool = False
) -> Theme:
    """A theme from two ``#rrggbb`` colours."""
    return Theme(HexColor(primary), HexColor(accent), faces, size, justify)


def text(look: Theme, words: str, **changes: Any) -> Paragraph:
    """A body paragraph."""
    return Paragraph(words, look.style("body", **changes))


def heading(look: Theme, words: str, scale: float = 1.45, **changes: Any) -> Paragraph:
    """A heading in the primary colour."""
    settings: dict[str, Any] = {
        "fontName": look.faces[1], "textColor": look.primary, "alignment": TA_LEFT,
        "leading": look.size * scale * 1.2, "spaceBefore": look.size * 1.1, "spaceAfter": look.size * 0.5,
    }  # fmt: skip
    return Paragraph(words, look.style("heading", scale, **(settings | changes)))


def caption(look: Theme, words: str) -> Paragraph:
    """A small caption for a figure or table."""
    return Paragraph(
        words, look.style("caption", 0.84, fontName=look.faces[2], textColor=GREY, alignment=TA_LEFT)
    )


def items(look: Theme, lines: Sequence[str], numbered: bool = False) -> list[Paragraph]:
    """A bulleted or numbered list."""
    style = look.style(
        "item",
        bulletFontName=look.faces[0],
        bulletFontSize=look.size,
        leftIndent=look.size * 1.7,
        bulletIndent=look.size * 0.3,
        spaceAfter=look.size * 0.32,
    )
    style.alignment = TA_LEFT
    return [
        Paragraph(line, style, bulletText=f"{number}." if numbered else "•")
        for number, line in enumerate(lines, start=1)
    ]


def gap(points: float) -> Spacer:
    """Vertical space."""
    return Spacer(1, points)


def table(
    look: Theme,
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    *,
    style: str = "rules",
    right: Sequence[int] = (),
    scale: float = 0.92,
    pad: float = 0.32,
) -> Table:
    """A table whose first row is the header.

    Args:
        widths: column widths in points.
        style: ``rules`` (thin lines), ``banded`` (coloured header, tinted rows) or ``grid``.
        right: columns set flush right.
        scale: type size relative to the body.
        pad: space above and below the words of a cell, relative to the body size.
    """
    cell = look.style("cell", scale, spaceAfter=0, alignment=TA_LEFT, leading=look.size * scale * 1.22)
    white = style == "banded"
    head = look.style(
        "head", scale, spaceAfter=0, alignment=TA_LEFT, fontName=look.faces[1],
        leading=look.size * scale * 1.22, textColor=HexColor("#ffffff") if white else look.primary,
    )  # fmt: skip
    body: list[list[Any]] = []
    for number, row in enumerate(rows):
        kind = head if number == 0 else cell
        line: list[Any] = []
        for column, value in enumerate(row):
            flush = ParagraphStyle("flush", parent=kind, alignment=2) if column in right else kind
            line.append(Paragraph(value, flush))
        body.append(line)
    commands: list[tuple[Any, ...]] = [
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("TOPPADDING", (0, 0), (-1, -1), look.size * pad),
        ("BOTTOMPADDING", (0, 0), (-1, -1), look.size * pad),
        ("LEFTPADDING", (0, 0), (-1, -1), 5),
        ("RIGHTPADDING", (0, 0), (-1, -1), 5),
    ]
    if style == "banded":
        commands.append(("BACKGROUND", (0, 0), (-1, 0), look.primary))
        commands.append(("ROWBACKGROUNDS", (0, 1), (-1, -1), [HexColor("#ffffff"), look.tint(0.08)]))
        commands.append(("LINEBELOW", (0, -1), (-1, -1), 0.8, look.primary))
    elif style == "grid":
        commands.append(("GRID", (0, 0), (-1, -1), 0.5, GREY))
        commands.append(("BACKGROUND", (0, 0), (-1, 0), look.tint(0.12)))
    else:
        commands.append(("LINEABOVE", (0, 0), (-1, 0), 1.0, INK))
        commands.append(("LINEBELOW", (0, 0), (-1, 0), 0.6, INK))
        commands.append(("LINEBELOW", (0, -1), (-1, -1), 1.0, INK))
        commands.append(("LINEBELOW", (0, 1), (-1, -2), 0.25, FAINT))
    made = Table(body, colWidths=list(widths), style=TableStyle(commands), hAlign="LEFT")
    made.spaceBefore = look.size * 0.4
    made.spaceAfter = look.size * 0.8
    return made


def boxed(look: Theme, blocks: Sequence[Flowable], width: float, *, accent: bool = False) -> Table:
    """Blocks on a tinted panel with a coloured edge."""
    panel = Table([[list(blocks)]], colWidths=[width], hAlign="LEFT")
    panel.setStyle(
        TableStyle([
            ("BACKGROUND", (0, 0), (-1, -1), look.tint(0.1, accent=accent)),
            ("LINEBEFORE", (0, 0), (0, -1), 3, look.accent if accent else look.primary),
            ("LEFTPADDING", (0, 0), (-1, -1), 10), ("RIGHTPADDING", (0, 0), (-1, -1), 8),
            ("TOPPADDING", (0, 0), (-1, -1), 7), ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
        ])
    )  # fmt: skip
    panel.spaceBefore = panel.spaceAfter = look.size * 0.7
    return panel


class Picture(Flowable):
    """A drawing of ``width`` x ``height`` points made by ``draw(canvas, width, height)``."""

    def __init__(self, width: float, height: float, draw: Callable[[Canvas, float, float], None]) -> None:
        super().__init__()
        self.width, self.height, self.paint = width, height, draw
        self.spaceBefore, self.spaceAfter = 4, 6

    def wrap(self, available_width: float, available_height: float) -> tuple[float, float]:
        return self.width, self.height

    def draw(self) -> None:
        self.paint(self.canv, self.width, self.height)


class Flow:
    """Puts sections on the pages of one PDF, column by column, and enters their facts in the ledger."""

    def __init__(
        self,
        path: Path,
        document: str,
        ledger: Ledger,
        *,
        size: tuple[float, float],
        columns: Sequence[Box],
        furniture: Callable[[Canvas, int], None],
        title: str,
        sections_per_page: int = 99,
        first_columns: Sequence[Box] = (),
    ) -> None:
        # invariant: fixed dates and identifiers, so equal content gives equal bytes.
        self.canvas = Canvas(str(path), pagesize=size, invariant=1, pageCompression=1)
        self.canvas.setTitle(title)
        self.canvas.setAuthor("Skarholm Group (fictional)")
        self.document, self.ledger = document, ledger
        self.columns, self.furniture = list(first_columns or columns), furniture
        self._later_columns = list(columns)
        self.page, self._column, self._used, self._sections = -1, 0, 0.0, 0
        self._most_sections = sections_per_page
        self._closed, self._begun = True, False

    def cover(self, draw: Callable[[Canvas], None]) -> None:
        """A page drawn by hand, without furniture."""
        self._end_page()
        self.page += 1
        draw(self.canvas)
        self.canvas.showPage()
        self._closed = True

    def add(self, section: Section) -> None:
        """Lay out a section in the first column with room for all of it."""
        if section.full_page or self._closed or self._sections >= self._most_sections:
            self._next_page()
        while not self._fits(section):
            self._next_column()
        x, y, width, height = self.columns[self._column]
        for block in section.blocks:
            before = block.getSpaceBefore() if self._used else 0
            block_height = block.wrap(width, height)[1]
            self._used += before + block_height
            block.drawOn(self.canvas, x, y + height - self._used)
            self._used += block.getSpaceAfter()
        self.ledger.enter(self.document, self.page, section)
        self._sections += 1
        if section.full_page:
            self._end_page()

    def add_all(self, sections: Sequence[Section], *, look_ahead: int = 3) -> None:
        """Lay out sections nearly in order: one that does not fit lets a later, shorter one go first."""
        waiting = list(sections)
        while waiting:
            fitting = 0
            if not self._closed and not waiting[0].full_page and self._sections < self._most_sections:
                near = waiting[:look_ahead]
                fitting = next(
                    (i for i, item in enumerate(near) if not item.full_page and self._fits(item)), 0
                )
            self.add(waiting.pop(fitting))

    def close(self) -> int:
        """Write the file; the number of pages."""
        self._end_page()
        self.canvas.save()
        return self.page + 1

    def _height(self, section: Section) -> float:
        _, _, width, height = self.columns[self._column]
        total = 0.0
        for block in section.blocks:
            before = block.getSpaceBefore() if total or self._used else 0
            total += before + block.wrap(width, height)[1] + block.getSpaceAfter()
        return total - (section.blocks[-1].getSpaceAfter() if section.blocks else 0)

    def _fits(self, section: Section) -> bool:
        height = self.columns[self._column][3]
        needed = self._height(section)
        assert self._used or needed <= height, f"a section of {self.document} is taller than a column"
        return self._used + needed <= height

    def _next_column(self) -> None:
        self._column, self._used = self._column + 1, 0.0
        if self._column == len(self.columns):
            self._next_page()

    def _next_page(self) -> None:
        self._end_page()
        self.page += 1
        if self._begun:
            self.columns = self._later_columns
        self._column, self._used, self._sections, self._closed = 0, 0.0, 0, False
        self._begun = True
        self.furniture(self.canvas, self.page)

    def _end_page(self) -> None:
        if not self._closed:
            self.canvas.showPage()
            self._closed = True
