"""Any Pillow mode, or an array, to 8-bit RGB.

Samples of more than 8 bits are scaled, never clipped:

==================================  ====================================================
samples                             become
==================================  ====================================================
16 bits (I;16, uint16, PGM)         value / 257; 12-bit TIFFs value / 4095 * 255
integers within 0..255              themselves
integers within 0..65535            value / 257
floats within 0..1                  value * 255
floats within 0..255                themselves
anything else, and all of FITS      stretched from their minimum..maximum to 0..255
==================================  ====================================================

NaN and minus infinity count as the smallest finite sample, infinity as the largest.
CMYK is converted without its ICC profile, as ``Image.convert`` does and models were trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightline.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")  # Pillow opens their 16-bit samples as mode I in some cases


def to_rgb(image: Image) -> Image:
    """``image`` in mode RGB, alpha composited on white; ``image`` itself if it is that already."""
    from PIL import Image as Pillow

    if image.mode[0] in "IF":
        transparent = _transparent_pixels(image)
        grey = Pillow.fromarray(_grey(image))
        if transparent is not None:
            grey.paste(255, mask=Pillow.fromarray(transparent))
        return grey.convert("RGB")
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB")


def array_to_rgb(array: np.ndarray, *, source: str | None = None) -> Image:
    """An array (H, W), (H, W, C) or (C, H, W) with C in 1..4 as an RGB image.

    Where both the first and the last dimension could be channels, the first is taken, as transformers does.

    Raises:
        InputError: another shape, an empty array, or samples that are no numbers.
    """
    import numpy as np
    from PIL import Image as Pillow

    array = np.asarray(array)
    if (
        array.ndim == 3
        and array.shape[0] in (1, 3, 4)
        and not (array.shape[2] in (1, 4) and array.shape[0] != 3)
    ):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (2, 3, 4))
    if not fits or 0 in array.shape:
        raise InputError(
            f"an image array is (H, W), (H, W, C) or (C, H, W) with 1 to 4 channels, got {array.shape}",
            source=source,
        )
    if array.dtype.kind not in "buif":
        raise InputError(f"an image array holds numbers, got {array.dtype}", source=source)
    return to_rgb(Pillow.fromarray(np.ascontiguousarray(eight_bits(array))))


def eight_bits(array: np.ndarray, *, white: int | None = None, stretch: bool = False) -> np.ndarray:
    """Samples as uint8 by the table of this module.

    Args:
        white: the sample value that is white, where the file says so.
        stretch: ignore the ranges and stretch minimum..maximum.
    """
    import numpy as np

    if array.dtype == np.uint8 and not stretch:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16 and white is None:
        white = 65535
    values = array.astype(np.float32)
    if array.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.any():
            return np.zeros(values.shape, np.uint8)
        if not finite.all():
            low, high = values[finite].min(), values[finite].max()
            values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    low, high = float(values.min()), float(values.max())
    if stretch or low < 0 or high > 65535 or (array.dtype.kind == "f" and high > 255):
        values -= low
        values *= 255 / (high - low) if high > low else 0
    elif white is not None:
        values *= 255 / white
    elif array.dtype.kind == "f":
        values *= 255 if high <= 1 else 1
    else:
        values *= 255 / 65535 if high > 255 else 1
    return np.rint(values, out=values).clip(0, 255).astype(np.uint8)


def _grey(image: Image) -> np.ndarray:
    """Modes I, F and the I;16 family as uint8 (H, W)."""
    import numpy as np

    array = np.asarray(image)
    white: int | None = None
    inverted = False
    if image.mode.startswith("I;16") or image.format in _SIXTEEN_BIT_FORMATS:
        white = 65535
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = tags.get(258)
        bits = bits[0] if isinstance(bits, tuple) and bits else bits
        if isinstance(bits, int) and 8 < bits < 16:
            white = 2**bits - 1
        inverted = tags.get(262) == 0  # WhiteIsZero, which Pillow heeds up to 8 bits only
    if image.mode == "F":
        white = None
    grey = eight_bits(array, white=white, stretch=image.format == "FITS")
    return 255 - grey if inverted else grey


def _transparent_pixels(image: Image) -> np.ndarray | None:
    """True where a 16-bit grey image has its transparent value."""
    import numpy as np

    value = image.info.get("transparency")
    return np.asarray(image) == value if isinstance(value, int) else None


def _on_white(image: Image) -> Image:
    from PIL import Image as Pillow

    if image.mode in ("RGBa", "La"):  # premultiplied; Pillow converts each to its plain form only
        image = image.convert(image.mode[:-1] + "A")
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # PNG states the transparent colour in the file's 16 bits, of which Pillow kept the upper 8.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    white = Pillow.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white
