"""What transformers or a model refuses, said so that a person knows what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from sightline.errors import InputError
from sightline.inputs.references import data_uri_modality
from sightline.inputs.sniff import is_url, modality_of_name

# What shortens an item, by modality as transformers names it.
_SHORTER = {
    "video": "take fewer frames of the video (processor_kwargs: fps, num_frames)",
    "audio": "cut the audio into shorter pieces",
    "image": "make the image smaller (processor_kwargs: max_pixels)",
}


def refusal_of(error: ValueError, limit: int | None) -> str:
    """The message for an error of a processor's call.

    Args:
        error: as transformers raised it.
        limit: tokens an item is cut at.
    """
    text = str(error)
    if "mismatch" not in text.lower() or "token" not in text.lower():
        return text
    kind = next((name for name in _SHORTER if f"`{name}`" in text), "image")
    return (
        f"the limit of {limit} tokens cuts off part of the {kind}'s placeholder tokens; raise the limit "
        f"(processor_kwargs: model_max_length) or {_SHORTER[kind]}"
    )


def refuse_media_as_text(value: Any, source: str, modalities: Iterable[Any]) -> None:
    """Refuses the path of a file, or a data URI, that a model without its modality would take for a text.

    `parse` does take it for one, as for a single text it may be; in a column of a dataset it never is.

    Args:
        value: a string, or a list of some; everything else passes.
        source: where it stands, for the message.
        modalities: what the model reads.

    Raises:
        InputError: naming the modality.
    """
    read = dict.fromkeys(name for one in modalities for name in ([one] if isinstance(one, str) else one))
    for text in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(text, str):
            continue
        kind = data_uri_modality(text)
        if kind is None and len(text) < 4096 and not is_url(text) and "\n" not in text:
            named = modality_of_name(text)
            kind = named if named is not None and named not in read and os.path.isfile(text) else None
        if kind is not None and kind not in read:
            shown = text if len(text) <= 80 else text[:77] + "..."
            known = " and ".join(name for name in read if name != "message")
            raise InputError(
                f"{shown!r} holds {kind}, and this model reads {known}; "
                'choose a model that reads it, or give {"text": ...} where the name itself is the text',
                source=source,
            )
