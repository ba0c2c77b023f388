"""Images of every colour mode and every kind of damage: read right or refused by name."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from sightline.errors import InputError, MediaError
from sightline.inputs.colour import array_to_rgb, to_rgb
from sightline.inputs.media import EXCLUDED_FORMATS, image_size, open_image

SIZE = (40, 24)


def gradient(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    width, height = size
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(value: object) -> tuple[int, ...]:
    image = open_image(value)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))  # type: ignore[return-value]


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in (*chunks, (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    return b"".join(parts)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "LA", "PA", "RGBA"]
)
def test_every_mode_shows_the_same_picture(mode: str) -> None:
    image = gradient(mode)
    reference = np.asarray(gradient("L" if mode in ("1", "L", "LA") else "RGB").convert("RGB"), np.float32)
    found = np.asarray(open_image(image), np.float32)
    assert found.shape == reference.shape
    blurred = [
        np.asarray(Image.fromarray(a.astype(np.uint8)).resize((5, 3)), np.float32) for a in (found, reference)
    ]
    # Dithering, a web palette and colour spaces of 8 bits lose detail, but never the picture.
    limit = {"1": 40, "P": 40, "PA": 40, "HSV": 12, "LAB": 12}.get(mode, 4)
    assert np.abs(blurred[0] - blurred[1]).max() < limit


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_alpha_is_composited_on_white(kind: str) -> None:
    clear = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    assert pixel(encoded(clear, kind, **({"lossless": True} if kind == "WEBP" else {}))) == (255, 255, 255)


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    assert pixel(Image.new("RGBA", SIZE, (255, 0, 0, 128))) == (255, 127, 127)
    assert pixel(Image.new("LA", SIZE, (0, 128))) == (127, 127, 127)
    premultiplied = Image.new("RGBA", SIZE, (255, 0, 0, 128)).convert("RGBa")
    assert pixel(premultiplied) == (255, 127, 127)
    assert pixel(Image.new("LA", SIZE, (0, 128)).convert("La")) == (127, 127, 127)


def test_palette_and_colour_key_transparency() -> None:
    palette = Image.new("P", SIZE, 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    assert pixel(encoded(palette)) == (200, 10, 10)
    assert pixel(encoded(palette, transparency=1)) == (255, 255, 255)
    assert pixel(encoded(palette, transparency=b"\xff\x80")) == (227, 132, 132)
    grey = (b"IDAT", zlib.compress(b"\0\x55"))
    assert (
        pixel(png((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), (b"tRNS", b"\0\x55"), grey))
        == (255,) * 3
    )
    deep = (b"IDAT", zlib.compress(b"\0\x12\x34"))
    header = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0))
    assert pixel(png(header, (b"tRNS", b"\x12\x34"), deep)) == (255,) * 3
    assert pixel(png(header, (b"tRNS", b"\x12\x35"), deep)) == (18,) * 3
    colour = (b"IDAT", zlib.compress(b"\0\x01\x02\x03\x04\x05\x06"))
    header = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    assert pixel(png(header, colour)) == (1, 3, 5)
    assert pixel(png(header, (b"tRNS", b"\x01\x02\x03\x04\x05\x06"), colour)) == (255,) * 3


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 257, 32768, 65535]], np.uint16)
    expected = [0, 1, 128, 255]
    for value in (
        Image.fromarray(deep),
        encoded(Image.fromarray(deep)),
        encoded(Image.fromarray(deep), "TIFF"),
    ):
        assert np.asarray(open_image(value))[0, :, 0].tolist() == expected
    pgm = b"P5\n4 1\n65535\n" + deep.astype(">u2").tobytes()
    assert np.asarray(open_image(pgm))[0, :, 0].tolist() == expected
    assert np.asarray(open_image(b"P2\n2 1\n4095\n0 4095\n"))[0, :, 0].tolist() == [0, 255]
    # A nearly black 16-bit scan stays nearly black instead of being read as 8 bits.
    assert np.asarray(open_image(b"P2\n2 1\n65535\n200 250\n"))[0, :, 0].tolist() == [1, 1]
    inverted = encoded(Image.fromarray(deep), "TIFF", tiffinfo={262: 0})
    assert np.asarray(open_image(inverted))[0, :, 0].tolist() == [255 - value for value in expected]


def test_integers_and_floats_follow_the_table() -> None:
    def grey(values: list[float], kind: type) -> list[int]:
        return np.asarray(open_image(Image.fromarray(np.array([values], kind))))[0, :, 0].tolist()

    assert grey([0, 128, 255], np.int32) == [0, 128, 255]
    assert grey([0, 257, 65535], np.int32) == [0, 1, 255]
    assert grey([-100, 0, 100], np.int32) == [0, 128, 255]
    assert grey([0, 0.5, 1], np.float32) == [0, 128, 255]
    assert grey([0, 100.4, 255], np.float32) == [0, 100, 255]
    assert grey([-3, 0, 3], np.float32) == [0, 128, 255]
    assert grey([0, np.nan, np.inf, 1], np.float32) == [0, 0, 255, 255]
    assert grey([np.nan, np.nan], np.float32) == [0, 0]
    assert grey([70000, 70000], np.int32) == [0, 0]


def test_lab_and_cmyk_values() -> None:
    profile = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    red = ImageCms.applyTransform(Image.new("RGB", SIZE, (200, 30, 40)), profile)
    assert red is not None
    assert np.abs(np.subtract(pixel(encoded(red, "TIFF")), (200, 30, 40))).max() <= 3
    assert pixel(encoded(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "TIFF")) == (255, 0, 0)
    assert (
        np.abs(
            np.subtract(pixel(encoded(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "JPEG")), (255, 0, 0))
        ).max()
        < 4
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = gradient()
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(inverse[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"exif": exif, **({"quality": 98} if kind in ("JPEG", "WEBP") else {})}
    data = encoded(stored, kind, **options)
    found = open_image(data)
    assert found.size == upright.size == image_size(data)
    assert np.abs(np.asarray(found, np.int16) - np.asarray(upright, np.int16)).mean() < 4
    assert not found.getexif()
    assert open_image(Image.open(io.BytesIO(data))).tobytes() == found.tobytes()


def test_the_first_frame_is_shown() -> None:
    frames = [Image.new("RGB", SIZE, colour) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        assert pixel(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)) == (
            250,
            0,
            0,
        ), kind


def test_the_callers_image_is_left_alone() -> None:
    image = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    result = open_image(image)
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0)) == (255, 0, 0, 0)
    rgb = Image.new("RGB", SIZE)
    result = open_image(rgb)
    result.putpixel((0, 0), (9, 9, 9))
    assert rgb.getpixel((0, 0)) == (0, 0, 0)
    assert to_rgb(rgb).mode == "RGB"


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM", "TGA"]
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    path = tmp_path / f"page.{kind.lower()}"
    path.write_bytes(data)
    assert open_image(path).size == (64, 64)
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(MediaError) as caught:
        open_image(path, source="row 7")
    assert str(path) in str(caught.value)
    assert "row 7" in str(caught.value)


def test_missing_empty_and_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    for path, cause in (
        (tmp_path / "nowhere.png", "no such file"),
        (tmp_path / "empty.png", "empty"),
        (tmp_path / "text.png", "not an image"),
        (tmp_path, "folder"),
        (Path("/dev/zero"), "device"),
        (Path("a\0b.png"), "cannot be read"),
    ):
        for reader in (open_image, image_size):
            with pytest.raises(MediaError, match=cause) as caught:
                reader(path)
            assert str(path) in str(caught.value)
    for value in (
        b"",
        b"\0" * 100,
        3.0,
        None,
        np.zeros(3),
        np.zeros((0, 4, 3)),
        np.zeros((5, 5, 7)),
        Image.new("L", (0, 3)),
    ):
        with pytest.raises(InputError):
            open_image(value)
    with pytest.raises(InputError, match="numbers"):
        array_to_rgb(np.full((2, 2), "a"))


def test_excluded_formats_name_their_reason() -> None:
    with pytest.raises(MediaError, match="Ghostscript"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(MediaError, match="MPEG files are not read"):
        open_image(b"\0\0\1\xb3" + b"\0" * 20)
    assert "EPS" in EXCLUDED_FORMATS


def test_pixel_limit_holds_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MediaError, match=r"60000 x 50000 = 3,000\.0 megapixels, the limit is 64\.0"):
            open_image(png((b"IHDR", header), (b"IDAT", b"")))
    assert image_size(png((b"IHDR", header), (b"IDAT", b""))) == (60_000, 50_000)
    small = gradient()
    for value in (small, encoded(small), np.asarray(small), np.asarray(small)[:, :, 0]):
        assert open_image(value, max_pixels=960).size == SIZE
        with pytest.raises(MediaError, match="megapixels"):
            open_image(value, max_pixels=959)


def test_the_callers_limit_counts_and_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert open_image(encoded(gradient())).size == SIZE
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(MediaError, match="megapixels"):
        open_image(encoded(gradient()), max_pixels=99)


def test_hidden_sizes_are_checked() -> None:
    # A JP2 box that claims another size than the codestream, and a TIFF tile larger than its image.
    data = encoded(gradient(), "JPEG2000")
    at = data.index(b"\xff\x4f\xff\x51") + 8
    lying = data[:at] + struct.pack(">II", 200_000, 200_000) + data[at + 8 :]
    with pytest.raises(MediaError, match="200000 x 200000"):
        open_image(lying)
    tags = {256: 4, 257: 4, 258: 8, 259: 8, 262: 1, 277: 1, 322: 65_536, 323: 65_536, 324: 8, 325: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    with pytest.raises(MediaError, match=r"TIFF tile.*65536 x 65536"):
        open_image(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4)
    # Formats that Pillow decodes in Python get an eighth of the limit.
    with pytest.raises(MediaError, match="decodes slowly"):
        open_image(b"qoif" + struct.pack(">IIBB", 4000, 4000, 3, 0) + b"\xfd" * 10)


def test_arrays_of_either_layout() -> None:
    picture = np.asarray(gradient())
    for array in (
        picture,
        picture.transpose(2, 0, 1),
        picture / 255.0,
        (picture / 255.0).transpose(2, 0, 1).astype(np.float32),
        picture.astype(np.int64),
        picture.astype(np.uint16) * 257,
    ):
        assert np.abs(np.asarray(open_image(array), np.int16) - picture).max() <= 1
        assert image_size(array) == SIZE
    assert pixel(np.dstack([picture, np.zeros(picture.shape[:2], np.uint8)])) == (255, 255, 255)
    assert open_image(picture[:, :, :1]).size == SIZE
    assert open_image(picture[:, :, 0] > 100).size == SIZE
    assert open_image(np.zeros((3, 7, 3))).size == (3, 7)


def test_draft_decoding_stays_above_the_target() -> None:
    data = encoded(gradient(size=(800, 400)), "JPEG")
    small = open_image(data, target_pixels=60 * 30)
    assert small.width * small.height >= 60 * 30
    assert small.size == (100, 50)
    assert open_image(data, target_pixels=10**9).size == (800, 400)
    assert open_image(encoded(gradient(size=(80, 40))), target_pixels=5).size == (80, 40)


MUTATED = [
    encoded(gradient(size=(16, 9)), kind)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000", "PPM", "ICO", "AVIF")
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
    with contextlib.suppress(MediaError):
        open_image(data, max_pixels=100_000)


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
