"""A heat map drawn over its page.

Shape letters: H, W rows and columns; C colours.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

# From nothing over amber to red; the last number is how much of the page it hides.
_SCALE = np.array(
    [[255, 200, 60, 0], [255, 190, 40, 70], [250, 110, 20, 120], [200, 10, 30, 165]], np.float32
)


def overlay(image: Image, values_HW: np.ndarray) -> Image:
    """The page with its hot places coloured; as large as the page.

    Args:
        image: of the page.
        values_HW: 0..1 over the page (`HeatMap.values_HW`).
    """
    from PIL import Image as Pillow

    heat = Pillow.fromarray((np.clip(values_HW, 0, 1) * 255).astype(np.uint8))
    smooth_HW = np.asarray(heat.resize(image.size, Pillow.Resampling.BICUBIC), np.float32) / 255
    steps = smooth_HW * (len(_SCALE) - 1)
    low = np.minimum(steps.astype(int), len(_SCALE) - 2)
    share_HW1 = (steps - low)[..., None]
    colours_HWC = _SCALE[low] * (1 - share_HW1) + _SCALE[low + 1] * share_HW1
    layer = Pillow.fromarray(colours_HWC.astype(np.uint8), "RGBA")
    page = image.convert("RGBA")
    page.alpha_composite(layer)
    return page.convert("RGB")


def png(image: Image) -> bytes:
    """The image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
