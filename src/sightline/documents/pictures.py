"""The pages of an image file: one, or the frames of a multi-page TIFF, fax or, if asked, an animation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.documents.kinds import SUPPORTED
from sightline.documents.rawpages import OCR_PIXELS, RawPage, Recogniser, fit, make_page
from sightline.documents.records import IngestSettings
from sightline.errors import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image

    from sightline.inputs.images import Frames


def read_pictures(
    path: Path, root: Path, settings: IngestSettings, first: int, recogniser: Recogniser | None
) -> Iterator[int | RawPage]:
    """The number of pages, then the pages from page ``first`` on; arguments as in `read_pdf`.

    Raises:
        MediaError: when the file, or its only page, cannot be used.
        StorageError: when ``root`` cannot be written.
    """
    from PIL.Image import registered_extensions

    from sightline.inputs.images import open_frames

    try:
        with open_frames(path) as frames:
            numbers = frames.pages(animated=settings.all_frames)
            if len(numbers) > settings.max_pages:
                raise MediaError(
                    f"the image has {len(numbers):,} frames; at most {settings.max_pages:,} are read"
                )
            yield len(numbers)
            for page in range(first, len(numbers)):
                try:
                    yield _read_frame(path, frames, numbers[page], page, root, settings, recogniser)
                except MediaError as error:
                    if len(numbers) == 1:
                        raise
                    yield RawPage(page, error=f"cannot be read ({error.cause_text})")
    except MediaError as error:
        if path.suffix.lower() not in registered_extensions():
            raise MediaError(f"not a supported type ({SUPPORTED}): {error.cause_text}") from error
        raise MediaError(error.cause_text) from error


def _read_frame(
    path: Path,
    frames: Frames,
    frame: int,
    page: int,
    root: Path,
    settings: IngestSettings,
    recogniser: Recogniser | None,
) -> RawPage:
    image = _smaller(frames.load(frame, target_pixels=settings.pixels), settings.pixels)
    return make_page(page, image, root, recogniser=recogniser, sharp=lambda: _sharp(path, frame))


def _sharp(path: Path, frame: int) -> Image:
    """The frame as recognition wants it: opened again, because it may have been decoded smaller."""
    from sightline.inputs.images import open_frames

    with open_frames(path) as frames:
        return _smaller(frames.load(frame, target_pixels=OCR_PIXELS), OCR_PIXELS)


def _smaller(image: Image, pixels: int) -> Image:
    """The image within ``pixels``; a small one stays as it is."""
    from PIL.Image import Resampling

    size = fit(image.width, image.height, pixels)
    return image.resize(size, Resampling.LANCZOS, reducing_gap=3.0) if size[0] < image.width else image
