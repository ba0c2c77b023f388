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

# A cell is 6 by 6 pixels of a page of a million: a digit of 9 points covers two.
CELLS = 26_000
# Levels of grey, of 255. Saving a page again (JPEG 60, half the pixels) moves the worst cell by about 12, at hard
# edges by 30; another digit moves one by 40 and more.
MOST_LEVELS = 32
# Pages held at once, of 26 kB each.
HELD = 2_000

Read = Callable[[int], Path | bytes]


class Closely:
    """Compares images by their numbers; each is opened once, as long as not too many are compared.

    Args:
        read: the file of an image, or its bytes.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._grids = lru_cache(maxsize=HELD)(self._grid)

    def same(self, first: int, second: int) -> bool:
        """Whether two images show the same. Survives another size, quality and colour depth, but no shift.

        An image that cannot be opened any more is no other.
        """
        import numpy as np

        try:
            one, other = self._grids(first), self._grids(second)
        except (OSError, SightlineError):
            return False
        if one.shape != other.shape:
            return False
        return int(np.abs(one.astype(np.int16) - other).max()) <= MOST_LEVELS

    def _grid(self, number: int) -> np.ndarray:
        """Mean grey levels of a grid of about `CELLS` cells in the shape of the image."""
        import numpy as np
        from PIL.Image import Resampling

        from sightline.inputs.images import open_image

        image = open_image(self._read(number), target_pixels=16 * CELLS)
        # In steps, so that a side that was rounded when the page was made smaller changes nothing.
        ratio = round(math.log(image.width / image.height) * 50) / 50
        columns = max(1, round(math.sqrt(CELLS * math.exp(ratio))))
        grey = image.convert("L").resize((columns, max(1, CELLS // columns)), Resampling.BOX)
        return np.asarray(grey)
