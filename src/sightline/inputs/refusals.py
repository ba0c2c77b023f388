"""What transformers refuses, said so that a person knows what to do."""

from __future__ import annotations

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
