"""Content keys: equal for equal content, whatever the path or the container it came in.

Every key is a BLAKE2b digest of 16 bytes (32 hex characters). Text and image bytes are hashed as
they are, open images by an XXH3 hash of their pixels; audio, video and URLs are personalised, so that one
byte string embedded as two modalities gets two keys.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from sightline.errors import InputError, MediaError
from sightline.inputs.references import check_file
from sightline.types import Item, Modality, Part

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_DIGEST_SIZE = 16
_PERSON = {"text": b"", "image": b"", "audio": b"audio", "video": b"video"}


def _hasher(person: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_SIZE, person=person)


def item_key(parts: tuple[Part, ...], *, is_message: bool, source: str | None = None) -> str:
    """Key of an item: that of its only part, or the hash of the (modality, role, part key) sequence.

    Raises:
        MediaError: a file of the item is missing or cannot be read.
        InputError: a value has no content that can be hashed.
    """
    if len(parts) == 1 and not is_message:
        return part_key(parts[0].modality, parts[0].value, source=source)
    hasher = _hasher(b"parts")
    for part in parts:
        key = part_key(part.modality, part.value, source=source)
        hasher.update(f"{part.modality}\0{part.role or ''}\0{key}\n".encode())
    return hasher.hexdigest()


def pair_key(sides: Iterable[tuple[str, Item]]) -> str:
    """Key of items in roles, such as a query and a document, out of the items' own keys."""
    hasher = _hasher(b"pair")
    for role, item in sides:
        hasher.update(f"{role}\0{item.modality}\0{item.key}\n".encode())
    return hasher.hexdigest()


def part_key(modality: Modality, value: Any, *, source: str | None = None) -> str:
    """Key of one value: text, bytes, file content, URL, pixels or array."""
    import numpy as np
    from PIL import Image

    person = _PERSON[modality]
    if isinstance(value, str):
        hasher = _hasher(b"" if modality == "text" else b"url")
        hasher.update(value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, bytes):
        hasher = _hasher(person)
        hasher.update(value)
    elif isinstance(value, Path):
        stat = check_file(value, source=source)
        return _file_key(os.path.abspath(value), stat.st_size, stat.st_mtime_ns, person)
    elif isinstance(value, Image.Image):
        hasher = _hasher(b"pixels")
        _update_pixels(hasher, value, source)
    elif isinstance(value, np.ndarray):
        hasher = _hasher(b"array" + person)
        _update_array(hasher, value)
    elif isinstance(value, dict):  # {"array", "sampling_rate"} or {"array", "video_metadata"}
        array, facts = value["array"], sorted((k, repr(v)) for k, v in value.items() if k != "array")
        return _combine([repr(facts), part_key(modality, array, source=source)])
    elif isinstance(value, list):  # video frames
        return _combine(part_key("image", frame, source=source) for frame in value)
    else:
        raise InputError(f"{modality} given as {type(value).__name__} cannot be hashed", source=source)
    return hasher.hexdigest()


@lru_cache(maxsize=1 << 16)
def _file_key(path: str, size: int, mtime_ns: int, person: bytes) -> str:
    # Size and mtime are only there to make the cache forget a file that was rewritten.
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: _hasher(person)).hexdigest()  # type: ignore[arg-type, return-value]
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror or error})", source=path) from error


def _combine(keys: Iterable[str]) -> str:
    hasher = _hasher(b"sequence")
    for key in keys:
        hasher.update(key.encode() + b"\n")
    return hasher.hexdigest()


def _update_array(hasher: hashlib.blake2b, array: np.ndarray) -> None:
    import numpy as np

    hasher.update(f"{array.dtype.str}{array.shape}".encode())
    hasher.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)


def _update_pixels(hasher: hashlib.blake2b, image: Image, source: str | None) -> None:
    # Palette, transparent colour and orientation change what `open_image` shows, so they belong to
    # the content although they are no pixels.
    try:
        pixels = image.tobytes()
        palette = image.getpalette("RGBA") if image.mode in ("P", "PA") else None
        facts = (image.info.get("transparency"), image.getexif().get(0x0112, 1), palette)
    except Exception as error:  # a lazily opened file is decoded here; Pillow has many ways to fail
        raise MediaError(f"PIL image cannot be decoded ({error})", source=source) from error
    hasher.update(f"{image.mode}{image.size}{facts!r}".encode())
    # An open page has a hundred times the bytes of its file; BLAKE2 would take as long as resizing it.
    hasher.update(xxhash.xxh3_128_digest(pixels))
