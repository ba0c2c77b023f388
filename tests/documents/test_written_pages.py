"""Plain text, Markdown and HTML become pages that can be read."""

from __future__ import annotations

import pytest
from PIL import Image

from sightline.documents.fonts import Fonts
from sightline.documents.pages import read_pages
from sightline.documents.records import IngestSettings, image_location
from sightline.documents.structure import Block, from_text
from sightline.documents.typeset import PAGE, draw, set_pages
from sightline.errors import ConfigError, MediaError

SETTINGS = IngestSettings(pixels=250_000)


def read(path, root, settings=SETTINGS, first=0):
    count, *pages = read_pages(path, root, settings, first)
    assert count == first + len(pages)
    return pages


def ink(page, root) -> float:
    """The share of dark pixels."""
    with Image.open(root / image_location(page.content_hash)) as image:
        dark = sum(image.convert("L").histogram()[:128])
        return dark / (image.width * image.height)


def test_markdown_page(tmp_path):
    (tmp_path / "a.md").write_text(
        "# Pumps\n\nThe seal of pump 7 wears first.\n\n- oil\n- grease\n\n| Year | Cost |\n|---|---|\n| 2020 | 4 |\n"
    )
    (page,) = read(tmp_path / "a.md", tmp_path)
    assert page.text.split("\n") == [
        "# Pumps",
        "The seal of pump 7 wears first.",
        "- oil",
        "- grease",
        "Year | Cost",
        "2020 | 4",
    ]
    assert (page.source, page.note) == ("text", "")
    assert page.width * page.height == pytest.approx(250_000, rel=0.01)
    assert page.height / page.width == pytest.approx(PAGE[1] / PAGE[0], rel=0.01)
    assert 0.002 < ink(page, tmp_path) < 0.2


def test_pages_fill_and_headings_stay_with_their_text():
    fonts = Fonts()
    paragraph = Block("paragraph", "word " * 100)
    blocks = [block for number in range(30) for block in (Block("heading", f"Part {number}", 2), paragraph)]
    pages = set_pages(blocks, fonts)
    assert 4 < len(pages) < 15
    texts = [page.text for page in pages]
    assert "\n".join(texts).count("word") == 3000
    assert [line for text in texts for line in text.split("\n") if line.startswith("#")] == [
        f"## Part {number}" for number in range(30)
    ]
    assert not any(text.split("\n")[-1].startswith("#") for text in texts)


def test_everything_drawn_is_inside_the_page():
    wide = Block("table", rows=(("Name", "What it is for"), ("x" * 200, "many words " * 60)), header=True)
    columns = Block("table", rows=(tuple(f"column {number}" for number in range(30)),))
    deep = Block("item", "long " * 80, 8, "•")
    blocks = [wide, columns, deep, Block("code", "y" * 500), Block("heading", "Z" * 300, 1)]
    fonts = Fonts()
    (page,) = set_pages(blocks, fonts)
    for size in ((300, 425), (840, 1190)):
        image = draw(page, size, fonts)
        box = Image.eval(image.convert("L"), lambda value: 255 - value).getbbox()
        assert box is not None
        edge = 40 / PAGE[0] * size[0]
        assert box[0] > edge
        assert box[1] > edge
        assert box[2] < size[0] - edge
        assert box[3] < size[1] - edge


def test_the_image_depends_on_the_text_alone(tmp_path):
    (tmp_path / "a.txt").write_text("same\nlines\n" * 60)
    one = read(tmp_path / "a.txt", tmp_path / "x")
    other = read(tmp_path / "a.txt", tmp_path / "y")
    assert one == other
    assert len(one) == 2
    assert read(tmp_path / "a.txt", tmp_path / "z", first=1) == one[1:]


def test_long_lines_of_plain_text_are_parted_between_words(tmp_path):
    words = [f"word{number}" for number in range(100)]
    (page,) = set_pages(from_text(" ".join(words)), Fonts())
    assert page.text.split() == words


def test_html_and_latin_text(tmp_path):
    (tmp_path / "a.html").write_bytes("<h1>Größe</h1><p>Preis".encode())
    (tmp_path / "page").write_text("<!DOCTYPE html><p>no ending")
    (tmp_path / "b.txt").write_bytes("Größe".encode("cp1252"))
    (page,) = read(tmp_path / "a.html", tmp_path)
    assert (page.text, page.source) == ("# Größe\nPreis", "html")
    assert read(tmp_path / "page", tmp_path)[0].text == "no ending"
    (page,) = read(tmp_path / "b.txt", tmp_path)
    assert page.text == "Größe"
    assert "Windows-1252" in page.note


def test_characters_without_a_glyph_are_told(tmp_path):
    (tmp_path / "a.txt").write_text("plain, Ελληνικά, Кириллица and 東京")
    (page,) = read(tmp_path / "a.txt", tmp_path)
    assert page.note.startswith("2 characters are drawn as boxes")
    assert "東京" in page.text


def test_refusals(tmp_path):
    (tmp_path / "a.html").write_text("<script>only()</script>")
    (tmp_path / "b.txt").write_bytes(bytes(1000))
    (tmp_path / "c.txt").write_text("\f".join("abcd"))
    with pytest.raises(MediaError, match="no text in it"):
        read(tmp_path / "a.html", tmp_path)
    with pytest.raises(MediaError, match="binary data"):
        read(tmp_path / "b.txt", tmp_path)
    with pytest.raises(MediaError, match="fills 4 pages; at most 3"):
        read(tmp_path / "c.txt", tmp_path, IngestSettings(max_pages=3))
    with (tmp_path / "d.txt").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(MediaError, match="17 MiB of text; at most 16"):
        read(tmp_path / "d.txt", tmp_path)


def test_a_font_of_ones_own(tmp_path):
    from sightline.documents.fonts import _path

    (tmp_path / "a.txt").write_text("in another font")
    (plain,) = read(tmp_path / "a.txt", tmp_path)
    settings = IngestSettings(pixels=250_000, font=_path("bold", ""))
    (bold,) = read(tmp_path / "a.txt", tmp_path, settings)
    assert ink(bold, tmp_path) > 1.1 * ink(plain, tmp_path)
    with pytest.raises(ConfigError, match="font must be a font file"):
        IngestSettings(font=str(tmp_path / "none.ttf"))
