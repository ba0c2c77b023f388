"""The report in a real browser: nothing fails, nothing is fetched, nothing sticks out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from sightline.evaluation.background import Background, Remark
from sightline.evaluation.report import write_report
from sightline.evaluation.retrieval import score_embeddings
from sightline.evaluation.rows import Row
from sightline.evaluation.storage import Cell, Cost, Storage
from sightline.types import Embeddings


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
        cost = Cost(128.0, 12.5, 0.4, len(pages), "a machine")
        cells = tuple(
            Cell(
                Storage(dim, precision),
                found,
                replace(cost, bytes_per_page=Storage(dim, precision).bytes_per_vector),
            )
            for dim, found in scored.by_dim.items()
            for precision in ("float32", "int8")
        )
        kinds = {qid: ("table" if number % 2 else "figure") for number, qid in enumerate(queries)}
        return Row(name, "both", replace(scored, cost=cost, cells=cells, facets={"kind": kinds}))

    rows = [row("untuned", 1.6), row("fine-tuned", 1.0)]
    steps = [{"loss": 2 / step, "learning_rate": 1e-4, "step": step} for step in range(10, 80, 10)]
    background = Background(
        log=[*steps, *({"eval_ndcg@10": 0.5 + step / 200, "step": step} for step in (20, 40, 60))],
        metric="eval_ndcg@10",
        recipe="[training]\nlearning_rate = 1e-4\n" * 30,
        remarks=[Remark("warning", "question is cut", 3, "an-unbroken-" * 12, "too long", "shorten it")],
    )
    return write_report(
        rows,
        folder / "report.html",
        thumbnails=lambda _: picture,
        background=background,
        facts={"fingerprint": "0123456789abcdef" * 2},
    )


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


def test_links_lead_to_sections_and_text_has_contrast(browser, report: Path) -> None:
    """4.5 to 1 for all text in light and in dark (WCAG 2.2, 1.4.3)."""
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(report.as_uri())
        links = page.locator("nav a")
        assert links.count() > 8
        for number in range(links.count()):
            assert page.locator(f"section{links.nth(number).get_attribute('href')}").count() == 1
        found = page.evaluate(CONTRASTS)
        assert len(found) > 50
        worst = min(found, key=lambda one: one["ratio"])
        assert worst["ratio"] >= 4.5, (scheme, worst)
        page.close()


def test_the_report_prints_on_white_paper(browser, report: Path, tmp_path: Path) -> None:
    """A4 pages in portrait, whose text stays within their margins; white also where the screen is dark."""
    from pypdfium2 import PdfDocument

    page = browser.new_page(color_scheme="dark")
    page.goto(report.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = tmp_path / "report.pdf"
    page.pdf(path=str(printed), format="A4", prefer_css_page_size=True)
    page.close()
    document = PdfDocument(printed)
    assert 3 <= len(document) <= 14
    whole = ""
    for sheet in document:
        assert sheet.get_size() == pytest.approx((595, 842), abs=2)
        text = sheet.get_textpage()
        whole += text.get_text_range()
        right = max(text.get_rect(number)[2] for number in range(text.count_rects()))
        assert right <= 595 - 30
    for heading in ("Size and speed", "Questions gained", "Training", "Recipe"):
        assert heading in whole


CONTRASTS = """
() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("svg title, .sr")) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(rgb(ink)), light(behind(element))].sort((x, y) => y - x);
    found.push({ratio: (a + 0.05) / (b + 0.05), text: walker.currentNode.data.slice(0, 40), ink});
  }
  return found;
}
"""


def _brightness(colour: str) -> float:
    red, green, blue = (float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
