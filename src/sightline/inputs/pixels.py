"""Pixels stay uint8 until the device: the rescaling and normalisation a processor would do, done there.

Whether a processor allows it is found out, not assumed: a picture goes through it with and without its
own normalisation, and only if ours gives the same numbers is it used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

PIXELS = "pixel_values"
FILM_PIXELS = "pixel_values_videos"


@dataclass(frozen=True)
class PixelNormalization:
    """``(pixels * scale - mean) / std`` per colour channel.

    Attributes:
        scale: factor on the 0..255 values, usually 1/255.
        mean, std: per channel.
        layout: ``channels`` for (..., C, H, W); ``patches`` for (patches, C * the rest), channel-major,
            as the Qwen-VL family flattens them.
        frames: how often a patch of a still image is repeated for a model that takes several video frames per
            patch. The raw pixels hold it once; the repetition is made on the device, and takes no memory.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Literal["channels", "patches"]
    frames: int = 1

    def __call__(self, pixels: Tensor) -> Tensor:
        """float32 pixels out of the raw ones, on their device.

        Of patches with ``frames``: (patches, channels, frames, the rest), where the frames share their memory. Every
        model of transformers that takes several frames per patch begins by viewing its pixels in this way.
        """
        # A fresh tensor, changed in place from here on: on a CPU new memory costs more than the arithmetic.
        values = pixels.to(torch.float32, copy=True).mul_(self.scale)
        mean = torch.tensor(self.mean, dtype=torch.float32, device=pixels.device)
        std = torch.tensor(self.std, dtype=torch.float32, device=pixels.device)
        if self.layout == "channels":
            return values.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))
        rows = values.view(values.shape[0], len(self.mean), 1, -1)
        rows.sub_(mean.view(1, -1, 1, 1)).div_(std.view(1, -1, 1, 1))
        return values if self.frames == 1 else rows.expand(-1, -1, self.frames, -1)

    def fold(self, pixels: Tensor) -> Tensor:
        """Raw pixels as the processor gives them, without the repetition: (patches, dim / frames)."""
        if self.frames == 1:
            return pixels
        rows = pixels.view(pixels.shape[0], len(self.mean), self.frames, -1)
        return rows[:, :, 0].reshape(pixels.shape[0], -1)


def find_normalization(image_processor: Any) -> PixelNormalization | None:
    """The normalisation that can be put off for this processor, or None when its pixels must come finished.

    Two probes of different shapes are compared, so that a processor which pads or splits images after
    normalising is told apart.
    """
    facts = image_processor.to_dict()
    if not facts.get("do_normalize") or not facts.get("do_rescale", True) or facts.get("image_mean") is None:
        return None
    found: PixelNormalization | None = None
    random = np.random.default_rng(0)
    for height, width in ((70, 90), (130, 60)):
        picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        finished = image_processor(images=[picture], return_tensors="pt").get(PIXELS)
        raw = raw_pixels(image_processor, [picture]).get(PIXELS)
        if not isinstance(finished, Tensor) or not isinstance(raw, Tensor) or raw.shape != finished.shape:
            return None
        if raw.dtype != torch.uint8 or raw.ndim not in (2, 4):
            return None  # tiles per item are padded to a common number, with zeros that have to stay zeros
        layout: Literal["channels", "patches"] = "patches" if raw.ndim == 2 else "channels"
        found = PixelNormalization(
            scale=float(facts.get("rescale_factor", 1 / 255)),
            mean=tuple(float(value) for value in facts["image_mean"]),
            std=tuple(float(value) for value in facts["image_std"]),
            layout=layout,
            frames=int(facts.get("temporal_patch_size") or 1) if layout == "patches" else 1,
        )
        if layout == "patches" and raw.shape[1] % (len(found.mean) * found.frames):
            return None
        ours = found(found.fold(raw)).reshape(finished.shape)
        if (ours - finished.float()).abs().max() > 2e-6:
            return None
    return found


def find_film_normalization(video_processor: Any) -> PixelNormalization | None:
    """`find_normalization` for a video processor, whose frames are all different."""
    facts = video_processor.to_dict()
    if not facts.get("do_normalize") or not facts.get("do_rescale", True) or facts.get("image_mean") is None:
        return None
    film = np.random.default_rng(0).integers(0, 256, (4, 70, 90, 3), dtype=np.uint8)
    arguments = {"return_tensors": "pt", "do_sample_frames": False}
    if "cap_pixels_per_frame" in facts:  # left open, it is warned about
        arguments["cap_pixels_per_frame"] = bool(facts["cap_pixels_per_frame"])
    finished = video_processor([film], **arguments).get(FILM_PIXELS)
    raw = video_processor([film], do_rescale=False, do_normalize=False, **arguments).get(FILM_PIXELS)
    if not isinstance(finished, Tensor) or not isinstance(raw, Tensor) or raw.shape != finished.shape:
        return None
    if raw.dtype != torch.uint8 or raw.ndim not in (2, 5):
        return None
    found = PixelNormalization(
        scale=float(facts.get("rescale_factor", 1 / 255)),
        mean=tuple(float(value) for value in facts["image_mean"]),
        std=tuple(float(value) for value in facts["image_std"]),
        layout="patches" if raw.ndim == 2 else "channels",
    )
    same = bool((found(raw).reshape(finished.shape) - finished.float()).abs().max() <= 2e-6)
    return found if same else None


def raw_pixels(image_processor: Any, images: list[Any], **kwargs: Any) -> dict[str, Any]:
    """What the processor gives without rescaling and normalising; pixels as uint8 where they are whole numbers."""
    return to_uint8(
        dict(
            image_processor(
                images=images, return_tensors="pt", do_rescale=False, do_normalize=False, **kwargs
            )
        )
    )


def to_uint8(features: dict[str, Any]) -> dict[str, Any]:
    """``features`` with whole-numbered pixels 0..255 stored as uint8 (a quarter of the memory)."""
    pixels = features.get(PIXELS)
    if isinstance(pixels, Tensor) and pixels.dtype != torch.uint8:
        small = pixels.to(torch.uint8)
        if torch.equal(small.to(pixels.dtype), pixels):
            features[PIXELS] = small
    return features
