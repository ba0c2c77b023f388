"""What the doctor has to know of an image: its size, how much is on it, and a small grey copy to compare by.

Also the process that finds it out, ``python -m sightline.documents.doctor.picture``: images are opened in child
processes with a limit on memory (see `sightline.documents.child`), because a hostile one can take a decoder down.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.documents.child import Answer, Handle, Send, serve
from sightline.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Raised when the same file would give other facts; older ones are then found out again.
VERSION = 1
# Side of the small copy: a cell of it stands for about a line of a page by a word.
SIDE = 32
# What is decoded of a JPEG: a quarter of each side of a page of a million pixels, where a letter is still seen.
LOOKED_AT = 60_000
# Scanners leave edges and staples there.
MARGIN = 0.04
# Levels of grey, of 255, by which ink differs from paper; paper and JPEG differ by less.
INK = 32


@dataclass(frozen=True, slots=True)
class Picture:
    """Facts of an image file.

    Attributes:
        width, height: of the upright image, in pixels.
        ink: share of its pixels, a margin aside, that differ from the most common grey.
        small: `SIDE` x `SIDE` bytes of grey, row by row; empty where the image cannot be read.
        error: why it cannot be read, or ``""``.
    """

    width: int = 0
    height: int = 0
    ink: float = 0.0
    small: bytes = b""
    error: str = ""


def look(value: Path | bytes) -> Picture:
    """Open an image and find its facts; what cannot be read is one of them."""
    from sightline.inputs.images import image_size, open_image

    try:
        width, height = image_size(value)
        image = open_image(value, target_pixels=LOOKED_AT)
    except InputError as error:
        return Picture(error=error.cause_text.encode("utf-8", "backslashreplace").decode())
    except MemoryError:
        return Picture(error="the image needs more memory than there is")
    return Picture(width, height, *_seen(image))


def _seen(image: Image) -> tuple[float, bytes]:
    import numpy as np
    from PIL.Image import Resampling

    grey = image.convert("L")
    small = grey.resize((SIDE, SIDE), Resampling.BOX).tobytes()
    grey.thumbnail((1024, 1024), Resampling.BOX)
    left, top = round(grey.width * MARGIN), round(grey.height * MARGIN)
    inner = np.asarray(grey)[top : grey.height - top, left : grey.width - left].astype(np.int16)
    paper = int(np.bincount(inner.ravel(), minlength=256).argmax())
    return float((np.abs(inner - paper) > INK).mean()), small


def to_message(picture: Picture) -> Answer:
    """The facts as JSON has them."""
    return {**asdict(picture), "small": base64.b64encode(picture.small).decode()}


def from_message(values: Answer) -> Picture:
    """The facts that `to_message` wrote."""
    return Picture(**{**values, "small": base64.b64decode(values["small"])})


def task_of(value: Path | bytes) -> Answer:
    """What the child process is told to look at."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return {"path": str(value)}


def main() -> None:
    serve(_begin)


def _begin(setup: Answer) -> tuple[int, Handle]:
    def handle(task: Answer, send: Send) -> Iterator[Answer]:
        value: Any = Path(task["path"]) if "path" in task else base64.b64decode(task["bytes"])
        yield {"kind": "picture", "picture": to_message(look(value))}

    return int(setup["memory_mb"]) << 20, handle


if __name__ == "__main__":
    main()
