"""Pages that are nearly the same, and those that only look so."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sightline.documents import duplicates
from sightline.documents.closely import Closely
from sightline.documents.duplicates import MAX_DISTANCE, mark_duplicates
from sightline.documents.fonts import Fonts
from sightline.documents.likeness import near_pairs, perceptual_hash
from sightline.documents.rawpages import make_page
from sightline.documents.records import Document, Page, image_location, page_id
from sightline.documents.structure import Block
from sightline.documents.typeset import draw, set_pages

SIZE = (840, 1189)
FORM = "\n".join(
    [
        "Notice of accident",
        *(
            f"{number}. {label}: ................"
            for number, label in enumerate(["name", "place", "date", "weather"])
        ),
        "The pilot in command has to fill in this form and to send it to the board within ten days.",
        "Give the facts as you saw them, and draw a sketch of the scene on the other side of the sheet.",
    ]
)


def sheet(text: str, size=SIZE) -> Image.Image:
    fonts = Fonts()
    (page,) = set_pages([Block("code", text)], fonts)
    return draw(page, size, fonts)


def hamming(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.fixture
def dataset(tmp_path):
    """``dataset((image, text), ...)``: one-page documents with these, marked; the answer is who is like whom."""

    def make(*contents) -> dict[str, str]:
        documents = []
        for number, (image, text) in enumerate(contents):
            name = f"{number}.pdf"
            raw = make_page(0, image, tmp_path, text=text)
            page = Page(
                page_id(name, 0),
                name,
                0,
                image_location(raw.content_hash),
                raw.width,
                raw.height,
                text,
                raw.content_hash,
                "pdf" if text else "none",
                image_hash=raw.image_hash,
            )
            documents.append(Document(name, name, f"{number}", 1, pages=(page,)))
        marked = mark_duplicates(documents, tmp_path)
        assert [replace(page, duplicate_of="") for item in marked for page in item.pages] == [
            page for item in documents for page in item.pages
        ]
        return {
            page.document: page.duplicate_of for item in marked for page in item.pages if page.duplicate_of
        }

    return make


def test_hash_survives_size_and_quality_and_tells_pages_apart(tmp_path):
    pages = [
        sheet("\n".join(random.Random(seed).choices(FORM.split(), k=n))) for seed, n in enumerate((20, 60, 9))
    ]
    hashes = [perceptual_hash(page) for page in pages]
    for page, own in zip(pages, hashes):
        page.resize((500, 708)).save(tmp_path / "small.jpg", quality=40)
        assert hamming(own, perceptual_hash(Image.open(tmp_path / "small.jpg"))) <= MAX_DISTANCE
    assert min(hamming(hashes[i], hashes[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > MAX_DISTANCE


@pytest.mark.parametrize("colour", ["white", (254, 254, 254), "black"])
def test_pages_without_content_have_one_hash(colour):
    assert perceptual_hash(Image.new("RGB", SIZE, colour)) == "0" * 16


def test_a_close_look_sees_single_characters(tmp_path):
    page, other = sheet(FORM + "\ncosts 2,481 in all"), sheet(FORM + "\ncosts 2,487 in all")
    page.save(tmp_path / "a.jpg", quality=90)
    page.resize((600, 849), Image.Resampling.LANCZOS).save(tmp_path / "b.jpg", quality=60)
    other.save(tmp_path / "c.jpg", quality=90)
    page.resize((840, 840)).save(tmp_path / "d.jpg")
    closely = Closely(lambda number: tmp_path / f"{'abcd'[number]}.jpg")
    assert [closely.same(0, number) for number in range(4)] == [True, True, False, False]
    assert closely.same(1, 0)


def test_a_page_saved_again_is_found(dataset):
    page = sheet(FORM)
    again = page.resize((700, 991), Image.Resampling.LANCZOS)
    assert dataset((page, FORM), (sheet("Another page\n" * 20), "Another page " * 20), (again, FORM)) == {
        "2.pdf": "0.pdf#p0"
    }


def test_forms_that_differ_in_what_is_filled_in_are_two_pages(dataset):
    one, other = FORM.replace("name: ......", "name: Jonas "), FORM.replace("name: ......", "name: Maria ")
    assert hamming(perceptual_hash(sheet(one)), perceptual_hash(sheet(other))) <= 6
    assert dataset((sheet(one), one), (sheet(other), other)) == {}
    assert dataset((sheet(one), ""), (sheet(other), "")) == {}


def test_recognised_text_may_differ_where_the_picture_is_the_same(dataset):
    page = sheet(FORM)
    again = page.resize((800, 1132), Image.Resampling.LANCZOS)
    misread = FORM.replace("Notice", "Not1ce").replace("sketch", "sketoh")
    assert dataset((page, FORM), (again, misread)) == {"1.pdf": "0.pdf#p0"}
    assert dataset((page, FORM), (again, "something else altogether")) == {}


def test_pictures_without_text(dataset, tmp_path):
    chart = Image.new("RGB", (600, 400), "white")
    pen = ImageDraw.Draw(chart)
    for number, height in enumerate((100, 300, 200, 350)):
        pen.rectangle((50 + 130 * number, 390 - height, 150 + 130 * number, 390), fill="navy")
    taller = chart.copy()
    ImageDraw.Draw(taller).rectangle((310, 150, 410, 390), fill="navy")
    blank = Image.new("RGB", SIZE, "white")
    chart.save(tmp_path / "again.jpg", quality=60)
    again = Image.open(tmp_path / "again.jpg")
    assert dataset((chart, ""), (taller, ""), (again, ""), (blank, ""), (blank, "")) == {
        "2.pdf": "0.pdf#p0",
        "4.pdf": "3.pdf#p0",
    }


def test_few_words_are_not_enough_to_call_slides_the_same(dataset):
    slides = [Image.new("RGB", (800, 600), "white") for _ in range(2)]
    for slide, colour in zip(slides, ("navy", (70, 70, 200))):
        ImageDraw.Draw(slide).rectangle((100, 100, 700, 500), fill=colour)
    assert dataset(*((slide, "Our strategy") for slide in slides)) == {}


def test_near_pairs_are_those_of_a_naive_search():
    draw_bits = random.Random(7)
    hashes = [draw_bits.getrandbits(64) for _ in range(150)]
    for value in hashes[:60]:
        flipped = sum(1 << bit for bit in draw_bits.sample(range(64), draw_bits.randint(1, 9)))
        hashes.append(value ^ flipped)
    expected = [
        (later, earlier)
        for later in range(len(hashes))
        for earlier in range(later)
        if (hashes[later] ^ hashes[earlier]).bit_count() <= 6
    ]
    assert len(expected) > 20
    assert near_pairs(np.array(hashes, np.uint64), 6, 16) == expected


def test_pairs_per_hash_are_bounded():
    hashes = np.array([1 << bit for bit in range(64)], np.uint64)  # each two bits from every other
    pairs = near_pairs(hashes, 6, 3)
    assert len(pairs) <= 3 * 64
    assert {later for later, _ in pairs} == set(range(1, 64))


def test_in_a_large_collection_few_are_compared(monkeypatch):
    distances = texts = 0
    bits, similar = np.bitwise_count, duplicates._similar

    def counted_bits(values):
        nonlocal distances
        distances += values.size
        return bits(values)

    def counted_texts(first, second):
        nonlocal texts
        texts += 1
        return similar(first, second)

    monkeypatch.setattr(np, "bitwise_count", counted_bits)
    monkeypatch.setattr(duplicates, "_similar", counted_texts)
    draw_bits = random.Random(3)
    words = [f"word{number}" for number in range(3000)]
    pages = []
    for number in range(5_000):
        text = " ".join(draw_bits.choices(words, k=40))
        # A fifth of all pages look like one of a few dozen, as those of one publisher do.
        look = draw_bits.getrandbits(64) if number % 5 else draw_bits.randrange(30) << 40
        pages.append(
            Page(f"{number}#p0", str(number), 0, "", 1, 1, text, str(number), "pdf", "", f"{look:016x}")
        )
    marked = mark_duplicates([Document("all", "", pages=tuple(pages))], root=None)  # type: ignore[arg-type]
    assert not any(page.duplicate_of for page in marked[0].pages)
    pairs = len(pages) * (len(pages) - 1) // 2
    assert distances < pairs // 10
    assert texts <= duplicates.MOST_CANDIDATES * len(pages) // 5, "only pages of one look"
