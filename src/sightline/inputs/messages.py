"""Chat messages, taken apart into (role, modality, content)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sightline.errors import InputError
from sightline.types import MODALITIES

_TYPES = (*MODALITIES, "image_url", "audio_url", "video_url")


def is_messages(value: Any) -> bool:
    """Whether ``value`` is a message (a dict with "role" and "content") or a list that begins with one."""
    if isinstance(value, (list, tuple)) and value:
        return _is_message(value[0])
    return _is_message(value)


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" in value and "content" in value


def message_contents(value: Any, source: str | None) -> Iterator[tuple[str, str | None, Any]]:
    """Role, modality (None where the content itself must tell) and content of every part, in order.

    Content is a ``str``, a single value, or a list of ``str`` and typed parts:
    ``{"type": "text", "text": ...}``, ``{"type": "image", "image" | "url" | "path" | "base64": ...}``,
    ``{"type": "image_url", "image_url": {"url": ...}}``; the same for audio and video.

    Raises:
        InputError: a message without role or content, or a part of an unknown type or without a value.
    """
    for number, message in enumerate([value] if isinstance(value, Mapping) else value):
        if not _is_message(message) or not isinstance(message["role"], str):
            raise InputError(
                f'message {number} must be {{"role": ..., "content": ...}} with a str as role', source=source
            )
        role, content = message["role"], message["content"]
        if content is None:
            raise InputError(f"message {number} has no content", source=source)
        if not isinstance(content, (list, tuple)):
            content = [content]
        for part in content:
            if isinstance(part, str):
                yield role, "text", part
            elif isinstance(part, Mapping) and "type" in part:
                yield role, *_typed(part, number, source)
            else:
                yield role, None, part


def _typed(part: Mapping[str, Any], number: int, source: str | None) -> tuple[str, Any]:
    kind = part["type"]
    if kind not in _TYPES:
        raise InputError(
            f"message {number} has a part of unknown type {kind!r}; "
            f"accepted are {', '.join(map(repr, _TYPES))}",
            source=source,
        )
    modality = kind.removesuffix("_url")
    names = (kind,) if kind == "text" or kind != modality else (kind, "url", "path", "base64")
    for name in names:
        value = part.get(name)
        if isinstance(value, Mapping) and "url" in value:
            value = value["url"]
        if value is not None:
            # As in transformers' chat templates, a "base64" value is the bare encoding.
            return modality, f"data:{modality}/x;base64,{value}" if name == "base64" else value
    raise InputError(
        f"message {number} has a part of type {kind!r} without {' or '.join(map(repr, names))}", source=source
    )
