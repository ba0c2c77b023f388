"""Audio from anywhere as mono float32 samples at one rate."""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

import numpy as np

from sightline.errors import InputError, MediaError
from sightline.inputs.container import decoder_of, open_container, refusals
from sightline.inputs.fetch import DEFAULT, FetchPolicy
from sightline.inputs.references import label

MAX_SECONDS = 3600.0
RATES = range(1_000, 768_001)  # what a file or a caller may state, in samples per second
MAX_CHANNELS = 32
# Containers that state their exact length; fewer samples than stated mean a file that was cut.
_EXACT = ("wav", "flac", "aiff", "mov,mp4,m4a,3gp,3g2,mj2")


def load_audio(
    value: Any,
    *,
    sampling_rate: int,
    source: str | None = None,
    max_seconds: float = MAX_SECONDS,
    policy: FetchPolicy = DEFAULT,
) -> np.ndarray:
    """Samples (T,), float32 in about -1..1, channels averaged, at ``sampling_rate`` per second.

    Args:
        value: ``Path``, path, URL or data URI ``str``, ``bytes``, ``{"bytes", "path"}``,
            ``{"array", "sampling_rate"}`` which is resampled, or a bare array (T,), (C, T) or (T, C), which
            is taken to be at ``sampling_rate`` already. The shorter dimension of two holds the channels.
        source: where the value came from, for messages.
        max_seconds: refuse longer audio.
        policy: for URLs.

    Raises:
        MediaError: missing, empty, cut short, damaged, too long, without an audio stream, of an absurd
            rate, or containing NaN or infinity. Names the file.
        FetchError: the URL is refused or cannot be read.
        InputError: ``value`` is no audio reference, or ``sampling_rate`` is out of range.
    """
    if sampling_rate not in RATES:
        raise InputError(f"sampling_rate must be {RATES[0]} to {RATES[-1]} per second, got {sampling_rate}")
    if isinstance(value, dict) and "array" in value:
        rate = check_rate(value.get("sampling_rate"), label(value, source))
        samples = _resample(_mono(value["array"], source), rate, sampling_rate, source, max_seconds)
    elif isinstance(value, np.ndarray):
        samples = _resample(_mono(value, source), sampling_rate, sampling_rate, source, max_seconds)
    else:
        samples = _decode(value, sampling_rate, source, max_seconds, policy)
    if not np.isfinite(samples).all():
        raise MediaError("the audio contains NaN or infinite samples", source=label(value, source))
    return samples


def check_rate(rate: Any, name: str | None) -> int:
    """A stated sampling rate as int.

    Raises:
        InputError: it is missing, no whole number or outside `RATES`.
    """
    is_number = isinstance(rate, (int, float, np.integer, np.floating)) and math.isfinite(rate)
    if is_number and int(rate) == rate and int(rate) in RATES:
        return int(rate)
    raise InputError(
        f"sampling_rate must be {RATES[0]} to {RATES[-1]} samples per second, got {rate!r}", source=name
    )


def _mono(array: Any, source: str | None) -> np.ndarray:
    """(T,) float32; integers scaled by their type's range."""
    array = np.asarray(array)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise InputError(
            f"an audio array is (T,), (C, T) or (T, C) of numbers, got {array.shape} of {array.dtype}",
            source=source,
        )
    if array.size == 0:
        raise MediaError("the audio has no samples", source=label(array, source))
    if array.ndim == 2 and min(array.shape) > MAX_CHANNELS:
        raise InputError(
            f"an array of shape {array.shape} would be audio of {min(array.shape)} channels; "
            'pass {"image": array} for a greyscale image',
            source=source,
        )
    samples = array.astype(np.float32)
    if array.dtype.kind == "u":
        samples = samples / (np.iinfo(array.dtype).max / 2) - 1
    elif array.dtype.kind == "i":
        samples = samples / -float(np.iinfo(array.dtype).min)
    if samples.ndim == 2:
        samples = samples.mean(axis=int(np.argmin(samples.shape)), dtype=np.float32)
    return samples


