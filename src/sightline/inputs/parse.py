"""Whatever a person hands over becomes an `Item`; nothing is decoded here.

A plain ``str`` is text unless it is a reference to media of a modality the model reads:

- a ``data:`` URI of an image, audio or video;
- an http(s) URL whose path ends in a known extension (`sightline.inputs.sniff.EXTENSIONS`);
- a path that ends in a known extension and exists.

A ``str`` that ends in a known extension but names no file is refused, because a mistyped path embedded
as text is a silent error. It is text after all if it contains whitespace and does not start like a path
(``/``, ``./``, ``../``, ``~``), or if the model does not read that modality. ``{"text": "logo.png"}``
is always text.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from sightline.errors import InputError, MediaError
from sightline.inputs.audio import MAX_CHANNELS, check_rate
from sightline.inputs.hashing import item_key
from sightline.inputs.messages import is_messages, message_contents
from sightline.inputs.references import check_file, data_uri_modality, decode_data_uri, label
from sightline.inputs.sniff import HEAD_BYTES, is_url, modality_of_bytes, modality_of_name
from sightline.types import MODALITIES, Item, Modality, Part

_ACCEPTED = (
    "text, a path, URL or data URI, bytes, a PIL image, an array, a dict of modalities "
    '({"text": ..., "image": ...}) or chat messages'
)
_FILE_KEYS = {"bytes", "path"}
_AUDIO_KEYS = {"array", "bytes", "path", "sampling_rate"}
_VIDEO_KEYS = {"array", "video_metadata"}


def parse(value: Any, *, source: str | None = None, modalities: Iterable[Any] | None = None) -> Item:
    """The item that ``value`` stands for; its values stay references until a worker opens them.

    Args:
        value: text, path, URL, data URI, bytes, PIL image, array (1-2 dimensions audio, 3 image, 4
            video), ``{"bytes", "path"}``, ``{"array", "sampling_rate"}``, ``{"array", "video_metadata"}``,
            a dict of modalities whose values may be lists, or chat messages. None in a dict of modalities
            means absent, as Arrow fills it in. An `Item` is returned as it is.
        source: where the value came from (``row 12, column 'image'``), for messages.
        modalities: what the model reads (`Encoder.modalities`); None for everything.

    Raises:
        InputError: None, NaN, empty, an unknown type or key, or a modality the model does not read.
        MediaError: a file that is missing, empty or not media; a damaged data URI.
    """
    if isinstance(value, Item):
        return value
    supported = _base_modalities(modalities)
    if is_messages(value):
        parts = tuple(
            Part(part.modality, part.value, role)
            for role, modality, content in message_contents(value, source)
            for part in _parts(content, modality, source, supported)
        )
        if not parts:
            raise InputError("the messages have no content", source=source)
        is_message = True
    else:
        parts, is_message = tuple(_parts(value, None, source, supported)), False
    for part in parts:
        if part.modality not in supported:
            raise InputError(
                f"this model reads {' and '.join(supported)}, not {part.modality}",
                source=label(part.value, source) if isinstance(part.value, (Path, str)) else source,
            )
    key = item_key(parts, is_message=is_message, source=source)
    if source is None and len(parts) == 1 and parts[0].modality != "text":
        source = label(parts[0].value) if isinstance(parts[0].value, (Path, str)) else None
    return Item(parts, key, source, is_message)


def _base_modalities(modalities: Iterable[Any] | None) -> tuple[str, ...]:
    """The plain modalities among ``modalities``, which may hold tuples and "message"."""
    if modalities is None:
        return MODALITIES
    found: set[str] = set()
    for modality in modalities:
        found.update([modality] if isinstance(modality, str) else modality)
    return tuple(modality for modality in MODALITIES if modality in found)


def _parts(value: Any, modality: str | None, source: str | None, supported: tuple[str, ...]) -> list[Part]:
    """Parts of one value; ``modality`` where the caller stated it."""
    _refuse_missing(value, source)
    if modality is None and isinstance(value, Mapping) and not _is_media_dict(value):
        return _modality_dict(value, source, supported)
    if modality is None and isinstance(value, (list, tuple)):
        raise InputError(
            f"a {type(value).__name__} is no single input; pass its elements one by one, "
            'chat messages, or {"image": [...]} for several images of one item',
            source=source,
        )
    if modality == "text":
        if not isinstance(value, str):
            raise InputError(f"text must be a str, got {type(value).__name__}", source=source)
        return [Part("text", str(value))]
    if modality is None and isinstance(value, str):
        return [_from_text(value, source, supported)]
    return [_media(value, modality, source)]


def _modality_dict(value: Mapping[str, Any], source: str | None, supported: tuple[str, ...]) -> list[Part]:
    unknown = [key for key in value if key not in MODALITIES]
    if unknown:
        hint = ""
        if {"role", "content"} & set(unknown):
            hint = '; a chat message is {"role": ..., "content": ...}'
        elif "sampling_rate" in unknown:
            hint = '; write {"audio": {"array": ..., "sampling_rate": ...}}'
        elif "video_metadata" in unknown:
            hint = '; write {"video": {"array": ..., "video_metadata": ...}}'
        elif "array" in unknown:
            hint = '; {"array": ...} needs "sampling_rate" (audio) or "video_metadata" (video) beside it'
        raise InputError(
            f"unknown key {', '.join(map(repr, unknown))}; "
            f"accepted are {', '.join(map(repr, MODALITIES))}{hint}",
            source=source,
        )
    parts: list[Part] = []
    for modality, content in value.items():
        if content is None:
            continue
        several = isinstance(content, (list, tuple)) and not (modality == "video" and _is_frames(content))
        if several and not content:
            raise InputError(f"{modality!r} is an empty list", source=source)
        for element in content if several else [content]:
            parts.extend(_parts(element, modality, source, supported))
    if not parts:
        raise InputError("the input is empty: every modality is missing", source=source)
    return parts


def _from_text(text: str, source: str | None, supported: tuple[str, ...]) -> Part:
    """Text, or media that a plain string refers to (the rules are in this module's docstring)."""
    if (kind := data_uri_modality(text)) is not None and kind in supported:
        return Part(cast(Modality, kind), decode_data_uri(text, source=source))
    modality = modality_of_name(text) if len(text) < 8192 and "\n" not in text else None
    if modality is None or modality not in supported:
        return Part("text", str(text))
    if is_url(text):
        return Part(modality, str(text))
    if os.path.isfile(text):
        return Part(modality, Path(text))
    starts_like_path = os.path.isabs(text) or text.startswith(("./", "../", "~"))
    if not starts_like_path and any(character.isspace() for character in text):
        return Part("text", str(text))
    if "://" in text:
        raise InputError(
            "only http and https URLs are read, and paths without a scheme", source=label(text, source)
        )
    if os.path.exists(text):
        check_file(Path(text), source=source)
    raise MediaError('no such file (if it is meant as text, pass {"text": ...})', source=label(text, source))


def _media(value: Any, stated: str | None, source: str | None) -> Part:
    """One media part; its modality is ``stated``, or follows from the value."""
    from PIL.Image import Image

    value = plain(value, source)
    modality: str | None
    if isinstance(value, Mapping):
        value, modality = _media_dict(value, stated, source)
        if modality is not None:
            _check_modality(modality, stated, source)
            return Part(cast(Modality, modality), value)
    if isinstance(value, str):  # only where the modality is stated, or in a {"path"} dict
        if value[:5].lower() == "data:":
            modality, value = data_uri_modality(value), decode_data_uri(value, source=source)
        elif is_url(value):
            modality = modality_of_name(value) or stated
        else:
            value = Path(value)
    if isinstance(value, Path):
        check_file(value, source=source)
        modality = stated or _modality_of_file(value, source)
    elif isinstance(value, bytes):
        modality = stated or modality_of_bytes(value[:HEAD_BYTES])
        if not value:
            raise MediaError("the bytes are empty", source=source)
        if modality is None:
            raise InputError(
                "the bytes are no image, audio or video that is known", source=label(value, source)
            )
    elif isinstance(value, Image):
        modality = "image"
    elif isinstance(value, np.ndarray):
        modality = _modality_of_array(value, stated, source)
    elif isinstance(value, (list, tuple)) and stated == "video":
        value, modality = [_media(frame, "image", source).value for frame in value], "video"
    elif not isinstance(value, str):
        hint = " (cast the column with decode=False)" if type(value).__name__.endswith("Decoder") else ""
        raise InputError(f"cannot read a {type(value).__name__}{hint}; expected {_ACCEPTED}", source=source)
    if modality is None:
        raise InputError("its extension is of no known image, audio or video", source=label(value, source))
    # The same container may hold audio or video, so there the caller's word counts.
    if not ({modality, stated} <= {"audio", "video"} and isinstance(value, (str, Path, bytes))):
        _check_modality(modality, stated, source)
    return Part(cast(Modality, stated or modality), value)


def _media_dict(value: Mapping[str, Any], stated: str | None, source: str | None) -> tuple[Any, str | None]:
    """Value and modality of datasets' dicts; None where the bytes or path inside decide."""
    if value.get("array") is not None:
        array = value["array"]
        if "video_metadata" in value:
            frames = list(array) if isinstance(array, (list, tuple)) else array
            inner = _media(frames, "video", source).value
            return {"array": inner, "video_metadata": value["video_metadata"]}, "video"
        array = plain(array if not isinstance(array, (list, tuple)) else np.asarray(array), source)
        if not isinstance(array, np.ndarray):
            raise InputError(f"'array' must be an array, got {type(array).__name__}", source=source)
        _modality_of_array(array, "audio", source)
        return {"array": array, "sampling_rate": check_rate(value.get("sampling_rate"), source)}, "audio"
    content = value.get("bytes") or value.get("path")
    if not content:
        raise InputError(f"none of {', '.join(map(repr, value))} holds anything", source=source)
    content = plain(content, source)
    if "sampling_rate" in value and stated is None:
        return _media(content, "audio", source).value, "audio"
    return content, None


def plain(value: Any, source: str | None) -> Any:
    """bytes, Path or ndarray for their relatives; torch tensors without importing torch."""
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, os.PathLike) and not isinstance(value, Path):
        return Path(value)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return value


