"""Image files of several frames."""

from __future__ import annotations

import pytest
from PIL import Image

from sightline.documents.pages import read_pages
from sightline.documents.records import IngestSettings, image_location

SETTINGS = IngestSettings(pixels=10_000)
COLOURS = ("red", "lime", "blue")


def read(path, root, settings=SETTINGS, first=0):
    count, *pages = read_pages(path, root, settings, first)
    return count, pages


def colours(pages, root) -> list[tuple[int, ...]]:
    """The colour in the middle of each page, to the nearest of full and none."""
    found = []
    for page in pages:
        with Image.open(root / image_location(page.content_hash)) as image:
            middle = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
            found.append(tuple(255 * round(value / 255) for value in middle))
    return found


@pytest.fixture
def frames() -> list[Image.Image]:
    return [Image.new("RGB", (60 + 20 * number, 40), colour) for number, colour in enumerate(COLOURS)]


def test_every_frame_of_a_tiff_is_a_page(frames, tmp_path):
    frames[0].save(tmp_path / "fax.tif", save_all=True, append_images=frames[1:])
    count, pages = read(tmp_path / "fax.tif", tmp_path)
    assert (count, [page.page for page in pages]) == (3, [0, 1, 2])
    assert [page.width for page in pages] == [60, 80, 100]
    assert colours(pages, tmp_path) == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert read(tmp_path / "fax.tif", tmp_path, first=2) == (3, pages[2:])


def test_previews_in_a_tiff_are_no_pages(frames, tmp_path):
    info = [{}, {254: 1}, {}]
    frames[0].encoderinfo = {"tiffinfo": info[0]}
    frames[1].encoderinfo = {"tiffinfo": info[1]}
    frames[0].save(tmp_path / "scan.tif", save_all=True, append_images=frames[1:])
    count, pages = read(tmp_path / "scan.tif", tmp_path)
    assert count == 2
    assert colours(pages, tmp_path) == [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_animations_give_their_first_frame_or_all_if_asked(ending, frames, tmp_path):
    path = tmp_path / f"moving.{ending}"
    same_size = [frame.resize((60, 40)) for frame in frames]
    same_size[0].save(path, save_all=True, append_images=same_size[1:], duration=100)
    count, pages = read(path, tmp_path)
    assert (count, colours(pages, tmp_path)) == (1, [(255, 0, 0)])
    count, pages = read(path, tmp_path, IngestSettings(pixels=10_000, all_frames=True))
    assert (count, colours(pages, tmp_path)) == (3, [(255, 0, 0), (0, 255, 0), (0, 0, 255)])


def test_a_damaged_frame_is_left_out(frames, tmp_path):
    path = tmp_path / "fax.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:], compression="tiff_lzw")
    with Image.open(path) as image:
        image.seek(1)
        offset, length = image.tag_v2[273][0], image.tag_v2[279][0]
    data = bytearray(path.read_bytes())
    data[offset : offset + length] = b"\xff" * length
    path.write_bytes(data)
    count, (first, torn, last) = read(path, tmp_path)
    assert count == 3
    assert "cannot be read" in torn.error
    assert colours([first, last], tmp_path) == [(255, 0, 0), (0, 0, 255)]


def test_frames_are_limited(frames, tmp_path):
    from sightline.errors import MediaError

    frames[0].save(tmp_path / "fax.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(MediaError, match="3 frames; at most 2"):
        read(tmp_path / "fax.tif", tmp_path, IngestSettings(max_pages=2))
