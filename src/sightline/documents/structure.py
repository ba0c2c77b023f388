"""HTML, Markdown and plain text as blocks: headings, paragraphs, list items, tables, code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Literal

BlockKind = Literal["heading", "paragraph", "item", "quote", "code", "table", "rule", "break"]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document.

    Attributes:
        kind: ``"rule"`` is a line across the page, ``"break"`` the start of a new page.
        text: white space already folded, but in ``"code"``.
        level: of a heading 1 to 6, of a list item its depth from 1.
        mark: what stands before a list item.
        rows: of a table, cells of text.
        header: of a table: whether its first row names the columns.
    """

    kind: BlockKind
    text: str = ""
    level: int = 0
    mark: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    header: bool = False


_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARAGRAPHS = {
    *("p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "address", "details"),
    *("dl", "dt", "dd", "figure", "figcaption", "caption", "fieldset", "legend", "form", "summary", "body"),
    *("center", "hgroup", "ul", "ol", "menu", "html"),
}
_UNSEEN = {"script", "style", "template", "svg", "math", "noscript", "iframe", "object", "select", "textarea"}
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_SPACE = re.compile(r"\s+")
_MAX_DEPTH = 8
_MAX_SPAN = 50


def from_text(text: str) -> list[Block]:
    """Plain text as it stands; a form feed starts a page."""
    blocks: list[Block] = []
    for part in text.expandtabs(8).split("\f"):
        blocks += [Block("break"), Block("code", part.strip("\n"))]
    return blocks[1:]


def from_markdown(text: str) -> list[Block]:
    """CommonMark with tables; front matter is left out, HTML inside is read as HTML."""
    from markdown_it import MarkdownIt

    return from_html(MarkdownIt("commonmark").enable("table").render(_FRONT_MATTER.sub("", text, count=1)))


def from_html(text: str) -> list[Block]:
    """What a person reads of a page, in the order of the file; scripts, styles and pictures are left out.

    A picture's alternative text stands for it, and the title for a heading where there is none. What style
    sheets do is not known here.
    """
    reader = _HtmlReader()
    reader.feed(text)
    reader.close()
    reader.end_block()
    title = [Block("heading", reader.title, 1)] if reader.title else []
    has_heading = any(block.kind == "heading" and block.level == 1 for block in reader.blocks)
    return reader.blocks if has_heading else [*title, *reader.blocks]


class _HtmlReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.title = ""
        self._text: list[str] = []
        self._kind: BlockKind = "paragraph"
        self._level = 0
        self._mark = ""
        self._unseen = 0
        self._pre = 0
        self._quotes = 0
        self._lists: list[int | None] = []  # the next number of an ordered list, None for bullets
        self._table = _Table()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in _UNSEEN:
            self._unseen += 1
        elif self._unseen:
            return
        elif tag == "img":
            self._text.append(f" {given.get('alt', '')} ")
        elif tag == "table":
            if not self._table.depth:
                self.end_block()
            self._table.depth += 1
        elif self._table.depth:
            self._start_in_table(tag, given)
        elif tag == "br":
            if self._pre:
                self._text.append("\n")
            elif self._kind in ("item", "heading"):
                self._text.append(" ")
            else:
                self.end_block()
        elif tag in ("ul", "ol"):
            self.end_block()
            start = given.get("start", "1")
            self._lists.append((int(start) if _is_number(start) else 1) if tag == "ol" else None)
        elif tag == "li":
            self.end_block()
            self._start_item()
        elif tag == "pre":
            self.end_block()
            self._pre += 1
            self._kind = "code"
        elif tag == "blockquote":
            self.end_block()
            self._quotes += 1
            self._kind = "quote"
        elif tag == "hr":
            self.end_block()
            self.blocks.append(Block("rule"))
        elif tag in _HEADINGS:
            self.end_block()
            self._kind, self._level = "heading", _HEADINGS[tag]
        elif tag in _PARAGRAPHS and "".join(self._text).strip():
            self.end_block()

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif self._unseen:
            return
        elif tag == "title" and not self.title:
            self.title, self._text = _folded(self._text), []
        elif tag == "table" and self._table.depth:
            self._table.depth -= 1
            self._text.append(" ")
            if not self._table.depth:
                self._end_table()
        elif self._table.depth:
            if tag in ("td", "th", "tr") and self._table.depth == 1:
                self._end_cell()
        elif tag in ("ul", "ol"):
            self.end_block()
            if self._lists:
                self._lists.pop()
        elif tag == "pre":
            self.end_block()
            self._pre = max(0, self._pre - 1)
            self._kind = "quote" if self._quotes else "paragraph"
        elif tag == "blockquote":
            self.end_block()
            self._quotes = max(0, self._quotes - 1)
            self._kind = "quote" if self._quotes else "paragraph"
        elif tag in _HEADINGS or tag == "li" or tag in _PARAGRAPHS:
            self.end_block()

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._text.append(data)

    def _start_item(self) -> None:
        self._kind = "item"
        self._level = min(max(1, len(self._lists)), _MAX_DEPTH)
        number = self._lists[-1] if self._lists else None
        self._mark = "•"
        if number is not None:
            self._mark = f"{number}."
            self._lists[-1] = number + 1

    def _start_in_table(self, tag: str, given: dict[str, str]) -> None:
        if tag not in ("tr", "td", "th") or self._table.depth > 1:  # a table in a cell is text of the cell
            self._text.append(" ")
            return
        self._end_cell()
        rows = self._table.rows
        if tag == "tr" or not rows:
            rows.append([])
        if tag != "tr":
            span = given.get("colspan", "1")
            self._table.header |= tag == "th" and len(rows) == 1
            self._table.span = min(max(1, int(span)), _MAX_SPAN) if _is_number(span) else 1
            rows[-1].append("")

    def _end_cell(self) -> None:
        """Text read so far belongs to the last cell; before the first cell (a caption) it stands alone."""
        text, self._text = _folded(self._text), []
        rows = self._table.rows
        if rows and rows[-1]:
            rows[-1][-1] = f"{rows[-1][-1]} {text}".strip()
            rows[-1] += [""] * (self._table.span - 1)
            self._table.span = 1
        elif text:
            self.blocks.append(Block("paragraph", text))

    def _end_table(self) -> None:
        self._end_cell()
        rows = tuple(tuple(row) for row in self._table.rows if any(row))
        if rows:
            self.blocks.append(Block("table", rows=rows, header=self._table.header))
        self._table = _Table()

    def end_block(self) -> None:
        """Close the block that is being read, where there is one."""
        if self._table.depth:  # a table that nobody closed
            self._end_table()
        text = "".join(self._text).strip("\n") if self._kind == "code" else _folded(self._text)
        if text.strip():
            self.blocks.append(Block(self._kind, text, self._level, self._mark))
        self._text, self._level, self._mark = [], 0, ""
        self._kind = "code" if self._pre else "quote" if self._quotes else "paragraph"


@dataclass(slots=True)
class _Table:
    """The table being read: how many tables deep the reader is, and the cells so far."""

    depth: int = 0
    rows: list[list[str]] = field(default_factory=list)
    header: bool = False
    span: int = 1


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 7


def _folded(parts: list[str]) -> str:
    return _SPACE.sub(" ", "".join(parts)).strip()
