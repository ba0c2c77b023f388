"""What an item costs in a forward pass, from its features."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sightline.inputs.audio_features import FEATURES, WAVEFORM, AudioRules
from sightline.inputs.pixels import FILM_PIXELS, PIXELS
from sightline.types import Cost


def cost_of(features: Mapping[str, Tensor], patch_size: int, audio: AudioRules) -> Cost:
    """Tokens and vision patches.

    Args:
        features: of one item, unpadded.
        patch_size: side of a vision patch in pixels.
        audio: how many samples make a frame.
    """
    patches = 0
    for name, value in features.items():
        if name.endswith("_grid_thw"):
            patches += int(value.prod(dim=-1).sum())
    if not patches:
        for name in (PIXELS, FILM_PIXELS):
            if name in features:
                patches += _patches(features[name], patch_size)
    if "input_ids" in features:
        return Cost(features["input_ids"].shape[0], patches)
    if patches:
        return Cost(0, patches)
    # Audio towers: one position per frame. The longer side of a spectrogram is time.
    if WAVEFORM in features:
        return Cost(max(1, features[WAVEFORM].shape[-1] // audio.hop), 0)
    if FEATURES in features:
        return Cost(max(features[FEATURES].shape[-2:]), 0)
    return Cost(max((value.shape[-1] for value in features.values() if value.ndim), default=1), 0)


def _patches(pixels: Tensor, patch_size: int) -> int:
    if pixels.ndim < 4:  # patches already: (1, patches, dim)
        return pixels.shape[:-1].numel()
    rows, columns = (side // patch_size for side in pixels.shape[-2:])
    return pixels.shape[:-3].numel() * rows * columns
