"""Two images compared cell by cell, down to single characters: what decides where no text can."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.errors import SightlineError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

# A cell is 4 by 4 pixels of a page of a million; a digit of 9 points covers four.
CELLS = 60_000
# Grey levels of 255. Saving a page of text again (JPEG 50 to 75, half to all of its pixels) moves the worst cell by
# 5 to 11; another digit, or a point for a comma, by 16 and more. Means over cells (Pillow's BOX) do not tell these
# apart: a page made smaller moves them by up to 47.
MOST_LEVELS = 14
MOST_ASPECT = 0.02
# Pages held at once, of 60 kB each.
HELD = 2_000

Read = Callable[[int], Path | bytes]
Grid = tuple[int, int]


class Closely:
    """Compares images by their numbers; each is opened once, as long as not too many are compared.

    Args:
        read: the file of an image, or its bytes.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._own = lru_cache(maxsize=HELD)(self._on_its_grid)
        self._other = lru_cache(maxsize=HELD)(self._on_a_grid)

    def same(self, first: int, second: int) -> bool:
        """Whether two images show the same. Survives another size, quality and colour depth, but no shift.

        An image that cannot be opened any more is no other.
        """
        import numpy as np

        try:
            aspect, cells = self._own(first)
            aspect_of_other, other = self._own(second)
            if not 1 / (1 + MOST_ASPECT) <= aspect / aspect_of_other <= 1 + MOST_ASPECT:
                return False
            if other.shape != cells.shape:
                other = self._other(second, (cells.shape[1], cells.shape[0]))
        except (OSError, SightlineError):
            return False
        return int(np.abs(cells.astype(np.int16) - other).max()) <= MOST_LEVELS

    def _on_its_grid(self, number: int) -> tuple[float, np.ndarray]:
        """Width over height, and the grey levels of about `CELLS` cells in the shape of the image."""
        image = self._opened(number)
        aspect = image.width / image.height
        columns = max(1, round(math.sqrt(CELLS * aspect)))
        return aspect, _cells(image, (columns, max(1, round(CELLS / columns))))

    def _on_a_grid(self, number: int, grid: Grid) -> np.ndarray:
        return _cells(self._opened(number), grid)

    def _opened(self, number: int) -> Image:
        from sightline.inputs.images import open_image

        return open_image(self._read(number), target_pixels=16 * CELLS)


def _cells(image: Image, grid: Grid) -> np.ndarray:
    import numpy as np
    from PIL.Image import Resampling

    return np.asarray(image.convert("L").resize(grid, Resampling.LANCZOS))
