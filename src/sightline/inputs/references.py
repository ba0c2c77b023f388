"""From a reference (path, bytes, URL, data URI) to a readable stream, with every refusal named."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
import stat as stat_module
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from sightline.errors import InputError, MediaError
from sightline.inputs.fetch import DEFAULT, FetchPolicy, fetch, redact
from sightline.inputs.sniff import is_url

_DATA_URI = re.compile(r"data:(image|audio|video)/[\w.+-]+((?:;[\w.+-]+(?:=[\w.+\"-]*)?)*),", re.IGNORECASE)
MAX_DATA_URI_BYTES = 64 * 2**20


def label(value: Any, source: str | None = None) -> str:
    """How a value is called in messages: ``source``, and the file or URL unless source says it."""
    if isinstance(value, Path):
        name = str(value)
    elif isinstance(value, str):
        name = redact(value) if is_url(value) else value if len(value) <= 200 else value[:200] + "..."
    elif isinstance(value, bytes):
        name = "" if source else f"{len(value)} bytes"
    else:
        name = "" if source else f"{type(value).__name__} value"
    if not source or not name or name in source:
        return source or name
    return f"{source}: {name}"


def data_uri_modality(text: str) -> str | None:
    """``"image"``, ``"audio"`` or ``"video"`` if ``text`` is a data URI of that kind, else None."""
    match = _DATA_URI.match(text)
    return match.group(1).lower() if match else None


def decode_data_uri(text: str, *, source: str | None = None, max_bytes: int = MAX_DATA_URI_BYTES) -> bytes:
    """The content of a base64 or percent-encoded data URI.

    Raises:
        MediaError: it is malformed, empty or larger than ``max_bytes``.
    """
    name = label(text[:40] + ("..." if len(text) > 40 else ""), source)
    match = _DATA_URI.match(text)
    if match is None:
        raise MediaError("not a data URI of an image, audio or video", source=name)
    # Base64 holds 3 bytes in 4 characters, percent-encoding 1 byte in at most 3: checked before decoding.
    if len(text) > 3 * max_bytes + 1024:
        raise MediaError(f"data URI is larger than the limit of {max_bytes:,} bytes", source=name)
    try:
        body = unquote_to_bytes(text[match.end() :])
    except UnicodeEncodeError as error:  # half a character, which JSON can carry
        raise MediaError("data URI holds what is no character", source=name) from error
    if match.group(2).lower().endswith(";base64"):
        body = re.sub(rb"\s+", b"", body)
        try:
            body = base64.b64decode(body + b"=" * (-len(body) % 4), validate=True)
        except binascii.Error as error:
            raise MediaError(f"data URI is not valid base64 ({error})", source=name) from error
    if len(body) > max_bytes:
        raise MediaError(f"data URI is larger than the limit of {max_bytes:,} bytes", source=name)
    if not body:
        raise MediaError("data URI is empty", source=name)
    return body


def check_file(path: Path, *, source: str | None = None) -> os.stat_result:
    """The file's status, if it is a regular file that is not empty.

    Raises:
        MediaError: no such file, a directory, a pipe or device (reading could hang), or empty.
    """
    name = label(path, source)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError("no such file", source=name) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise MediaError(f"cannot be read ({error})", source=name) from error
    if stat_module.S_ISDIR(status.st_mode):
        raise MediaError("is a folder, not a file", source=name)
    if not stat_module.S_ISREG(status.st_mode):
        raise MediaError("is a pipe or device, not a file", source=name)
    if status.st_size == 0:
        raise MediaError("the file is empty", source=name)
    return status


def open_reference(
    value: Any,
    *,
    source: str | None = None,
    max_bytes: int | None = None,
    policy: FetchPolicy = DEFAULT,
) -> tuple[BinaryIO, str]:
    """A seekable binary stream of the referenced content, and its name for messages.

    Args:
        value: ``Path``, ``bytes``, URL, data URI or path ``str``, or datasets' ``{"bytes", "path"}``.
        max_bytes: refuse more than this.

    Raises:
        MediaError: the content is missing, empty, too large or unreadable.
        FetchError: a URL is refused or cannot be read.
        InputError: ``value`` is no reference.
    """
    if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (bytearray, memoryview)):
        value = bytes(value)
    if isinstance(value, str):
        if is_url(value):
            return io.BytesIO(fetch(value, policy)), label(value, source)
        if value[:5].lower() == "data:":
            return io.BytesIO(decode_data_uri(value, source=source)), source or value[:40] + "..."
        value = Path(value)
    if isinstance(value, os.PathLike):
        path = Path(value)
        size = check_file(path, source=source).st_size
    elif isinstance(value, bytes):
        size = len(value)
    else:
        raise InputError(
            f"expected a path, bytes or a URL, got {type(value).__name__}",
            source=source or type(value).__name__,
        )
    name = label(value, source)
    if size == 0:
        raise MediaError("the content is empty", source=name)
    if max_bytes is not None and size > max_bytes:
        raise MediaError(f"has {size:,} bytes, more than the limit of {max_bytes:,}", source=name)
    if isinstance(value, bytes):
        return io.BytesIO(value), name
    try:
        return open(path, "rb"), name
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror or error})", source=name) from error
