"""docs/custom-data.md: every example runs as it stands, on tiny files and models under the names it uses."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from support import tiny_media, tiny_models

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "custom-data.md"
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.M | re.S)
SECTIONS: dict[str, str] = dict(SECTION.findall(GUIDE.read_text(encoding="utf-8")))
MODELS = {
    "openai/clip-vit-base-patch32": tiny_models.clip,
    "laion/clap-htsat-unfused": tiny_media.clap,
    "Qwen/Qwen3-VL-Embedding-2B": tiny_models.qwen3_vl,
}


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[title], re.M | re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything the guide names; its lists of files are the ones it shows."""
    root = tmp_path_factory.mktemp("guide")
    for name, build in MODELS.items():
        build(root / name)
    lists = {
        "products/captions.csv": "Text and images",
        "sounds/sounds.jsonl": "Text and sound",
        "films/films.jsonl": "Text and video",
        "pages/pages.jsonl": "Mixed pages",
    }
    for file, title in lists.items():
        (root / file).parent.mkdir()
        (root / file).write_text(blocks(title, "")[0])
    random = np.random.default_rng(0)
    for file in ("products/shoe.png", "products/lamp.png", "pages/p1.png", "pages/p2.png"):
        Image.fromarray(random.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(root / file)
    tone = (8_000 * np.sin(np.arange(6_000) / 9)).astype(np.int16)
    with wave.open(str(root / "sounds/rain.wav"), "wb") as file_:
        file_.setnchannels(1)
        file_.setsampwidth(2)
        file_.setframerate(8_000)
        file_.writeframes(tone.tobytes())
    _encode(root / "sounds/door.flac", "flac", av.AudioFrame.from_ndarray(tone[None], "s16", "mono"))
    for file in ("films/pour.mp4", "films/sand.mp4"):
        noise = random.integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
        _encode(root / file, "mpeg4", *(av.VideoFrame.from_ndarray(one, "rgb24") for one in noise))
    return root


def _encode(path: Path, codec: str, *frames: av.AudioFrame | av.VideoFrame) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8_000 if isinstance(frames[0], av.AudioFrame) else 10)
        if isinstance(frames[0], av.VideoFrame):
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        else:
            frames[0].sample_rate = 8_000
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("title", [title for title in SECTIONS if blocks(title, "python")])
def test_the_example_runs(title: str, place: Path) -> None:
    (code,) = blocks(title, "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    shown = re.search(r'"(runs/\w+/final)"', code)
    if shown is not None:
        assert (place / shown[1] / "modules.json").is_file()
        assert done.stdout.strip().splitlines()[-1]
