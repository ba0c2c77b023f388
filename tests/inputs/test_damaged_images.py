"""Damaged, random and odd real images: read right or refused by name, in bounded memory."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.errors import MediaError
from sightline.inputs.media import image_size, open_image


def encoded(kind: str) -> bytes:
    ramp = np.arange(16 * 9 * 3, dtype=np.uint32).reshape(9, 16, 3) % 256
    buffer = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


MUTATED = [
    encoded(kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000", "PPM", "ICO", "AVIF")
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.sampled_from(MUTATED),
    edits=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 10_000),
    inserted=st.binary(max_size=6),
    rest=st.sampled_from([0, 0, 1, 10_000]),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_read_or_refused(
    data: bytes, edits: list[tuple[int, int]], cut: int, inserted: bytes, rest: int
) -> None:
    damaged = bytearray(data)
    for place, byte in edits:
        damaged[place % len(damaged)] = byte
    cut %= 2 * len(damaged)
    damaged[cut : cut + rest] = inserted
    for reader in (image_size, lambda value: open_image(value, max_pixels=1_000_000)):
        with contextlib.suppress(MediaError):  # any other error fails the test
            reader(bytes(damaged))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    try:
        image = open_image(data, max_pixels=100_000)
    except MediaError:
        return
    assert image.mode == "RGB"


TORTURE = """
import sys
from pathlib import Path
from sightline.errors import MediaError
from sightline.inputs.media import image_size, open_image
read, refused = 0, 0
for path in sorted(Path(sys.argv[1]).rglob("*")):
    if path.is_dir():
        continue
    try:
        image = open_image(path)
    except MediaError as error:
        assert str(path) in str(error), error
        refused += 1
    else:
        assert image.mode == "RGB" and image_size(path) == image.size, path
        read += 1
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(read, refused, int(peak.split()[1]) // 1024)
"""


@pytest.mark.shared
def test_torture_images_are_read_or_refused(shared: Path) -> None:
    # In a process of its own, so that its peak memory is that of these files.
    code = [sys.executable, "-W", "ignore", "-c", TORTURE, str(shared / "torture" / "images")]
    done = subprocess.run(code, capture_output=True, text=True, timeout=200, check=True)
    read, refused, peak_mib = map(int, done.stdout.split())
    assert (read, refused) == (170, 48)
    assert peak_mib < 1024


@pytest.mark.shared
def test_rotated_photographs_come_out_alike(shared: Path) -> None:
    paths = sorted((shared / "torture" / "exif").glob("Landscape_*.jpg"))
    assert len(paths) == 9
    pictures = [np.asarray(open_image(path).resize((90, 60)), np.float32) for path in paths]
    assert {image_size(path) for path in paths} == {(1800, 1200)}
    assert max(np.abs(picture - pictures[0]).mean() for picture in pictures) < 5


@pytest.mark.shared
def test_torture_values(shared: Path) -> None:
    folder = shared / "torture" / "images"

    def mean(name: str) -> np.ndarray:
        return np.asarray(open_image(folder / name), np.float32).mean((0, 1))

    def close(first: str, second: str) -> float:
        return float(np.abs(mean(first) - mean(second)).max())

    red = mean("lab-red.tif")
    assert np.abs(red - (255, 0, 124)).max() < 3  # L 50, a 100, b 0 as Photoshop shows it
    assert mean("lab.tif").min() >= 254  # white, but for rounding
    # One picture in several depths and packings.
    for name in (
        "hopper_16bit_plain.pgm",
        "hopper_8bit_plain.pgm",
        "hopper.pfm",
        "hopper_be.pfm",
        "hopper_gray.jpg",
    ):
        assert close(name, "hopper_8bit.pgm") < 2, name
    assert close("tiff_tiled_cmyk_jpeg.tif", "pil_sample_cmyk.jpg") < 3
    assert close("tiff_strip_cmyk_16l_jpeg.tif", "pil_sample_cmyk.jpg") < 3
    assert abs(mean("16_bit_binary.pgm")[0] - 127.5) < 1
    assert np.asarray(open_image(folder / "m13.fits")).max() == 255
    assert close("m13.fits", "m13_gzip.fits") == 0
    for name in (
        "transparency.avif",
        "transparent.webp",
        "star.gif",
        "transparent.sgi",
    ):
        clear = np.asarray(Image.open(folder / name).convert("RGBA"))[:, :, 3] == 0
        assert clear.any()
        assert (np.asarray(open_image(folder / name))[clear] == 255).all(), name
    upright = np.asarray(open_image(folder / "hopper_gray.jpg").resize((16, 16)), np.float32).mean(-1)
    for name in ("hopper_orientation_3.jpg", "hopper_orientation_3.webp", "hopper_orientation_4.webp"):
        turned = np.asarray(open_image(folder / name).resize((16, 16)), np.float32).mean(-1)
        assert np.corrcoef(upright.ravel(), turned.ravel())[0, 1] > 0.95, name
