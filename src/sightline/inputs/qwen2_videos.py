"""The video processor of Qwen2-VL, Qwen2.5-VL and Qwen2.5-Omni, whose module in transformers needs torchvision.

It differs from Qwen3-VL's, which does not, in three things: which frames are taken, that the size of a frame does not
depend on their number, and the settings it has by itself. The formulas are those of transformers'
``video_processing_qwen2_vl``; tests compare the features bit by bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, SizeDict
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from sightline.inputs.plain_torch import PlainTorch


class Qwen2VLVideoProcessor(Qwen3VLVideoProcessor, PlainTorch):
    """Of Qwen2-VL, Qwen2.5-VL and Qwen2.5-Omni."""

    size = {"shortest_edge": 128 * 28 * 28, "longest_edge": 28 * 28 * 768}  # noqa: RUF012
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    patch_size = 14
    do_sample_frames = False
    max_video_tokens = 128_000
    fps = None  # type: ignore[assignment]

    def __init__(self, min_pixels: int | None = None, max_pixels: int | None = None, **kwargs: Any) -> None:
        # Older checkpoints keep the limits beside the size.
        given = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
        size = dict(kwargs.pop("size", None) or self.size)
        size |= {edge: pixels for edge, pixels in given.items() if pixels is not None}
        super().__init__(size=size, **kwargs)

    def sample_frames(
        self,
        metadata: Any,
        num_frames: int | None = None,
        fps: float | None = None,
        **limits: Any,
    ) -> np.ndarray:
        """Positions of whole pairs of frames, each as far from the next.

        Raises:
            ValueError: fps are asked for, and those of the video are not known; or there are too few frames.
        """
        if fps is not None and num_frames is not None:
            raise ValueError("num_frames and fps exclude each other")
        together = limits.get("temporal_patch_size") or self.temporal_patch_size
        least = limits.get("min_frames") or self.min_frames
        number = num_frames if num_frames is not None else self.num_frames
        rate = fps if fps is not None else self.fps
        total = metadata.total_num_frames
        if number is not None:
            number = round(number / together) * together
        elif rate is not None:
            if metadata.fps is None:
                raise ValueError(
                    "fps cannot be sampled from frames whose own are not known; give video_metadata with fps, or "
                    "num_frames"
                )
            most = min(limits.get("max_frames") or self.max_frames, total)
            wanted = min(max(total / metadata.fps * rate, least), math.floor(most / together) * together)
            number = math.floor(wanted / together) * together
        if number is None:
            return np.arange(total)
        if number > total:
            raise ValueError(f"{number} frames cannot be taken of a video of {total}")
        return np.arange(0, total, total / number, dtype=np.float32).astype(np.int64)

    def resize(  # type: ignore[override]  # as transformers' video processors have it
        self,
        videos: Tensor,
        size: Any,
        resample: Any,
        factor: int,
        temporal_factor: int = 2,
        cap_pixels_per_frame: bool | None = None,
        **_: Any,
    ) -> Tensor:
        """Frames (..., T, C, H, W) within the limits of ``size``, in pixels per frame."""
        most = size.longest_edge
        if cap_pixels_per_frame:
            budget = int(self.max_video_tokens * factor * factor * 0.9)
            share = budget * temporal_factor // videos.shape[1]
            most = max(min(most, share), int(size.shortest_edge * 1.05))
        rows, columns = videos.shape[-2:]
        height, width = smart_resize(rows, columns, factor, size.shortest_edge, most)
        return PlainTorch.resize(self, videos, SizeDict(height=height, width=width), resample)