def _modality_of_array(array: np.ndarray, stated: str | None, source: str | None) -> str:
    """The rule of Sentence Transformers: 1-2 dimensions audio, 3 image, 4 video."""
    if array.dtype.kind not in "buif":
        raise InputError(f"an array must hold numbers, got {array.dtype}", source=source)
    if array.size == 0:
        raise InputError(f"the array is empty: its shape is {array.shape}", source=source)
    if stated == "image" and array.ndim == 2:
        return "image"
    if array.ndim == 2 and min(array.shape) > MAX_CHANNELS:
        raise InputError(
            f"an array of shape {array.shape} would be audio of {min(array.shape)} channels; "
            'pass {"image": array} for a greyscale image',
            source=source,
        )
    modality = {1: "audio", 2: "audio", 3: "image", 4: "video"}.get(array.ndim)
    if modality is None:
        raise InputError(
            f"an array has 1-2 dimensions for audio, 3 for an image or 4 for video, got {array.ndim}",
            source=source,
        )
    return modality


def _modality_of_file(path: Path, source: str | None) -> str:
    modality = modality_of_name(path.name)
    if modality is not None:
        return modality
    try:
        with path.open("rb") as file:
            modality = modality_of_bytes(file.read(HEAD_BYTES))
    except OSError as error:
        raise MediaError(f"cannot be read ({error.strerror or error})", source=label(path, source)) from error
    if modality is None:
        hint = "; `sightline ingest` turns documents into pages" if path.suffix.lower() == ".pdf" else ""
        raise MediaError(f"is no image, audio or video that is known{hint}", source=label(path, source))
    return modality


def _check_modality(found: str, stated: str | None, source: str | None) -> None:
    if stated is not None and stated != found:
        raise InputError(f"{stated!r} was given a value that is {found}", source=source)


def _is_media_dict(value: Mapping[str, Any]) -> bool:
    keys = set(value)
    if not keys or not all(isinstance(key, str) for key in keys):
        return False
    if keys <= _FILE_KEYS:
        return True
    if "sampling_rate" in keys:
        return keys <= _AUDIO_KEYS and len(keys) > 1
    return keys == _VIDEO_KEYS


def _is_frames(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list given as video is one video's frames rather than several videos."""
    from PIL.Image import Image

    return all(
        isinstance(value, Image)
        or (isinstance(value, np.ndarray) and value.ndim in (2, 3))
        or (isinstance(value, (str, Path)) and modality_of_name(str(value)) == "image")
        for value in values
    )


def _refuse_missing(value: Any, source: str | None) -> None:
    if value is None or (isinstance(value, (float, np.floating)) and math.isnan(value)):
        raise InputError(f"the value is missing ({value})", source=source)
    if isinstance(value, (list, tuple, Mapping)) and not value:
        raise InputError(f"the value is an empty {type(value).__name__}", source=source)
