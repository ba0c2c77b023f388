"""Rectangles of a page, and grids of values over them.

Shape letters: H, W rows and columns of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """A rectangle of a page, as shares of its width and height from the upper left corner."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0


WHOLE = Box()


def laid_out(values_HW: np.ndarray, box: Box, rows: int, columns: int) -> np.ndarray:
    """A grid over a part of the page as one over the whole page (rows, columns); NaN where it does not reach.

    A cell takes the value that lies under its middle; a grid of the same size over the whole page stays as it is.
    """

    def places(count: int, start: float, end: float, own: int) -> np.ndarray:
        middles = (np.arange(count) + 0.5) / count
        return np.floor((middles - start) / (end - start) * own).astype(int)

    height, width = values_HW.shape
    down, across = places(rows, box.top, box.bottom, height), places(columns, box.left, box.right, width)
    found = np.full((rows, columns), np.nan)
    inside = np.ix_((down >= 0) & (down < height), (across >= 0) & (across < width))
    found[inside] = values_HW[np.ix_(down[inside[0][:, 0]], across[inside[1][0]])]
    return found


def page_grid(shape: tuple[int, int], box: Box) -> tuple[int, int]:
    """Rows and columns of a grid over the whole page whose cells are as large as those of one over ``box``."""
    rows, columns = shape
    return max(1, round(rows / (box.bottom - box.top))), max(1, round(columns / (box.right - box.left)))
