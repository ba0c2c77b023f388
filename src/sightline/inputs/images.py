"""Open an image from anywhere as upright 8-bit RGB, or refuse it by name.

Pillow's own decompression-bomb limit is one global number; here the limit is an argument, so files are
identified through Pillow's registry of plugins and the size is checked between the header and the pixels.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from sightline.errors import MediaError, SightlineError
from sightline.inputs.colour import array_to_rgb, to_rgb
from sightline.inputs.fetch import DEFAULT, FetchPolicy
from sightline.inputs.references import label, open_reference

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 2**30
# Formats that Pillow decodes in Python take about a microsecond a pixel, so they get this share of the limit.
_SLOW_SHARE = 8
# OpenJPEG holds every sample as int32, twice: this share keeps it under 2 GiB.
_JPEG2000_SHARE = 2

EXCLUDED_FORMATS: dict[str, str] = {
    "EPS": "a PostScript program that Ghostscript would have to run",
    "WMF": "a list of drawing commands that only Windows runs",
    "BUFR": "weather data, not an image",
    "GRIB": "weather data, not an image",
    "HDF5": "a data container, not an image",
    "MPEG": "a video",
    "ICNS": "an icon collection whose parts declare sizes of their own",
    "IPTC": "a news container whose parts declare sizes of their own",
    "PCD": "a Photo CD, of which only a thumbnail could be read",
    "MCIDAS": "satellite data, not an image",
    "FPX": "a FlashPix container",
    "MIC": "an Image Composer container",
}
# Formats of documents, whose frames are pages. PSD and MPO hold layers and views, ICO sizes of one picture.
_PAGED_FORMATS = ("TIFF", "DCX")
_ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF", "FLI")
_TRANSPOSE = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> Image.Transpose
_ORIENTATION_TAG = 0x0112
_SUBFILE_TAG = 254  # of TIFF; bit 0: a smaller version of another frame


class Fit(Protocol):
    """How images are resized before a model sees them."""

    @property
    def method(self) -> int:
        """Pillow's number of the filter."""
        ...

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that an upright image of this size is resized to."""
        ...


def open_image(
    value: Any,
    *,
    source: str | None = None,
    max_pixels: int = MAX_PIXELS,
    target_pixels: int | None = None,
    fit: Fit | None = None,
    policy: FetchPolicy = DEFAULT,
) -> Image:
    """An upright RGB image: EXIF rotation applied, alpha on white, the first frame of several.

    Args:
        value: ``Path``, path, URL or data URI ``str``, ``bytes``, ``{"bytes", "path"}``, PIL image, or
            array (H, W), (H, W, C) or (C, H, W); see `sightline.inputs.colour` for deep samples.
        source: where the value came from (``row 12, column 'image'``), for messages.
        max_pixels: refuse larger images, from the header, before any pixel is decoded.
        target_pixels: let JPEG decode at 1/2, 1/4 or 1/8 scale, never below this many pixels.
        fit: how the image will be resized. Lets JPEG decode at a smaller scale, as long as each side stays at
            least twice as long as it is wanted; such an image comes at the wanted size. It then differs from
            a full decoding by 0.2 (sparse scans) to 1 (dense text) of 255 on average, 40 to 53 dB; saving the
            page as JPEG of quality 85 makes 2.5, 35 dB. With less than twice the length thin strokes suffer.
        policy: for URLs.

    Raises:
        MediaError: missing, empty, truncated, too large, of an excluded format or no image. Names it.
        FetchError: the URL is refused or cannot be read.
        InputError: ``value`` is no image reference or an array of another shape.
    """
    import numpy as np
    from PIL import Image as Pillow

    if isinstance(value, np.ndarray):
        name = label(value, source)
        _check_size(value.shape[:2] if value.ndim == 2 else _array_size(value), max_pixels, name)
        return array_to_rgb(value, source=name)
    if isinstance(value, Pillow.Image):
        name = label(value, source)
        _check_size(value.size, max_pixels, name)
        with _refusals(name):
            value.load()
            return _upright_rgb(value)
    stream, name = open_reference(value, source=source, max_bytes=MAX_FILE_BYTES, policy=policy)
    with stream, _refusals(name), _identify(stream, name) as image:
        if target_pixels is None and fit is not None and image.format in ("JPEG", "MPO"):
            _check_header(image, max_pixels, name)
            smaller = _decoded_smaller(image, fit)
            if smaller is not None:
                return _upright_rgb(smaller)
        return _decoded(image, name, max_pixels, target_pixels)


class Frames:
    """The frames of an opened image file, decoded one at a time; from `open_frames`."""

    def __init__(self, image: ImageFile, name: str, max_pixels: int) -> None:
        self._image, self._name, self._max_pixels = image, name, max_pixels

    def pages(self, *, animated: bool = False) -> tuple[int, ...]:
        """The frames that are pages of their own.

        All of a TIFF's but previews of another frame, all of a multi-page fax's, and the first of an
        animation's or of a file with layers.

        Args:
            animated: all frames of an animation instead.

        Raises:
            MediaError: when the file is damaged.
        """
        image = self._image
        with _refusals(self._name):
            kind = image.format
            if not (kind in _PAGED_FORMATS or (animated and kind in _ANIMATED_FORMATS)):
                return (0,)
            count = getattr(image, "n_frames", 1)  # Pillow gives it to formats that can hold several
            if kind != "TIFF":
                return tuple(range(count))
            numbers = []
            for number in range(count):
                image.seek(number)
                if not image.tag_v2.get(_SUBFILE_TAG, 0) & 1:  # type: ignore[attr-defined]
                    numbers.append(number)
            return tuple(numbers) or (0,)

    def load(self, number: int, *, target_pixels: int | None = None) -> Image:
        """A frame, upright RGB; ``target_pixels`` as in `open_image`.

        Raises:
            MediaError: truncated, damaged or too large.
        """
        with _refusals(self._name):
            if self._image.format in (*_PAGED_FORMATS, *_ANIMATED_FORMATS):  # the layers of a PSD start at 1
                self._image.seek(number)
            return _decoded(self._image, self._name, self._max_pixels, target_pixels)


@contextmanager
def open_frames(
    value: Any, *, source: str | None = None, max_pixels: int = MAX_PIXELS, policy: FetchPolicy = DEFAULT
) -> Iterator[Frames]:
    """An image file that may hold several frames; arguments and errors as in `open_image`."""
    stream, name = open_reference(value, source=source, max_bytes=MAX_FILE_BYTES, policy=policy)
    with stream, ExitStack() as opened:
        with _refusals(name):
            image = opened.enter_context(_identify(stream, name))
        yield Frames(image, name, max_pixels)


def _decoded(image: ImageFile, name: str, max_pixels: int, target_pixels: int | None) -> Image:
    """The frame that the file is at, upright RGB."""
    _check_header(image, max_pixels, name)
    if target_pixels is not None and image.format in ("JPEG", "MPO"):
        scale = math.sqrt(min(1.0, target_pixels / (image.width * image.height)))
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    image.load()
    _check_size(image.size, max_pixels, name)  # containers learn their size while loading
    return _upright_rgb(image)


def image_size(value: Any, *, source: str | None = None, policy: FetchPolicy = DEFAULT) -> tuple[int, int]:
    """Width and height of the upright image, from the header alone; there is no limit on them.

    An orientation that is stored behind the pixels (a late PNG chunk) is not seen.

    Raises:
        MediaError, FetchError, InputError: as `open_image`, as far as the header shows it.
    """
    import numpy as np
    from PIL import Image as Pillow

    if isinstance(value, np.ndarray):
        height, width = value.shape[:2] if value.ndim == 2 else _array_size(value)
        return width, height
    if isinstance(value, Pillow.Image):
        return _upright_size(value)
    stream, name = open_reference(value, source=source, max_bytes=MAX_FILE_BYTES, policy=policy)
    with stream, _refusals(name), _identify(stream, name) as image:
        return _upright_size(image)


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Pillow fails with whatever its parsers stumble over; here every kind becomes a MediaError."""
    try:
        yield
    except (SightlineError, NameError, ImportError):
        raise
    except Exception as error:
        raise MediaError(_reason(error), source=name) from error


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if isinstance(error, MemoryError):
        return "the image needs more memory than there is"
    if type(error).__name__ in ("DecompressionBombError", "DecompressionBombWarning"):
        return "the image is too large (it contains a part beyond Pillow's limit)"
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"the image is truncated or damaged ({text})"
    return f"the image is damaged or of a kind that cannot be read ({text})"


