"""Video from anywhere as evenly spaced RGB frames with their times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sightline.errors import InputError, MediaError
from sightline.inputs.container import decoder_of, open_container
from sightline.inputs.fetch import DEFAULT, FetchPolicy
from sightline.inputs.images import MAX_PIXELS, open_image
from sightline.inputs.references import label

MAX_SECONDS = 4 * 3600.0
MAX_FRAMES = 128
TOTAL_PIXELS = 128_000_000


class Choice(Protocol):
    """Decides which frames are taken."""

    def __call__(self, total: int, fps: float, *, in_memory: bool) -> np.ndarray:
        """Positions (T,) among ``total`` frames, ascending; ``fps`` is 0.0 where nobody knows."""
        ...


@dataclass(frozen=True)
class VideoFrames:
    """Frames sampled from a video.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB, upright.
        timestamps: (T,) float64, seconds from the start of the video.
        indices: (T,) int64, position of each frame in the whole video.
        fps: frames per second of the whole video, 0.0 where nobody knows.
        duration: seconds of the whole video, 0.0 where nobody knows.
        total_frames: frames of the whole video.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    indices: np.ndarray
    fps: float
    duration: float
    total_frames: int

    def metadata(self) -> dict[str, Any]:
        """``video_metadata`` as transformers' video processors take it."""
        return {
            "total_num_frames": self.total_frames,
            "fps": self.fps or None,
            "duration": self.duration or None,
            "frames_indices": self.indices.tolist(),
            "width": self.frames.shape[2],
            "height": self.frames.shape[1],
        }


def load_video(
    value: Any,
    *,
    fps: float | None = 2.0,
    max_frames: int = MAX_FRAMES,
    choice: Choice | None = None,
    source: str | None = None,
    max_seconds: float = MAX_SECONDS,
    max_pixels: int = MAX_PIXELS,
    total_pixels: int = TOTAL_PIXELS,
    policy: FetchPolicy = DEFAULT,
) -> VideoFrames:
    """Frames at ``fps`` per second of video, at most ``max_frames``, evenly spaced from first to last.

    Args:
        value: ``Path``, path, URL or data URI ``str``, ``bytes``, ``{"bytes", "path"}``; frames in memory as
            an array (T, H, W, C) or (T, C, H, W), a list of images, or ``{"array", "video_metadata"}``.
        fps: None takes every frame (up to ``max_frames``).
        choice: decides instead of ``fps`` and ``max_frames``; frames that came with ``frames_indices`` are
            taken as they are.
        source: where the value came from, for messages.
        max_seconds: refuse longer videos.
        max_pixels: refuse larger frames.
        total_pixels: shrink the frames, keeping their shape, so that all together have no more pixels.
        policy: for URLs.

    Raises:
        MediaError: missing, damaged, cut short, too long, too large or without a video stream. Names it.
        FetchError: the URL is refused or cannot be read.
        InputError: ``value`` is no video reference, or an argument is out of range.
    """
    if max_frames < 1 or (fps is not None and not fps > 0):
        raise InputError(f"fps must be positive and max_frames at least 1, got {fps} and {max_frames}")
    if isinstance(value, (dict, np.ndarray, list, tuple)) and not (
        isinstance(value, dict) and "array" not in value
    ):
        return _from_memory(value, choice or _Evenly(fps, max_frames), max_pixels, total_pixels, source)
    with open_container(value, source=source, policy=policy) as (container, _, name):
        if not container.streams.video:
            raise MediaError('has no video stream; pass {"audio": ...} if it is audio', source=name)
        stream = container.streams.video[0]
        context = decoder_of(stream, name)
        stream.thread_type = "AUTO"
        if context.width * context.height > max_pixels:
            raise MediaError(
                f"frames of {context.width} x {context.height} exceed the limit of pixels", source=name
            )
        context.options = {"max_pixels": str(max_pixels)}
        times = _packet_times(container, stream, max_seconds, name)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        if times.seconds is not None:
            duration = float(times.seconds[-1] - times.seconds[0]) + (1 / rate if rate else 0.0)
        else:
            duration = times.count / rate if rate else 0.0
        if duration > max_seconds:
            raise MediaError(
                f"the video lasts {duration:,.0f} s, the limit is {max_seconds:,.0f}", source=name
            )
        rate = rate or (times.count / duration if duration else 0.0)
        chosen = (choice or _Evenly(fps, max_frames, duration))(times.count, rate, in_memory=False)
        wanted, places = np.unique(chosen, return_inverse=True)
        shape = _fitted(context.width, context.height, len(chosen), total_pixels)
        pictures = [
            _picture(frame, shape, max_pixels, name) for frame in _frames_at(container, stream, times, wanted)
        ]
        if len(pictures) < len(wanted):
            raise MediaError(
                f"the video is cut short or damaged: {len(pictures)} of {len(wanted)} frames can be read",
                source=name,
            )
        if len({picture.shape for picture in pictures}) > 1:
            raise MediaError("the video changes its size on the way, which is not supported", source=name)
        seconds = (
            times.seconds[chosen] - times.seconds[0] if times.seconds is not None else chosen / (rate or 1.0)
        )
        frames = np.stack([pictures[place] for place in places])
        return VideoFrames(frames, seconds, chosen, rate, duration, times.count)


