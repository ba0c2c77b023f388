"""The report: words, table, escaping, thumbnails, well-formed and self-contained HTML."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from sightline.errors import DataError
from sightline.evaluation.charts import score_limits, ticks
from sightline.evaluation.gallery import page_label, thumbnail_uri, worst_queries
from sightline.evaluation.report import render_html, render_table, write_report
from sightline.evaluation.results import result_of_run
from sightline.evaluation.retrieval import score_embeddings
from sightline.evaluation.rows import Row, standard_comparisons
from sightline.evaluation.summary import signed, summarize, verdict
from sightline.types import Embeddings

EVIL = "<script>alert('x')</script> & \"quoted\""
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Tags balance; collects tag names and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def made_rows() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    ids = [f"{EVIL} {d}.pdf#p{p}" for d in range(11) for p in range(3)]
    vectors = torch.randn(len(ids), 32, generator=generator)
    queries = {f"q{i:02}": f"{EVIL} question {i}" for i in range(33)}
    relevant = {f"q{i:02}": {ids[i], ids[(i + 1) % 33]} for i in range(33)}

    def row(name: str, fields: str, noise: float) -> Row:
        found = Embeddings(vectors + noise * torch.randn(33, 32, generator=generator))
        return Row(
            name,
            fields,
            score_embeddings(queries, found, ids, Embeddings(vectors), relevant, dims=(32, 16, 4)),
        )

    run = {qid: {ids[5]: 1.0} for qid in queries}
    return [
        Row("bm25", "text", result_of_run(queries, run, relevant, corpus=ids)),
        row("untuned", "text", 4.0),
        row("untuned", EVIL, 5.0),
        row("fine-tuned", "text", 1.0),
        row("fine-tuned", EVIL, 1.2),
    ]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return made_rows()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.png"
    Image.new("RGBA", (850, 1100), (200, 30, 30, 128)).save(path)
    return path


def test_everything_from_outside_is_escaped(rows: list[Row], page: Path) -> None:
    html = render_html(rows, title=EVIL, thumbnails=lambda _: page, facts={EVIL: EVIL, "list": [EVIL]})
    assert "<script" not in html
    checker = parsed(html)
    assert "script" not in checker.tags
    assert EVIL in checker.text
    assert "question 3" in checker.text


def test_self_contained_with_small_thumbnails(rows: list[Row], page: Path) -> None:
    html = render_html(rows, thumbnails=lambda _: page)
    checker = parsed(html)
    assert checker.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in checker.sources)
    assert not re.search(r"https?://|url\(|@import", html)
    assert {"svg", "table", "figure"} <= checker.tags
    jpeg = base64.b64decode(checker.sources[0].split(",", 1)[1])
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.width <= 220
        assert image.height <= 300
        assert image.mode == "RGB"
    assert len(jpeg) < 20_000
    # Without pictures the report says so instead.
    assert "no picture" in parsed(render_html(rows)).text


def test_broken_pictures_are_left_out(rows: list[Row], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    truncated = tmp_path / "truncated.png"
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 80).save(buffer, "PNG")
    truncated.write_bytes(buffer.getvalue()[:2000])
    for path in (broken, truncated, tmp_path / "missing.png", tmp_path):
        assert thumbnail_uri(path) is None
    assert "no picture" in render_html(rows, thumbnails=lambda _: broken)


def test_summary_says_whether_and_how_sure(rows: list[Row]) -> None:
    comparisons = standard_comparisons(rows)
    assert verdict(rows, comparisons) == "Fine-tuning helped"
    sentences = summarize(rows, comparisons)
    assert sentences[0].startswith("On 33 questions over 33 pages, NDCG@10 with pages seen as text rose from")
    assert re.search(
        r"The gain is \+0\.\d{3}, most likely between .* \(95% interval, p [<=] 0\.001\)", sentences[0]
    )
    assert any("better than BM25" in sentence for sentence in sentences)
    backwards = [Row("untuned", "text", rows[3].result), Row("fine-tuned", "text", rows[1].result)]
    found = standard_comparisons(backwards)
    assert verdict(backwards, found) == "Fine-tuning made retrieval worse"
    assert "fell from" in summarize(backwards, found)[0]
    assert "The loss is −" in summarize(backwards, found)[0]
    same = [Row("untuned", "text", rows[3].result), Row("fine-tuned", "text", rows[3].result)]
    found = standard_comparisons(same)
    assert verdict(same, found) == "Fine-tuning made no clear difference"
    assert "cannot tell the two apart" in summarize(same, found)[0]


def test_one_row_makes_a_report_too(rows: list[Row]) -> None:
    for row in (rows[0], rows[3]):
        html = render_html([row])
        assert f"NDCG@10 is {row.result.scores['ndcg@10']:.3f}" in parsed(html).text
        assert "Questions gained" not in html
    with pytest.raises(DataError, match="no results"):
        render_html([])


def test_a_name_that_is_not_utf8_can_be_written(rows: list[Row], tmp_path: Path) -> None:
    path = write_report(rows[:1], tmp_path / "out" / "report.html", facts={"folder": "caf\udce9"})
    assert parsed(path.read_text("utf-8")).text.count("caf") == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_terminal_table(rows: list[Row]) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(render_table(rows, title="Held out"))
    text = console.export_text()
    assert re.search(r"NDCG@10\s+MAP\s+Recall@10\s+@32\s+@16\s+@4", text)
    tuned = rows[3].result
    assert re.search(
        rf"fine-tuned\s+text\s+{tuned.scores['ndcg@10']:.3f}\s+{tuned.scores['map']:.3f}.*"
        rf"{tuned.by_dim[4]['ndcg@10']:.3f}",
        text,
    )
    assert re.search(r"bm25\s+text\s+.*–\s+–\s+–", text)
    assert EVIL in text, "markup in names is text"


def test_worst_queries_come_first_and_perfect_ones_never() -> None:
    ids = [f"d#p{i}" for i in range(5)]
    queries = {"perfect": "a", "third": "b", "nowhere": "c", "lost": "d"}
    relevant = {qid: {"d#p0"} for qid in queries}
    now = {
        "perfect": {"d#p0": 2.0, "d#p1": 1.0},
        "third": {"d#p1": 3.0, "d#p2": 2.0, "d#p0": 1.0},
        "nowhere": {"d#p1": 1.0},
        "lost": {"d#p2": 1.0},
    }
    before = {**now, "lost": {"d#p0": 1.0}}
    result = result_of_run(queries, now, relevant, corpus=ids)
    earlier = result_of_run(queries, before, relevant, corpus=ids)
    assert worst_queries(result, 10, earlier) == ["lost", "nowhere", "third"]
    assert worst_queries(result, 1) == ["lost"]
    rows = [Row("untuned", "text", earlier), Row("fine-tuned", "text", result)]
    text = parsed(render_html(rows)).text
    assert "no right page retrieved" in text
    assert "first right page at rank 3" in text
    assert "not found" in text


def test_pages_are_counted_as_people_count() -> None:
    assert page_label("annual/report.pdf#p0") == "annual/report.pdf, page 1"
    assert page_label("a#p1.pdf#p11") == "a#p1.pdf, page 12"
    assert page_label("photo.jpg") == "photo.jpg"


def test_numbers_and_axes() -> None:
    assert [signed(v) for v in (0.1754, -0.01, 0.0002, -0.0002)] == ["+0.175", "−0.010", "0.000", "0.000"]
    assert score_limits([0.41, 0.58]) == (0.4, 0.6)
    assert score_limits([0.5]) == (0.5, 0.7)
    assert score_limits([1.0]) == (0.8, 1.0)
    for low in range(9):
        for high in range(low + 2, 11):
            found = ticks(low / 10, high / 10)
            assert 3 <= len(found) <= 7
            assert found[0] == low / 10
            assert found[-1] <= high / 10


def test_the_summary_says_who_is_compared_and_when_nothing_moved(rows: list[Row]) -> None:
    by_name = {(row.name, row.fields): row for row in rows}
    bm25, before = by_name["bm25", "text"], by_name["untuned", "text"]
    alone = [bm25, before]
    assert "of untuned with pages seen as text is" in summarize(alone, standard_comparisons(alone))[0]
    assert "BM25, the keyword search over the text, has" in summarize(alone, standard_comparisons(alone))[0]
    same = [before, Row("fine-tuned", "text", before.result)]
    assert "stayed at" in summarize(same, standard_comparisons(same))[0]