def _identify(stream: BinaryIO, name: str) -> ImageFile:
    """The plugin's image for ``stream``, header read and pixels not."""
    from PIL import Image as Pillow

    Pillow.init()
    prefix = stream.read(16)
    suffix_format = Pillow.EXTENSION.get(os.path.splitext(name)[1].lower())
    for kind in Pillow.ID:
        factory, accept = Pillow.OPEN[kind]
        # A format without a signature would take any bytes, so it needs its file extension.
        if (accept is None and kind != suffix_format) or (accept is not None and accept(prefix) is not True):
            continue
        if kind in EXCLUDED_FORMATS:
            if accept is None:
                continue
            raise MediaError(
                f"{kind} files are not read: {EXCLUDED_FORMATS[kind]}. Convert it to PNG or JPEG", source=name
            )
        stream.seek(0)
        try:
            # No file name: with one Pillow maps the file, and a file cut while it is read kills the process.
            return factory(stream, "")  # type: ignore[return-value]
        except (SyntaxError, IndexError, TypeError, KeyError, struct.error):
            continue  # as Image.open: the next plugin may know it
    raise MediaError("not an image, or of a format that cannot be read", source=name)


def _decoded_smaller(image: ImageFile, fit: Fit) -> Image | None:
    """The image at the size ``fit`` makes of it, from the smallest JPEG scale that leaves twice its sides.

    None where that is the full scale.
    """
    from PIL.Image import Resampling

    turned = _orientation(image) in (5, 6, 7, 8)
    width, height = image.size
    try:
        wanted = fit.target(height, width) if turned else fit.target(width, height)
        # What is at its size is to be left alone afterwards.
        if fit.target(*wanted) != wanted:
            return None
    except ValueError:
        return None  # a shape that is refused by whoever resizes it, with a reason
    columns, rows = reversed(wanted) if turned else wanted
    for scale in (8, 4, 2):
        if width >= 2 * scale * columns and height >= 2 * scale * rows:
            image.draft(image.mode, (width // scale, height // scale))
            image.load()
            # The last row and column may stand for fewer pixels than the others, which the box makes up for.
            box = (0.0, 0.0, width / scale, height / scale)
            return image.resize((columns, rows), Resampling(fit.method), box=box)
    return None


def _check_header(image: ImageFile, max_pixels: int, name: str) -> None:
    from PIL import Image as Pillow

    kind = ""
    if image.format == "JPEG2000":
        max_pixels, kind = max_pixels // _JPEG2000_SHARE, " for JPEG 2000"
        _check_codestream(image, max_pixels, name)
    elif any(tile[0] in Pillow.DECODERS for tile in image.tile):
        max_pixels, kind = (
            max_pixels // _SLOW_SHARE,
            f" for this kind of {image.format}, which decodes slowly",
        )
    _check_size(image.size, max_pixels, name, kind)
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        tile = (tags.get(322), tags.get(323))
        # libtiff holds a whole tile, whatever the size of the image it belongs to.
        if isinstance(tile[0], int) and isinstance(tile[1], int):
            _check_size((tile[0], tile[1]), max_pixels, f"{name}: TIFF tile")


def _check_codestream(image: ImageFile, max_pixels: int, name: str) -> None:
    """The size in the JPEG 2000 codestream, which is what is decoded; the JP2 box may state another."""
    assert image.fp is not None
    position, header = 0, b""
    image.fp.seek(0)
    if image.codec == "jp2":  # type: ignore[attr-defined]
        while header[4:] != b"jp2c":
            image.fp.seek(position)
            header = image.fp.read(8)
            length = int.from_bytes(header[:4], "big")
            if length == 1:  # the length follows in 64 bits
                length = int.from_bytes(image.fp.read(8), "big")
            if len(header) < 8 or (length < 8 and header[4:] != b"jp2c"):
                raise MediaError("the image is truncated (no JPEG 2000 codestream)", source=name)
            position += length
    start = image.fp.read(42)
    if len(start) < 42:
        raise MediaError("the image is truncated (no JPEG 2000 codestream)", source=name)
    right, bottom, left, top, _, _, _, _, components = struct.unpack(">8IH", start[8:])
    _check_size((right - left, bottom - top), max_pixels, name)
    if components > 5:
        raise MediaError(f"the image has {components} components, at most 5 are read", source=name)


def _check_size(size: tuple[int, ...], max_pixels: int, name: str, kind: str = "") -> None:
    width, height = size
    if width <= 0 or height <= 0:
        raise MediaError(f"the image has no pixels ({width} x {height})", source=name)
    if width * height > max_pixels:
        raise MediaError(
            f"the image has {width} x {height} = {width * height / 1e6:,.1f} megapixels, "
            f"the limit{kind} is {max_pixels / 1e6:,.1f}",
            source=name,
        )


def _array_size(array: Any) -> tuple[int, int]:
    """Height and width of a 3-D array; arrays of other shapes are left to `array_to_rgb`."""
    if array.ndim != 3:
        return (1, 1)
    first = array.shape[0] in (1, 3, 4) and not (array.shape[2] in (1, 4) and array.shape[0] != 3)
    return array.shape[1:] if first else array.shape[:2]


def _orientation(image: Image) -> int:
    """EXIF (or XMP) orientation, 1 if there is none or it cannot be read: the pixels are still good."""
    from PIL import Image as Pillow

    try:
        # The base class's: PNG's own would decode all pixels to look for a late chunk.
        return int(Pillow.Image.getexif(image).get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _upright_rgb(image: Image) -> Image:
    from PIL import Image as Pillow

    orientation = _orientation(image)  # after loading, for late chunks; TIFF has applied its own by now
    rgb = to_rgb(image)
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(Pillow.Transpose(_TRANSPOSE[orientation]))
    if rgb is image:
        rgb = image.copy()  # the caller's stays his, and a file's image is not bound to its file
    rgb.info.clear()
    return rgb


def _upright_size(image: Image) -> tuple[int, int]:
    # Pillow has swapped the size of a rotated TIFF already.
    turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else (image.width, image.height)
