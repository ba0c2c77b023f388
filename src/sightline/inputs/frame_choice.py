"""Which frames of a video a model sees: chosen by the formulas of its own video processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.inputs.video import VideoFrames

if TYPE_CHECKING:
    from transformers.video_processing_utils import BaseVideoProcessor

# Frames per second of a file where neither the checkpoint nor the caller says anything, as Qwen publishes it.
# (transformers would take every frame, which no model's context holds.)
DEFAULT_FPS = 2.0
LIMIT = 768


@dataclass(frozen=True)
class FrameChoice:
    """Picks frames as transformers would with the same settings.

    Frames handed over in memory are taken as they are, unless the checkpoint samples those, too
    (``do_sample_frames``); frames of a file are always sampled.

    Attributes:
        processor: the model's video processor.
        arguments: ``processing_kwargs["video"]``: num_frames or fps, min_frames, max_frames, do_sample_frames.
        fixed: how many frames the model takes, where its position table is made for one number.
    """

    processor: BaseVideoProcessor
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fixed: int | None = None

    def __call__(self, total: int, fps: float, *, in_memory: bool) -> np.ndarray:
        """Positions (T,) of the chosen frames, ascending; one may occur twice.

        Args:
            total: frames of the video, at least 1.
            fps: frames per second, 0.0 where nobody knows.
            in_memory: whether somebody handed over frames rather than a file.

        Raises:
            ValueError: the settings contradict each other, or ask for fps where nobody knows the video's.
        """
        if self.fixed is not None:
            return _spread(total, self.fixed)
        facts = self.processor.to_dict()
        settings = facts | {name: value for name, value in self.arguments.items() if value is not None}
        together = int(settings.get("temporal_patch_size") or 1)
        sampled = bool(settings.get("do_sample_frames"))
        if total <= together or (in_memory and not sampled):
            indices = np.arange(total)
        else:
            indices = self._sampled(total, fps, settings)
        if len(indices) > LIMIT:
            indices = indices[_spread(len(indices), LIMIT)]
        # Frames are looked at several at a time; a video of fewer stands still.
        return np.concatenate([indices, np.repeat(indices[-1:], max(0, together - len(indices)))])

    def _sampled(self, total: int, fps: float, facts: Mapping[str, Any]) -> np.ndarray:
        from transformers.video_utils import VideoMetadata

        given = self.arguments if self.arguments.keys() & {"num_frames", "fps"} else facts
        wanted = {name: facts[name] for name in ("min_frames", "max_frames") if facts.get(name) is not None}
        if given.get("num_frames") is not None:
            wanted["num_frames"] = min(int(given["num_frames"]), total)
        else:
            asked = float(given.get("fps") or DEFAULT_FPS)
            wanted["fps"] = min(asked, fps) if fps else asked  # more than all frames there cannot be
        metadata = VideoMetadata(total, fps=fps or None, duration=total / fps if fps else None)
        found = np.asarray(self.processor.sample_frames(metadata=metadata, **wanted), dtype=np.int64)
        return np.clip(found, 0, total - 1)


def _spread(total: int, number: int) -> np.ndarray:
    return np.linspace(0, total - 1, number).round().astype(np.int64)


def without_sampling(arguments: Mapping[str, Any], videos: Sequence[VideoFrames]) -> dict[str, Any]:
    """Arguments of the processor's call for videos whose frames are chosen already."""
    # fps stays: Qwen2.5-Omni's processor reads the times of frames off it.
    if not videos:
        return dict(arguments)
    stated = {"do_sample_frames": False, "video_metadata": [video.metadata() for video in videos]}
    return {**arguments, **stated}


def noted(value: Any, videos: list[VideoFrames]) -> Any:
    """What a processor takes: of a video its frames, with the video itself noted in ``videos``."""
    if isinstance(value, VideoFrames):
        videos.append(value)
        return value.frames
    return value
