"""Images of every colour mode and every kind of damage: read right or refused by name."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
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
