"""Open audio and video containers through PyAV, with one kind of error and no way out of the file.

A media file can name other files and URLs (playlists, concat lists, DASH manifests). FFmpeg would
follow them, so only demuxers that hold their own data are let in and nested opens are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from sightline.errors import MediaError, SightlineError
from sightline.inputs.fetch import DEFAULT, FetchPolicy
from sightline.inputs.references import open_reference

_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,flac,flv,gif,h264,hevc,ivf,m4v,matroska,mov,mp3,mp4,mpeg,mpegts,"
    "mpegvideo,ogg,w64,wav,webm,wv,eac3,3gp,m4a,mj2"
)


@contextmanager
def open_container(
    value: Any, *, source: str | None = None, policy: FetchPolicy = DEFAULT
) -> Iterator[tuple[Any, BinaryIO, str]]:
    """The opened container, its file and its name for messages; FFmpeg's errors inside become MediaError.

    Raises:
        MediaError: missing, empty, not audio or video, damaged. Names the file.
        FetchError: the URL is refused or cannot be read.
    """
    import av

    stream, name = open_reference(value, source=source, policy=policy)
    with stream, refusals(name):
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "none"}
        with av.open(stream, options=options, io_open=_refuse) as container:
            yield container, stream, name


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """FFmpeg's and PyAV's many kinds of failure become a MediaError with ``name``."""
    try:
        yield
    except (SightlineError, AttributeError, NameError, ImportError, AssertionError):
        raise  # named already, or a mistake in the program rather than in the file
    except MemoryError as error:
        raise MediaError("needs more memory than there is", source=name) from error
    except Exception as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise MediaError(
            f"is damaged or not audio or video that can be read ({text})", source=name
        ) from error


def decoder_of(stream: Any, name: str) -> Any:
    """The stream's codec context.

    Raises:
        MediaError: FFmpeg has no decoder for the stream.
    """
    context = stream.codec_context
    if context is None:
        raise MediaError("is in a codec that cannot be decoded", source=name)
    return context


def _refuse(url: str, flags: int, options: dict[str, Any]) -> Any:
    raise PermissionError(f"the file refers to another one, which is not followed: {url[:100]}")