@dataclass(frozen=True)
class _Times:
    """What the packets say without decoding: how many, when each is shown, where decoding may start."""

    count: int
    pts: np.ndarray | None  # (count,) in display order, in the stream's time base; None where unknown
    seconds: np.ndarray | None
    keyframes: np.ndarray  # pts of key frames, ascending


def _packet_times(container: Any, stream: Any, max_seconds: float, name: str) -> _Times:
    pts: list[int | None] = []
    keyframes: list[int] = []
    for packet in container.demux(stream):
        if packet.size == 0 or packet.is_discard:  # the flush packet at the end; frames cut by an edit list
            continue
        pts.append(packet.pts)
        if packet.is_keyframe and packet.pts is not None:
            keyframes.append(packet.pts)
        if len(pts) > max_seconds * 1000:
            raise MediaError(f"the video has more than {len(pts):,} frames", source=name)
    if not pts:
        raise MediaError("the video has no frames", source=name)
    known = [value for value in pts if value is not None]
    container.seek(0)
    if len(known) < len(pts) or len(set(known)) < len(known):
        return _Times(len(pts), None, None, np.empty(0, np.int64))
    shown = np.sort(np.array(known, np.int64))
    return _Times(len(pts), shown, shown * float(stream.time_base), np.sort(np.array(keyframes, np.int64)))


@dataclass(frozen=True)
class _Evenly:
    """First and last frame included, as Qwen's processors space them."""

    fps: float | None
    max_frames: int
    duration: float | None = None  # None for the number of frames at their rate

    def __call__(self, total: int, fps: float, *, in_memory: bool) -> np.ndarray:
        seconds = self.duration if self.duration is not None else (total / fps if fps else 0.0)
        number = total if self.fps is None or not seconds else min(total, max(1, round(seconds * self.fps)))
        return np.unique(np.linspace(0, total - 1, min(number, self.max_frames)).round().astype(np.int64))


def _frames_at(container: Any, stream: Any, times: _Times, wanted: np.ndarray) -> Iterator[Any]:
    """Decoded frames at the wanted indices, jumping over groups of pictures that hold none of them."""
    if times.pts is None:
        places = set(wanted.tolist())
        for index, frame in enumerate(container.decode(stream)):
            if index in places:
                yield frame
        return
    frames: Iterator[Any] = container.decode(stream)
    position = -math.inf  # pts of the last decoded frame
    for target in times.pts[wanted].tolist():
        earlier = times.keyframes[times.keyframes <= target]
        jump = bool(len(earlier) and earlier[-1] > position and earlier[-1] > times.pts[0])
        if jump:
            container.seek(int(earlier[-1]), stream=stream, backward=True)
            frames = container.decode(stream)
        found = _first_at(frames, target)
        if jump and (found is None or found.pts != target):  # containers without an index seek inexactly
            container.seek(0)
            frames = container.decode(stream)
            found = _first_at(frames, target)
        if found is not None:
            position = found.pts
            yield found


def _first_at(frames: Iterator[Any], target: int) -> Any | None:
    return next((frame for frame in frames if frame.pts is not None and frame.pts >= target), None)


def _picture(frame: Any, shape: tuple[int, int], max_pixels: int, name: str) -> np.ndarray:
    if frame.width * frame.height > max_pixels:
        raise MediaError(
            f"a frame of {frame.width} x {frame.height} exceeds the limit of pixels", source=name
        )
    width, height = shape
    picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="BICUBIC")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _fitted(width: int, height: int, count: int, total_pixels: int) -> tuple[int, int]:
    scale = math.sqrt(min(1.0, total_pixels / (width * height * count)))
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def _from_memory(
    value: Any, choice: Choice, max_pixels: int, total_pixels: int, source: str | None
) -> VideoFrames:
    stated = value.get("video_metadata") or {} if isinstance(value, dict) else {}
    frames = value["array"] if isinstance(value, dict) else value
    name = label(value, source)
    if isinstance(frames, np.ndarray) and frames.ndim != 4:
        raise InputError(f"a video array is (T, H, W, C) or (T, C, H, W), got {frames.shape}", source=name)
    if not len(frames):
        raise MediaError("the video has no frames", source=name)
    rate = float(stated.get("fps") or 0)
    duration = float(stated.get("duration") or (len(frames) / rate if rate else 0))
    # Frames somebody chose already are not thinned out.
    picked = stated.get("frames_indices") is not None
    chosen = np.arange(len(frames)) if picked else choice(len(frames), rate, in_memory=True)
    pictures = []
    for index in chosen.tolist():
        picture = open_image(frames[index], source=f"{name}: frame {index}", max_pixels=max_pixels)
        shape = _fitted(*picture.size, len(chosen), total_pixels)
        pictures.append(np.asarray(picture if shape == picture.size else picture.resize(shape)))
    if len({picture.shape for picture in pictures}) > 1:
        raise MediaError("the frames of the video have different sizes", source=name)
    places = np.asarray(stated["frames_indices"] if picked else range(len(frames)), np.int64)
    if len(places) != len(frames):
        raise InputError(f"frames_indices has {len(places)} entries for {len(frames)} frames", source=name)
    total = int(stated.get("total_num_frames") or len(frames))
    indices = places[chosen]
    return VideoFrames(np.stack(pictures), indices / (rate or 1.0), indices, rate, duration, total)
