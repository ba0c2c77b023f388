"""Real recordings and films: every file opens, at the rate and with the frames that are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightline.inputs.frame_choice import FrameChoice
from sightline.inputs.media import load_audio, load_video, open_image
from sightline.inputs.parse import parse
from sightline.inputs.qwen2_videos import Qwen2VLVideoProcessor

pytestmark = pytest.mark.shared


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]


def test_spoken_digits(shared: Path) -> None:
    folder = shared / "spoken-digits"
    for line in lines(folder)[::5]:
        own, doubled = (load_audio(folder / line["audio"], sampling_rate=rate) for rate in (8_000, 16_000))
        assert abs(len(doubled) - 2 * len(own)) <= 64
        assert 0 < np.abs(own).max() <= 1
        assert own.std() == pytest.approx(doubled.std(), rel=0.02)


def test_speech_sounds_alike_in_every_codec(shared: Path) -> None:
    folder = shared / "speech"
    spoken = {
        path.stem: load_audio(path, sampling_rate=16_000) for path in sorted((folder / "audio").glob("*.wav"))
    }
    compared = {".flac": 0, ".mp3": 0}
    for path in sorted((folder / "codecs").iterdir()):
        found = load_audio(path.read_bytes(), sampling_rate=16_000)
        compared[path.suffix] += 1
        if path.suffix == ".flac":
            assert np.array_equal(found, spoken[path.stem])
        else:  # MP3 begins and ends with silence, and is the same recording more than any other
            likeness = {name: alike(found, samples) for name, samples in spoken.items()}
            assert max(likeness, key=likeness.__getitem__) == path.stem
    assert min(compared.values()) > 0


def alike(first: np.ndarray, second: np.ndarray) -> float:
    """The largest normalised cross-correlation over all shifts."""
    size = len(first) + len(second)
    product = np.fft.rfft(first, size) * np.fft.rfft(second, size).conj()
    return float(np.fft.irfft(product, size).max() / np.sqrt((first**2).sum() * (second**2).sum()))


def test_signs(shared: Path) -> None:
    folder = shared / "signs"
    choice = FrameChoice(Qwen2VLVideoProcessor(), {"fps": 4.0})
    for line in lines(folder)[::6]:
        film = load_video(folder / line["video"], choice=choice, total_pixels=8 * 320 * 180)
        assert len(film.frames) in (4, 6, 8, 10)
        assert np.all(np.diff(film.timestamps) > 0)
        assert film.timestamps[-1] < film.duration
        # Somebody moves: no two chosen frames are alike.
        assert min(np.abs(np.diff(film.frames.astype(int), axis=0)).mean(axis=(1, 2, 3))) > 0


def test_emoji(shared: Path) -> None:
    """Pictures on a transparent ground: each opens as RGB on white, and each is another item."""
    folder = shared / "emoji"
    keys = set()
    taken = lines(folder)[::20]
    for line in taken:
        path = folder / line["image"]
        item = parse(path)
        keys.add(item.key)
        assert item.modality == "image"
        assert parse(path.read_bytes()).key == item.key
        with Image.open(path) as raw:
            alpha = np.asarray(raw.convert("RGBA"))[..., 3]
        pixels = np.asarray(open_image(path))
        assert pixels.shape == (*alpha.shape, 3)
        assert (alpha == 0).any()
        assert (pixels[alpha == 0] == 255).all()
        assert (pixels[alpha == 255] < 255).any()
    assert len(keys) == len(taken) > 50
