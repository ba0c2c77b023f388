"""Perceptual hashes.

The hash is that of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
section 3.2.1: the signs of the lowest frequencies of a small grey version. It finds candidates. What
decides is `closely`, because the lowest frequencies of two filled-in forms are the same.

    C: side of the cosine matrix    F: frequencies kept per direction    B: hashes    R: rows of a block
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_SIDE = 32
_FREQUENCIES = 8
# Coefficients of a page without content are rounding errors, whose signs mean nothing; nine short lines give 1.
_BLANK = 0.25


def perceptual_hash(image: Image) -> str:
    """64 bits as 16 hexadecimal digits; all zero for an image without content."""
    import numpy as np
    from PIL.Image import Resampling

    # Not rounded to whole grey levels, of which a page with few lines has only two or three.
    grey = image.convert("L").convert("F").resize((_SIDE, _SIDE), Resampling.BOX)
    cosines_FC = _cosines()
    low_FF = cosines_FC @ np.asarray(grey, np.float64) @ cosines_FC.T
    values = low_FF.ravel()[1:]  # the first is the mean brightness
    if np.abs(values).max() < _BLANK:
        return "0" * 16
    bits = 0
    for bit in values > np.median(values):
        bits = bits << 1 | int(bit)
    return f"{bits:016x}"


@cache
def _cosines() -> np.ndarray:
    import numpy as np

    angles_FC = np.outer(np.arange(_FREQUENCIES), np.arange(_SIDE) + 0.5) * (math.pi / _SIDE)
    return np.cos(angles_FC) / _SIDE * 2


def near_pairs(hashes_B: np.ndarray, max_distance: int, most: int) -> list[tuple[int, int]]:
    """Pairs of hashes that differ in few bits, as ``(later, earlier)`` positions, sorted.

    Eight bands of eight bits: hashes that differ in at most seven bits agree in one band at least, so
    only those that do are compared, a block at a time.

    Args:
        hashes_B: uint64, all different.
        max_distance: in bits, at most 7.
        most: pairs kept per hash, the nearest and then the earliest, which bounds what comes of a
            collection whose pages all look alike.
    """
    import numpy as np

    assert max_distance < 8
    found: dict[int, set[tuple[int, int]]] = {}
    for band in range(8):
        values = (hashes_B >> np.uint64(8 * band)) & np.uint64(255)
        order = np.argsort(values, kind="stable")
        edges = np.flatnonzero(np.diff(values[order])) + 1
        for members in np.split(order, edges):
            for later, earlier, distance in _near_in_band(hashes_B, members, max_distance, most):
                found.setdefault(later, set()).add((distance, earlier))
    return sorted((later, earlier) for later, near in found.items() for _, earlier in sorted(near)[:most])


def _near_in_band(
    hashes_B: np.ndarray, members: np.ndarray, max_distance: int, most: int
) -> list[tuple[int, int, int]]:
    """``(later, earlier, distance)`` of the members of one band, which come in ascending order."""
    import numpy as np

    found: list[tuple[int, int, int]] = []
    block = max(1, 4_000_000 // max(1, len(members)))
    for start in range(1, len(members), block):
        rows = members[start : start + block]
        distance_RB = np.bitwise_count(hashes_B[rows, None] ^ hashes_B[None, members])
        for row, later in enumerate(rows):
            distances = distance_RB[row, : start + row]
            near = np.flatnonzero(distances <= max_distance)
            nearest = near[np.argsort(distances[near], kind="stable")[:most]]
            found += [(int(later), int(members[place]), int(distances[place])) for place in nearest]
    return found
