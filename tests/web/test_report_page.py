"""The report in a real browser: nothing fails, nothing is fetched, nothing sticks out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from sightline.evaluation.report import write_report
from sightline.evaluation.retrieval import score_embeddings
from sightline.evaluation.rows import Row
from sightline.types import Embeddings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (apt-get install chromium); .ci/run installs it"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    generator = torch.Generator().manual_seed(0)
    pages = [f"a-rather-long-document-name-{d}.pdf#p{p}" for d in range(11) for p in range(3)]
    vectors = torch.randn(len(pages), 32, generator=generator)
    queries = {f"q{i}": f"What does page {i} say about unforeseeable expenditure?" for i in range(len(pages))}
    relevant = {f"q{i}": {page} for i, page in enumerate(pages)}
    picture = folder / "page.png"
    Image.new("RGB", (600, 800), "white").save(picture)

    def row(name: str, noise: float) -> Row:
        found = Embeddings(vectors + noise * torch.randn(vectors.shape, generator=generator))
        scored = score_embeddings(queries, found, pages, Embeddings(vectors), relevant, dims=(32, 16, 8))
        return Row(name, "both", scored)

    rows = [row("untuned", 1.6), row("fine-tuned", 1.0)]
    return write_report(rows, folder / "report.html", thumbnails=lambda _: picture)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1100])
def test_report_fits_and_asks_for_nothing(browser, report: Path, scheme: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())

    assert troubles == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert page.locator("h1").inner_text()
    background, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    light_on_dark = _brightness(ink) > _brightness(background)
    assert light_on_dark is (scheme == "dark")
    page.close()


def _brightness(colour: str) -> float:
    red, green, blue = (float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
