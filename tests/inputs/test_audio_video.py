"""Audio and video made with PyAV and the shared odd files: read right or refused by name."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.errors import InputError, MediaError
from sightline.inputs.media import VideoFrames, load_audio, load_video
from sightline.inputs.parse import parse

RATE = 16_000


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE, stated_bytes: int | None = None) -> bytes:
    """A WAV file of float32 samples (T,) or (T, C)."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    body = samples.astype("<f4").tobytes()
    format_chunk = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 3, channels, rate, rate * 4 * channels, 4 * channels, 32
    )
    size = len(body) if stated_bytes is None else stated_bytes
    return (
        struct.pack("<4sI4s", b"RIFF", min(36 + size, 0xFFFFFFFF), b"WAVE")
        + format_chunk
        + struct.pack("<4sI", b"data", size)
        + body
    )


def strongest_hertz(samples: np.ndarray, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


def video(
    path: Path, count: int = 60, fps: int = 20, codec: str = "mpeg4", rotation: int = 0, gop: int = 12
) -> Path:
    """A video whose frame i is grey of level 3 * i + 20, its left half darker by 15."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = gop
        stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(count):
            picture = np.full((48, 64, 3), 20 + 3 * index % 230, np.uint8)
            picture[:, :32] -= 15
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def levels(result: VideoFrames) -> list[int]:
    """The frame number that each picture shows."""
    right = result.frames[:, 4:-4, 40:-4].mean((1, 2, 3))
    return np.rint((right - 20) / 3).astype(int).tolist()


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 48_000])
def test_audio_is_resampled_from_every_kind_of_value(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(wav(tone(rate=rate), rate))
    for value in (
        path,
        str(path),
        path.read_bytes(),
        {"bytes": path.read_bytes(), "path": None},
        {"array": tone(rate=rate), "sampling_rate": rate},
        {"array": tone(rate=rate).astype(np.float64), "sampling_rate": float(rate)},
        {"array": (tone(rate=rate) * 32767).astype(np.int16), "sampling_rate": rate},
    ):
        samples = load_audio(value, sampling_rate=RATE)
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert abs(len(samples) - RATE // 2) <= 2
        assert abs(strongest_hertz(samples, RATE) - 440) < 3
        assert 0.45 < np.abs(samples[1000:-1000]).max() < 0.55


@pytest.mark.parametrize(
    ("codec", "rate", "layout"),
    [("vorbis", 44_100, "stereo"), ("libopus", 48_000, "mono"), ("libopus", 48_000, "stereo")],
)
def test_ogg_of_either_codec_is_heard(codec: str, rate: int, layout: str, tmp_path: Path) -> None:
    path, written = tmp_path / "tone.ogg", tone(rate=rate)
    channels = 1 if layout == "mono" else 2
    with av.open(str(path), "w") as container:
        # FFmpeg's own Vorbis encoder, the only one in PyAV's packages, is called experimental and takes two channels.
        stream = container.add_stream(codec, rate=rate, layout=layout, options={"strict": "experimental"})
        samples = np.repeat(written[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for piece in [*resampler.resample(frame), None]:
            container.mux(stream.encode(piece))
    (item,) = parse(path).parts
    assert item.modality == parse(path.read_bytes()).modality == "audio"
    for value in (path, path.read_bytes(), {"bytes": path.read_bytes(), "path": None}):
        found = load_audio(value, sampling_rate=RATE)
        # Both codecs begin with some silence, and end a frame later than the sound.
        assert abs(len(found) - RATE // 2) <= RATE // 10
        assert abs(strongest_hertz(found, RATE) - 440) < 3
        assert 0.4 < np.abs(found[2000:-2000]).max() < 0.6


def test_channels_are_averaged() -> None:
    stereo = np.stack([tone(), np.zeros(RATE // 2, np.float32)], 1)
    many = np.stack([tone()] + [np.zeros(RATE // 2, np.float32)] * 30, 1)
    assert np.abs(load_audio(wav(many), sampling_rate=RATE) - tone() / 31).max() < 1e-3
    for value in (wav(stereo), stereo, stereo.T):
        assert np.abs(load_audio(value, sampling_rate=RATE) - tone() / 2).max() < 1e-3
    unsigned = np.array([0, 128, 255], np.uint8)
    assert np.abs(load_audio(unsigned, sampling_rate=RATE) - [-1, 0, 1]).max() < 0.01


def test_an_array_at_the_right_rate_is_untouched() -> None:
    assert np.array_equal(load_audio(tone(), sampling_rate=RATE), tone())
    assert np.array_equal(load_audio({"array": tone(), "sampling_rate": RATE}, sampling_rate=RATE), tone())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([], np.float32), "no samples"),
        (np.array([0, np.nan], np.float32), "NaN"),
        ({"array": np.array([0, np.inf], np.float32), "sampling_rate": 8000}, "NaN or infinite"),
        (wav(np.array([0, np.nan] * 800, np.float32)), "NaN"),
        (wav(np.array([], np.float32)), "no samples"),
        (wav(tone(), rate=2_000_000), "2,000,000 samples per second"),
        (wav(np.zeros((50, 40), np.float32)), "40 channels"),
        (wav(tone())[:30], "damaged"),
        (wav(tone(2.0))[:60_000], "cut short"),
        (b"", "empty"),
        (b"no audio at all", "damaged"),
        ({"array": tone(), "sampling_rate": 3}, "sampling_rate"),
        ({"array": tone()}, "sampling_rate"),
        (np.zeros((100, 100)), "channels"),
        (np.array(["a"]), "numbers"),
        (3, "int"),
        (Path("nowhere.wav"), "no such file"),
        (tone(11.0), "limit is 10"),
        (wav(tone(11.0)), "limit of 10"),
    ],
)
def test_bad_audio_is_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_audio(value, sampling_rate=RATE, source="row 5, column 'audio'", max_seconds=10)
    assert "row 5, column 'audio'" in str(caught.value)


def test_audio_from_a_pipe_with_an_open_length_is_read() -> None:
    assert len(load_audio(wav(tone(), stated_bytes=0xFFFFFFFF), sampling_rate=RATE)) == RATE // 2


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov", "a.ts"])
@pytest.mark.parametrize("gop", [1, 7, 60])
def test_sampled_frames_are_the_right_ones(name: str, gop: int, tmp_path: Path) -> None:
    path = video(tmp_path / name, codec="mpeg2video" if name == "a.ts" else "mpeg4", gop=gop)
    everything = load_video(path, fps=None)
    assert everything.frames.shape == (60, 48, 64, 3)
    assert everything.frames.dtype == np.uint8
    assert levels(everything) == list(range(60))
    assert np.allclose(everything.timestamps, np.arange(60) / 20, atol=2e-3)
    some = load_video(path.read_bytes(), fps=2)
    assert some.indices.tolist() == levels(some) == [0, 12, 24, 35, 47, 59]
    assert np.allclose(some.timestamps, some.indices / 20, atol=2e-3)
    assert (some.total_frames, round(some.fps), round(some.duration, 1)) == (60, 20, 3.0)
    few = load_video(path, fps=None, max_frames=3)
    assert few.indices.tolist() == levels(few) == [0, 30, 59]
    assert load_video(path, fps=0.1).indices.tolist() == [0]
    assert some.metadata()["frames_indices"] == [0, 12, 24, 35, 47, 59]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_applied(rotation: int, tmp_path: Path) -> None:
    plain = load_video(video(tmp_path / "plain.mp4", count=4)).frames
    turned = load_video(video(tmp_path / "turned.mp4", count=4, rotation=rotation)).frames
    assert turned.shape[1:3] == ((64, 48) if rotation % 180 else (48, 64))
    assert np.array_equal(turned[0], np.rot90(plain[0], rotation // 90))


def test_limits_of_video(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4")
    small = load_video(path, fps=None, total_pixels=60 * 16 * 12)
    assert small.frames.shape == (60, 12, 16, 3)
    with pytest.raises(MediaError, match="exceed"):
        load_video(path, max_pixels=64 * 48 - 1)
    with pytest.raises(MediaError, match="lasts 3 s, the limit is 2"):
        load_video(path, max_seconds=2)
    with pytest.raises(InputError, match="max_frames"):
        load_video(path, max_frames=0)


def test_broken_video_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv")
    data = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(video(tmp_path / "b.mp4").read_bytes()[:3000])
    for value, message in (
        (tmp_path / "cut.mp4", "cut.mp4: is damaged"),
        (data[:40], "damaged|no frames|cut short"),
        (b"", "empty"),
        (wav(tone()), "no video stream"),
        (tmp_path / "nowhere.mp4", "no such file"),
        ([], "no frames"),
        (np.zeros((4, 4, 3)), r"\(T, H, W, C\)"),
        ([Image.new("RGB", (4, 4)), Image.new("RGB", (5, 4))], "different sizes"),
        (3, "int"),
    ):
        with pytest.raises(InputError, match=message):
            load_video(value)
    with pytest.raises(MediaError, match="no audio stream"):
        load_audio(path, sampling_rate=RATE)


def test_frames_in_memory() -> None:
    frames = np.stack([np.full((6, 8, 3), level, np.uint8) for level in range(10)])
    for value in (frames, frames.transpose(0, 3, 1, 2), [Image.fromarray(frame) for frame in frames]):
        result = load_video(value)
        assert np.array_equal(result.frames, frames)
        assert result.indices.tolist() == list(range(10))
    result = load_video({"array": frames, "video_metadata": {"fps": 5}}, fps=2)
    assert result.indices.tolist() == [0, 3, 6, 9]
    assert result.timestamps.tolist() == pytest.approx([0, 0.6, 1.2, 1.8])
    stated = {"fps": 10, "total_num_frames": 100, "frames_indices": list(range(0, 100, 10))}
    result = load_video({"array": frames, "video_metadata": stated})
    assert result.timestamps.tolist() == list(range(10))
    assert result.total_frames == 100


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/segment.ts", seen
    server.shutdown()
    server.server_close()


def test_playlists_lead_nowhere(trap: tuple[str, list[str]], tmp_path: Path) -> None:
    url, seen = trap
    other = video(tmp_path / "other.mp4", count=3)
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
    concat = "ffconcat version 1.0\nfile {}\n"
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        '<Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL><SegmentBase/></Representation>'
        "</AdaptationSet></Period></MPD>"
    )
    for text in (hls, concat, dash):
        for target in (url, str(other), f"file:{other}"):
            for name in ("a.mp4", "a.m3u8"):
                path = tmp_path / name
                path.write_text(text.format(target))
                for reader in (load_video, lambda value: load_audio(value, sampling_rate=RATE)):
                    with pytest.raises(MediaError, match=name):
                        reader(path)
    assert seen == []


_BUFFER = io.BytesIO()
with av.open(_BUFFER, "w", format="matroska") as _container:
    _stream = _container.add_stream("mpeg4", rate=5)
    _stream.width, _stream.height, _stream.pix_fmt = 32, 32, "yuv420p"
    for _index in range(4):
        _frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * _index, np.uint8), format="rgb24")
        _container.mux(_stream.encode(_frame))
    _container.mux(_stream.encode(None))
DAMAGED = [wav(tone(0.05)), _BUFFER.getvalue()]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.sampled_from(DAMAGED),
    edits=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(20, 5_000),
)
def test_damaged_media_is_read_or_refused(data: bytes, edits: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(data[:cut])
    for place, byte in edits:
        damaged[place % len(damaged)] = byte
    for reader in (lambda value: load_audio(value, sampling_rate=RATE), load_video):
        with contextlib.suppress(MediaError):  # any other error fails the test
            reader(bytes(damaged))


@pytest.mark.shared
def test_torture_audio(shared: Path) -> None:
    read: dict[str, np.ndarray] = {}
    refused: dict[str, str] = {}
    for path in sorted((shared / "torture" / "audio").iterdir()):
        try:
            read[path.name] = load_audio(path, sampling_rate=RATE)
        except MediaError as error:
            refused[path.name] = str(error).removeprefix(f"{path}: ")  # every refusal names its file
    assert len(read) == 12
    assert set(refused) == {"awful.wav", "bad.wav", "evil.wav", "null.wav"}
    assert refused["null.wav"] == "the audio has no samples"
    assert refused["awful.wav"] == "states 1,092,676 samples per second"
    assert all(samples.ndim == 1 and 0.2 < np.abs(samples).max() <= 1.1 for samples in read.values())
    assert len(read["001.wav"]) == 17_526
    assert len(read["leak-test.wav"]) == 150_000  # 75,000 at 8 kHz


@pytest.mark.shared
def test_torture_video_folder(shared: Path) -> None:
    folder = shared / "torture" / "video"
    sine = [
        load_audio(folder / name, sampling_rate=RATE) for name in ("sine_mono_s16.wav", "sine_mono_s32.wav")
    ]
    assert np.abs(sine[0] - sine[1]).max() < 1e-3
    assert {len(load_audio(path, sampling_rate=RATE)) for path in folder.glob("*.mp3")} == {208_896}
    videos = {path.name: load_video(path) for path in folder.iterdir() if path.suffix in (".mp4", ".mkv")}
    assert {name: (result.frames.shape, result.total_frames) for name, result in videos.items()} == {
        "av1_video.mkv": ((10, 360, 640, 3), 125),
        "bt709_full_range.mp4": ((2, 720, 1280, 3), 30),
        "h264_10bits.mp4": ((2, 200, 200, 3), 30),
        "h265_10bits.mp4": ((2, 200, 200, 3), 30),
        "h265_video.mp4": ((2, 128, 128, 3), 10),
    }
    # Jumping from key frame to key frame finds the same pictures as decoding everything.
    whole = load_video(folder / "av1_video.mkv", fps=None, max_frames=125)
    assert np.array_equal(whole.frames[videos["av1_video.mkv"].indices], videos["av1_video.mkv"].frames)


@pytest.mark.shared
def test_full_range_bt709_colours(shared: Path) -> None:
    path = shared / "torture" / "video" / "bt709_full_range.mp4"
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray().astype(np.float32)
    height, width = 720, 1280
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2) - 128
    u, v = (plane.repeat(2, 0).repeat(2, 1) for plane in chroma)
    red, blue = luma + 1.5748 * v, luma + 1.8556 * u  # ITU-R BT.709, Kr 0.2126, Kb 0.0722
    green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
    expected = np.stack([red, green, blue], -1).clip(0, 255)
    assert np.abs(expected - load_video(path).frames[0]).mean() < 1.5
