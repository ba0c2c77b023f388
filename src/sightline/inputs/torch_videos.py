"""Video processors of transformers, without torchvision.

Four operations of transformers' video processors go through torchvision, and torch itself has all of them. The
classes here are transformers' own with those four replaced (`plain_torch`), so the formulas (sizes, sampling,
patches, what is saved) stay theirs, and so do their names, under which they are saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.models.llava_onevision.video_processing_llava_onevision import (
    LlavaOnevisionVideoProcessor as LlavaOnevisionVideos,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor as Qwen3VLVideos
from transformers.models.videomae.video_processing_videomae import VideoMAEVideoProcessor as VideoMAEVideos
from transformers.models.vjepa2.video_processing_vjepa2 import VJEPA2VideoProcessor as VJEPA2Videos

from sightline.inputs.plain_torch import PlainTorch
from sightline.inputs.qwen2_videos import Qwen2VLVideoProcessor


class Qwen3VLVideoProcessor(Qwen3VLVideos, PlainTorch):  # type: ignore[misc]
    """Of Qwen3-VL and Qwen3.5."""


class LlavaOnevisionVideoProcessor(LlavaOnevisionVideos, PlainTorch):
    """Of LLaVA-OneVision."""


class VideoMAEVideoProcessor(VideoMAEVideos, PlainTorch):
    """Of VideoMAE."""


class VJEPA2VideoProcessor(VJEPA2Videos, PlainTorch):
    """Of V-JEPA 2."""


_KNOWN: Mapping[str, type[PlainTorch]] = {
    kind.__name__: kind
    for kind in (
        Qwen2VLVideoProcessor,
        Qwen3VLVideoProcessor,
        LlavaOnevisionVideoProcessor,
        VideoMAEVideoProcessor,
        VJEPA2VideoProcessor,
    )
}


def torch_video_processor(
    settings: Mapping[str, Any], *, image_processor: str | None = None, **kwargs: Any
) -> PlainTorch | None:
    """The video processor that a checkpoint's settings name, or None where it needs torchvision.

    Args:
        settings: content of ``video_preprocessor_config.json``.
        image_processor: type of the image processor, from which transformers derives the video processor of older
            checkpoints, whose settings name none.
        kwargs: the caller's arguments; those that mean videos win over the settings.
    """
    derived = (image_processor or "").removesuffix("Fast").replace("ImageProcessor", "VideoProcessor")
    kind = _KNOWN.get(str(settings.get("video_processor_type") or derived))
    if kind is None:
        return None
    known = kind.valid_kwargs.__annotations__
    return kind.from_dict(dict(settings), **{name: value for name, value in kwargs.items() if name in known})