def _resample(
    samples: np.ndarray, rate: int, target: int, source: str | None, max_seconds: float
) -> np.ndarray:
    import av

    name = label(samples, source)
    if len(samples) > max_seconds * rate:
        raise MediaError(
            f"the audio lasts {len(samples) / rate:,.0f} s, the limit is {max_seconds:,.0f}", source=name
        )
    if rate == target:
        return samples
    if not np.isfinite(samples).all():  # the resampler would smear them
        raise MediaError("the audio contains NaN or infinite samples", source=name)
    with refusals(name):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=target)
        pieces = [piece.to_ndarray()[0] for piece in (*resampler.resample(frame), *resampler.resample(None))]
        return _joined(pieces, name)


def _decode(
    value: Any, sampling_rate: int, source: str | None, max_seconds: float, policy: FetchPolicy
) -> np.ndarray:
    import av

    with open_container(value, source=source, policy=policy) as (container, stream_file, name):
        missing = _missing_wav_bytes(stream_file)
        if missing:
            raise MediaError(f"the audio is cut short: {missing:,} bytes are missing", source=name)
        if not container.streams.audio:
            raise MediaError("has no audio stream", source=name)
        stream = container.streams.audio[0]
        context = decoder_of(stream, name)
        if not 1 <= context.channels <= MAX_CHANNELS:
            raise MediaError(
                f"states {context.channels:,} channels, at most {MAX_CHANNELS} are read", source=name
            )
        rate = context.sample_rate
        if rate not in RATES:
            raise MediaError(f"states {rate:,} samples per second", source=name)
        stated = _stated_seconds(container, stream)
        too_long = f"the audio lasts longer than the limit of {max_seconds:,.0f} s"
        if stated is not None and stated > max_seconds:
            raise MediaError(too_long, source=name)
        # The layout is kept and the channels averaged here: FFmpeg's own mono mix of floats is 3 dB louder.
        # Interleaved samples, because PyAV reads past the planes of a planar frame of more than 8 channels.
        resampler = av.AudioResampler(format="flt", rate=sampling_rate)
        pieces: list[np.ndarray] = []
        count = 0
        for frame in container.decode(stream):
            frame.pts = None  # gaps in the time stamps are not filled
            for piece in resampler.resample(frame):
                pieces.append(_average(piece))
                count += len(pieces[-1])
            if count > max_seconds * sampling_rate:
                raise MediaError(too_long, source=name)
        if pieces:
            pieces.extend(_average(piece) for piece in resampler.resample(None))
        samples = _joined(pieces, name)
        seconds = len(samples) / sampling_rate
        if stated is not None and container.format.name in _EXACT and seconds < 0.95 * stated - 0.2:
            raise MediaError(f"the audio is cut short: {seconds:.2f} of {stated:.2f} s", source=name)
        return samples


def _stated_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _average(frame: Any) -> np.ndarray:
    samples = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite samples are refused at the end
        return samples.mean(1)


def _missing_wav_bytes(file: BinaryIO) -> int:
    """Bytes that a WAV file's data chunk announces beyond the end of the file; FFmpeg overlooks them."""
    back = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    missing = 0
    while head[:4] == b"RIFF" and head[8:12] == b"WAVE" and len(chunk := file.read(8)) == 8:
        size = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            # Programs that write to a pipe state a length near the largest one instead of the true one.
            missing = 0 if size >= 0x7FFF_0000 else max(0, file.tell() + size - end)
            break
        file.seek(size + size % 2, os.SEEK_CUR)
    file.seek(back)
    return missing


def _joined(pieces: list[np.ndarray], name: str) -> np.ndarray:
    samples = np.concatenate(pieces).astype(np.float32, copy=False) if pieces else np.empty(0, np.float32)
    if not len(samples):
        raise MediaError("the audio has no samples", source=name)
    return samples
