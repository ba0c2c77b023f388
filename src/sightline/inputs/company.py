"""Which items of one way of calling the model may still not share a micro-batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sightline.inputs.audio_features import WAVEFORM, AudioRules
from sightline.inputs.pixels import FILM_PIXELS


def company(features: Mapping[str, Tensor], audio: AudioRules) -> str:
    """What is added to the name of an item's group: empty, or ``#`` and what its company has in common.

    Waveforms that must not be padded meet their equals in length; films that come as (1, T, C, H, W), without a mask
    over frames, their equals in frames.
    """
    waveform, film = features.get(WAVEFORM), features.get(FILM_PIXELS)
    if waveform is not None and not audio.padded:
        return f"#{waveform.shape[-1]}"
    return f"#{film.shape[1]}" if film is not None and film.ndim == 5 else ""
