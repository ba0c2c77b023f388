"""The fonts that text is set in: DejaVu, which matplotlib's wheel carries, or a font of the person's choice."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Style = Literal["plain", "bold", "mono"]
_FILES: dict[Style, str] = {
    "plain": "DejaVuSans.ttf",
    "bold": "DejaVuSans-Bold.ttf",
    "mono": "DejaVuSansMono.ttf",
}
# Pixels to a point. Glyphs have whole pixels as widths, so a text is measured at the size it is drawn at; drawn
# at another one, lines would run over the margin, and where pages end would depend on how large they are.
RASTER = 2.0
# Letters up to here are in every font that could be chosen.
_LATIN_END = "\u024f"


class Fonts:
    """Measures and draws with the fonts of one document.

    Args:
        own: path of a font to use for everything; ``""`` for DejaVu.
    """

    def __init__(self, own: str = "") -> None:
        self._own = own
        self._widths: dict[tuple[Style, float, str], float] = {}
        self._glyphs: dict[str, bool] = {}

    def sized(self, style: Style, size: float) -> FreeTypeFont:
        """The font at a size in points, for drawing with `RASTER` pixels to the point."""
        return _open(_path(style, self._own), size * RASTER)

    def width(self, text: str, style: Style, size: float) -> float:
        """Of a line of text, in points."""
        known = self._widths.get((style, size, text))
        if known is None:
            known = self.sized(style, size).getlength(text) / RASTER
            self._widths[style, size, text] = known
        return known

    def lacking(self, text: str) -> int:
        """How many characters of a text the font has no picture of, and draws as a box."""
        return sum(not self._has(letter) for letter in text if letter > _LATIN_END)

    def _has(self, letter: str) -> bool:
        if letter not in self._glyphs:
            font = self.sized("plain", 10)
            nothing = bytes(font.getmask("\U0010ffff"))
            self._glyphs[letter] = letter.isspace() or bytes(font.getmask(letter)) != nothing
        return self._glyphs[letter]


def fingerprint(own: str) -> str:
    """Which font text is set in: its name, and for a person's own what is in the file."""
    if not own:
        return "DejaVu"
    return f"{Path(own).name} {hashlib.sha256(Path(own).read_bytes()).hexdigest()[:16]}"


@cache
def _path(style: Style, own: str) -> str:
    if own:
        return own
    found = importlib.util.find_spec("matplotlib")  # found, not imported: that takes a second
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / _FILES[style])


@cache
def _open(path: str, size: float) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
