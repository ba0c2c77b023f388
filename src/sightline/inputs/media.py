"""Open images, audio and video safely: one place to import from.

Limits are checked before decoding; whatever is missing, empty, cut short, damaged or something else is
refused with a `MediaError` that names the file and the cause.
"""

from __future__ import annotations

from sightline.inputs.audio import load_audio
from sightline.inputs.images import EXCLUDED_FORMATS, MAX_PIXELS, image_size, open_image
from sightline.inputs.video import VideoFrames, load_video

__all__ = [
    "EXCLUDED_FORMATS",
    "MAX_PIXELS",
    "VideoFrames",
    "image_size",
    "load_audio",
    "load_video",
    "open_image",
]
