"""JPEG decoded near the size the model takes: smaller where that shows nothing, in full elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sightline.errors import InputError
from sightline.inputs.media import open_image
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder


def page(width: int, height: int) -> Image.Image:
    """A page with lines of text and a drawing."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    size = height / 60
    for line in range(3, 40):
        words = f"{line * 37} employees, {line}.{line * 7 % 100:02d} million " * 3
        draw.text((width / 20, line * size * 1.2), words, fill=(20, 20, 40), font_size=size)
    draw.ellipse(
        (width * 0.5, height * 0.8, width * 0.9, height * 0.97), outline="darkred", width=width // 200
    )
    return image


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85, **options)
    return buffer.getvalue()


def difference(first: Any, second: Any) -> float:
    """Mean of the pixels' absolute differences, of 255."""
    return float(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).mean())


@dataclass(frozen=True)
class To:
    """Resizes every image to one size."""

    size: tuple[int, int]
    method: int = 3

    def target(self, width: int, height: int) -> tuple[int, int]:
        return self.size


@pytest.mark.parametrize(
    ("size", "smaller"),
    [
        ((2400, 3200), True),
        ((1200, 1600), True),
        ((1199, 1600), False),  # half of it would be less than twice as wide as wanted
        ((1200, 1599), False),
        ((300, 400), False),
        ((100, 5000), False),
    ],
)
def test_only_where_twice_as_much_is_left(size: tuple[int, int], smaller: bool) -> None:
    image = page(*size)
    assert open_image(jpeg(image), fit=To((300, 400))).size == ((300, 400) if smaller else size)
    png = io.BytesIO()
    image.save(png, "PNG")
    assert open_image(png.getvalue(), fit=To((300, 400))).size == size


@pytest.mark.parametrize("size", [(1200, 1600), (1215, 1693), (2431, 3393), (5003, 6607)])
@pytest.mark.parametrize("method", [2, 3])
def test_nobody_sees_the_difference(size: tuple[int, int], method: int) -> None:
    data = jpeg(page(*size))
    found = open_image(data, fit=To((300, 400), method))
    expected = open_image(data).resize((300, 400), Image.Resampling(method))
    assert found.size == expected.size
    assert np.ptp(np.asarray(expected)) > 200
    # Far less than saving the page once more would change.
    assert difference(found, expected) < 0.65 * difference(open_image(jpeg(expected)), expected)


def test_turned_images_are_wanted_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = page(1200, 1600)
    data = jpeg(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    found = open_image(data, fit=To((300, 400)))
    assert found.size == (300, 400)
    assert difference(found, upright.resize((300, 400), Image.Resampling.BICUBIC)) < 3
    lying = jpeg(upright.transpose(Image.Transpose.ROTATE_90))
    assert open_image(lying, fit=To((300, 400))).size == (1600, 1200)


def test_gray_and_cmyk() -> None:
    for mode in ("L", "CMYK"):
        data = jpeg(page(1200, 1600).convert(mode))
        found = open_image(data, fit=To((300, 400)))
        expected = open_image(data).resize((300, 400), Image.Resampling.BICUBIC)
        assert found.mode == "RGB"
        assert difference(found, expected) < 2


def test_a_size_that_would_be_resized_again_is_left_alone() -> None:
    class Halving(To):
        def target(self, width: int, height: int) -> tuple[int, int]:
            return width // 4, height // 4

    assert open_image(jpeg(page(1200, 1600)), fit=Halving((0, 0))).size == (1200, 1600)


def test_an_encoder_sees_the_same_page(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained(
        tiny("qwen3_vl"), device="cpu", processor_kwargs={"max_pixels": 400 * 300}
    )
    items = encoder.backbones()[""].processor
    assert items.images is not None
    path = tmp_path / "page.jpg"
    path.write_bytes(jpeg(page(1654, 2339)))
    item = parse(path)
    opened = items.open(item.parts[0], None)
    assert opened.size == items.images.target(1654, 2339)
    drafted, full = items(item), items(parse(open_image(path)))
    assert drafted.cost == full.cost
    assert (drafted.values["image_grid_thw"] == full.values["image_grid_thw"]).all()
    found, expected = (one.values["pixel_values"] for one in (drafted, full))
    assert difference(found, expected) < 1.5
    assert np.ptp(np.asarray(expected)) > 200
    vectors = encoder.encode([path, open_image(path)]).normalize().values
    assert float(vectors[0] @ vectors[1]) > 0.9999
    strip = tmp_path / "strip.jpg"
    strip.write_bytes(jpeg(Image.new("RGB", (9, 4000))))
    with pytest.raises(InputError, match="aspect ratio"):
        items(parse(strip))
