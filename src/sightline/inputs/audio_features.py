"""Waveforms to a model's audio features, and what may be done with them in a batch.

Shape letters::

    N  clips    S  samples    T  frames the model makes of them
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import ClapFeatureExtractor, WhisperFeatureExtractor

from sightline.errors import MediaError

logger = logging.getLogger(__name__)

FEATURES = "input_features"
WAVEFORM = "input_values"

# Models whose layers see nothing of the padding when they are given a mask. The others of their family mix
# frames in convolutions between the layers, where padding leaks in.
_MASKED = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"})
# Convolutions (kernel, stride) of models whose configuration does not tell them.
_CONVOLUTIONS: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "moonshine": ((127, 7, 3), (64, 3, 2))
}
# Models that take their spectrogram's true frames out by a mask, so that silence behind a clip is dead weight.
_UNPADDED = ("qwen2_5_omni", "qwen3_omni")

_DRAWING = threading.Lock()


@dataclass(frozen=True)
class AudioRules:
    """How the audio features of one model behave.

    Attributes:
        kernels, strides: of the convolutions that make frames of samples; none for models that take spectrograms.
        padded: clips of different lengths may share a micro-batch, padded and masked. Where the model normalises
            over time, or mixes frames without a mask, a clip's vector would depend on its neighbours.
        trimmed: the silence a processor pads spectrograms with is cut off again.
    """

    kernels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    padded: bool = True
    trimmed: bool = False

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return prod(self.strides)

    @property
    def least(self) -> int:
        """Samples the first frame is made of; shorter clips have none."""
        count = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides)):
            count = (count - 1) * stride + kernel
        return count

    def frame_mask(self, mask_NS: Tensor, frames: int) -> Tensor:
        """(N, T) over frames, from the mask over samples."""
        count_N = mask_NS.sum(dim=-1)
        for kernel, stride in zip(self.kernels, self.strides):
            count_N = torch.div(count_N - kernel, stride, rounding_mode="floor") + 1
        return (torch.arange(frames, device=mask_NS.device) < count_N.unsqueeze(-1)).to(mask_NS.dtype)

    def trim(self, values: dict[str, Any]) -> dict[str, Any]:
        """``values`` without the silence behind spectrograms, where the model skips it anyway."""
        mask = values.get("feature_attention_mask")
        if self.trimmed and isinstance(mask, Tensor) and isinstance(values.get(FEATURES), Tensor):
            longest = int(mask.sum(dim=-1).max())
            values |= {FEATURES: values[FEATURES][..., :longest], "feature_attention_mask": mask[:, :longest]}
        return values


def audio_rules(facts: Mapping[str, Any]) -> AudioRules:
    """The rules of a model, from its configuration."""
    kind = str(facts.get("model_type"))
    kernels, strides = _CONVOLUTIONS.get(
        kind, (tuple(facts.get("conv_kernel") or ()), tuple(facts.get("conv_stride") or ()))
    )
    if not kernels or len(kernels) != len(strides):
        return AudioRules(trimmed=kind.startswith(_UNPADDED))
    masked = kind in _MASKED and facts.get("feat_extract_norm") == "layer" and not facts.get("add_adapter")
    return AudioRules(kernels, strides, padded=masked)


def audio_features(
    extractor: Any,
    clips: Sequence[np.ndarray],
    arguments: Mapping[str, Any],
    rules: AudioRules,
    source: str | None,
) -> dict[str, Any]:
    """Features of mono clips at the extractor's rate, by its own call.

    Args:
        extractor: a transformers feature extractor.
        clips: waveforms (S,) of one item.
        arguments: of the extractor's call, as the checkpoint saves them.
        rules: of the model.
        source: where the clips came from, for messages.

    Raises:
        MediaError: a clip too short for the model to make a frame of.
    """
    rate = int(extractor.sampling_rate)
    shortest = min(len(clip) for clip in clips)
    if shortest < rules.least:
        raise MediaError(
            f"the audio lasts {1000 * shortest / rate:.0f} ms, and the model needs at least "
            f"{1000 * rules.least / rate:.0f} ms",
            source=source,
        )
    settled = {"sampling_rate": rate, "return_tensors": "pt", **arguments}
    if rules.kernels and rules.padded:
        settled["return_attention_mask"] = True
    if isinstance(extractor, ClapFeatureExtractor):
        with _same_draw():
            return dict(extractor(list(clips), **settled))
    return dict(extractor(list(clips), **settled))


def unheard(clip: np.ndarray, extractor: Any, arguments: Mapping[str, Any]) -> str | None:
    """What a model misses of a clip that is longer than its window, or None.

    Args:
        clip: samples (S,) at the extractor's rate.
        extractor: a transformers feature extractor.
        arguments: of the extractor's call, as the checkpoint saves them.
    """
    if isinstance(extractor, WhisperFeatureExtractor):
        taken = arguments.get("truncation", True)
        window, part = arguments.get("max_length") or extractor.n_samples, "the first"
    elif isinstance(extractor, ClapFeatureExtractor):
        # "fusion" adds the whole clip at a coarser resolution.
        taken = (arguments.get("truncation") or extractor.truncation) == "rand_trunc"
        window, part = arguments.get("max_length") or extractor.nb_max_samples, "a crop of"
    else:
        return None
    if not taken or len(clip) <= window:
        return None
    rate = int(extractor.sampling_rate)
    return (
        f"the audio lasts {len(clip) / rate:.1f} s, and the model hears {part} {window / rate:g} s; cut longer "
        "recordings into pieces"
    )


class Notices:
    """Tells the first thing there is to tell, and not what follows, until it is started anew."""

    def __init__(self) -> None:
        self._told = False

    def begin(self) -> None:
        """A new call or dataset: its first is told."""
        self._told = False

    def tell(self, what: str | None, source: str | None) -> None:
        """Logs a warning about an item."""
        if what is not None and not self._told:
            self._told = True
            logger.warning("%s: %s (others like it are not named)", source or "an item", what)


@contextmanager
def _same_draw() -> Iterator[None]:
    """NumPy's own generator in one state: CLAP draws its crops of long clips from it, and a clip has one vector."""
    with _DRAWING:
        state = np.random.get_state()
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(state)
