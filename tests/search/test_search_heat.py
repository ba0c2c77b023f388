"""Heat maps of an index's pages: from the question to the drawing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from search.words_encoder import WordsEncoder
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.records import IngestSettings
from sightline.errors import InputError, SearchIndexError
from sightline.models.encoder import Encoder
from sightline.search.index import build_index
from sightline.search.overlay import overlay
from sightline.search.pages import PageRecord
from sightline.search.searcher import Searcher
from sightline.search.word_boxes import original_of, placed_words
from support.tiny_late import colqwen2

# Words, and where on the page of 400 x 300 points (from the lower left) they are written.
WORDS = {
    "battery": (40, 270),
    "turbine": (300, 265),
    "coral": (50, 40),
    "dividend": (310, 30),
    "freight": (180, 150),
}
SIZE = (400, 300)


def write_pdf(path: Path, *, rotate: int = 0, crop: tuple[float, float, float, float] | None = None) -> None:
    from reportlab.pdfgen.canvas import Canvas

    sheet = Canvas(str(path), pagesize=SIZE, invariant=1)
    for word, (x, y) in WORDS.items():
        sheet.drawString(x, y, word)
    if rotate:
        sheet.setPageRotation(rotate)
    if crop:
        sheet.setCropBox(crop)
    sheet.showPage()
    sheet.save()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("heat")
    (work / "in").mkdir()
    write_pdf(work / "in" / "words.pdf")
    ingest(work / "in", work / "out", settings=IngestSettings(pixels=20_000), workers=1)
    return work / "out"


def searcher_over(dataset: Path, folder: Path, encoder: Any, **options: Any) -> Searcher:
    fields = options.pop("fields", None)
    index = build_index(folder / "index", Dataset.load(dataset), encoder, fields=fields, progress=False)
    return Searcher(index, encoder, **options)


@pytest.fixture(scope="module")
def text_searcher(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return searcher_over(dataset, tmp_path_factory.mktemp("text"), WordsEncoder(), fields="text")


@pytest.mark.parametrize("word", WORDS)
def test_of_a_text_the_tile_with_the_word_asked_for_is_hottest(text_searcher: Searcher, word: str) -> None:
    found = text_searcher.explain(f"{word}", "words.pdf#p0", tiles=12)
    assert (found.method, found.model, found.sees) == ("occlusion", "encoder", ("text",))
    assert (found.values_HW.shape, found.passes) == ((3, 4), 13)
    assert found.values_HW.dtype == np.float32
    assert found.values_HW.max() == 1
    x, y = WORDS[word]
    row, column = np.unravel_index(found.values_HW.argmax(), found.values_HW.shape)
    assert (int(row), int(column)) == (int((SIZE[1] - y) / SIZE[1] * 3), int(x / SIZE[0] * 4))
    assert found.seconds > 0


def test_words_whose_place_is_not_known_are_no_map(text_searcher: Searcher, tmp_path: Path) -> None:
    moved = Searcher(text_searcher.index, WordsEncoder(), originals=tmp_path)
    with pytest.raises(SearchIndexError, match=r"nothing to show: .* where its words stand"):
        moved.explain("battery", "words.pdf#p0")
    write_pdf(tmp_path / "words.pdf")
    there = Searcher(text_searcher.index, WordsEncoder(), originals=tmp_path).explain(
        "battery", "words.pdf#p0"
    )
    assert there.sees == ("text",)


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({}, (40 / 400, 1 - 270 / 300)),
        # reportlab turns the sheet under the words: 300 x 400 points, shown as 400 x 300.
        ({"rotate": 90}, (270 / 400, 40 / 300)),
        ({"rotate": 180}, (1 - 40 / 400, 270 / 300)),
        ({"crop": (20, 150, 220, 300)}, (20 / 200, 1 - 120 / 150)),
    ],
)
def test_words_lie_where_the_page_shows_them(tmp_path: Path, options: Any, at: tuple[float, float]) -> None:
    """Turned and cropped pages, too: the box begins at the corner where the word was written."""
    write_pdf(tmp_path / "a.pdf", **options)
    box = placed_words(tmp_path / "a.pdf", 0, " ".join(WORDS))[0].box
    x, y = at
    assert box.left - 0.02 <= x <= box.right + 0.02
    assert box.top - 0.02 <= y <= box.bottom + 0.02
    # Between 30 and 60 points long, 5 to 15 high, along the page's own sides.
    assert (box.right - box.left) * (box.bottom - box.top) < 0.03


def test_words_of_another_file_or_none_have_no_place(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf")
    assert placed_words(tmp_path / "a.pdf", 0, "quite another text than this") == []
    assert placed_words(tmp_path / "a.pdf", 7, " ".join(WORDS)) == []
    assert placed_words(tmp_path / "a.pdf", 0, "") == []
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 no more")
    assert placed_words(tmp_path / "b.pdf", 0, "battery") == []
    text = "new " + " ".join(WORDS)
    found = [text[word.start : word.end] for word in placed_words(tmp_path / "a.pdf", 0, text)]
    assert found == list(WORDS)
    assert original_of(tmp_path, "a.pdf") is None, "a folder that is no dataset"
    assert original_of(tmp_path, "a.pdf", tmp_path) == tmp_path / "a.pdf"
    assert original_of(tmp_path, "a.md", tmp_path) is None


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, int]]]:
    """Pages of 112 x 112 with a mark in one of 2 x 2 quarters."""
    work = tmp_path_factory.mktemp("marks")
    places = {}
    for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        page = Image.new("RGB", (112, 112), "white")
        noise = np.random.default_rng(number).integers(0, 160, (40, 40, 3), dtype=np.uint8)
        page.paste(Image.fromarray(noise), (column * 56 + 8, row * 56 + 8))
        page.save(work / f"{number}.png")
        places[f"m#p{number}"] = (row, column)
    return work, places


def image_searcher(work: Path, folder: Path, encoder: Any) -> Searcher:
    pages = [
        PageRecord(f"m#p{number}", "m", number, "", work / f"{number}.png", 112, 112) for number in range(4)
    ]
    return Searcher(build_index(folder / "index", pages, encoder, fields="image", progress=False), encoder)


@pytest.mark.parametrize("method", ["gradient", "occlusion"])
def test_a_page_asked_for_by_its_own_image_is_hot_where_its_mark_is(
    tiny_encoder: Callable[[str], Encoder], marked: Any, tmp_path: Path, method: str
) -> None:
    work, places = marked
    searcher = image_searcher(work, tmp_path, tiny_encoder("vit"))
    for page, (row, column) in places.items():
        query = {"image": work / f"{page[-1]}.png"}
        found = searcher.explain(query, page, method=method, tiles=4)
        assert found.method == method
        assert found.sees == ("image",)
        assert found.score == pytest.approx(1.0, abs=1e-4)
        rows, columns = found.values_HW.shape
        quarters = found.values_HW.reshape(2, rows // 2, 2, columns // 2).sum((1, 3))
        assert np.unravel_index(quarters.argmax(), (2, 2)) == (row, column)
    assert searcher.explain(query, page).method == "gradient", "the default of one vector over images"
    with pytest.raises(
        SearchIndexError, match="token similarity is for encoders that give a vector per token"
    ):
        searcher.explain(query, page, method="token similarity")


def test_a_late_interaction_model_is_explained_by_its_tokens(marked: Any, tmp_path: Path) -> None:
    work, _ = marked
    encoder = Encoder.from_pretrained(colqwen2(tmp_path / "model"), device="cpu")
    searcher = image_searcher(work, tmp_path, encoder)
    found = searcher.explain("a pump", "m#p1")
    assert (found.method, found.passes, found.sees) == ("token similarity", 1, ("image",))
    assert (found.values_HW.min(), found.values_HW.max()) == (0, 1)
    (hit,) = (hit for hit in searcher.search("a pump", mode="vector") if hit.page_id == "m#p1")
    # The index keeps what is left of float16.
    assert found.score == pytest.approx(hit.score, rel=1e-2)
    for method in ("gradient", "occlusion"):
        other = searcher.explain("a pump", "m#p1", method=method, tiles=4, steps=2)
        assert other.method == method
        assert other.score == pytest.approx(found.score, abs=1e-4)


class Reads(torch.nn.Module):
    """A reranker that likes a word."""

    num_labels = 1
    modalities = ("text",)

    def predict(self, pairs: Any, **_: Any) -> np.ndarray:
        return np.array([3.0 * ("coral" in page["text"]) for _, page in pairs], np.float32)


def test_a_reranker_explains_its_own_score(text_searcher: Searcher) -> None:
    reranker: Any = Reads()
    searcher = Searcher(text_searcher.index, WordsEncoder(), reranker=reranker)
    found = searcher.explain("battery", "words.pdf#p0", model="reranker", tiles=12)
    assert (found.model, found.method, found.score) == ("reranker", "occlusion", 3.0)
    assert np.unravel_index(found.values_HW.argmax(), (3, 4)) == (2, 0)
    assert found.values_HW.sum() == 1, "no other tile matters to it"
    alone = Searcher(text_searcher.index, reranker=reranker).explain("battery", "words.pdf#p0", tiles=12)
    assert alone.model == "reranker"


def test_what_cannot_be_explained_is_refused(text_searcher: Searcher) -> None:
    page = "words.pdf#p0"
    for options, message in [
        ({"page_id": "words.pdf#p9"}, "no page 'words.pdf#p9'"),
        ({"model": "reranker"}, "no reranker"),
        ({"model": "oracle"}, "encoder or reranker"),
        ({"method": "magic"}, "'magic' is unknown; choose from token similarity, gradient, occlusion"),
        ({"method": "gradient"}, "the page is not read as an image"),
        ({"tiles": 0}, "at least 1 tile"),
        ({"dim": 7}, "dimensions"),
        ({"query": " "}, "this one is empty"),
    ]:
        arguments: dict[str, Any] = {"query": "battery", "page_id": page} | options
        with pytest.raises(SearchIndexError, match=message):
            text_searcher.explain(**arguments)
    with pytest.raises(SearchIndexError, match="needs the model"):
        Searcher(text_searcher.index).explain("battery", page, model="encoder")
    with pytest.raises(InputError, match="reads text"):
        Searcher(text_searcher.index, reranker=Reads()).explain(  # type: ignore[arg-type]
            {"image": Image.new("RGB", (8, 8))}, page
        )


def test_the_drawing_colours_what_is_hot_and_leaves_the_rest() -> None:
    page = Image.new("RGB", (80, 60), (240, 240, 240))
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = 1
    drawn = overlay(page, values)
    assert drawn.size == page.size
    pixels = np.asarray(drawn).astype(int)
    assert tuple(pixels[5, 5]) == (240, 240, 240)
    red, green, blue = pixels[30, 50]
    assert red > green + 60
    assert red > blue + 60
    np.testing.assert_array_equal(np.asarray(overlay(page, np.zeros((3, 4)))), np.asarray(page))
