"""The report: words, table, escaping, thumbnails, well-formed and self-contained HTML."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

from sightline.errors import DataError
from sightline.evaluation.advice import advised, smallest
from sightline.evaluation.background import Background, Remark
from sightline.evaluation.charts import round_ticks, score_limits, ticks
from sightline.evaluation.gallery import moved_queries, page_label, worst_queries
from sightline.evaluation.metrics import Result
from sightline.evaluation.pictures import Pictures, thumbnail_uri
from sightline.evaluation.report import render_html, render_table, write_report
from sightline.evaluation.results import result_of_run
from sightline.evaluation.retrieval import score_embeddings
from sightline.evaluation.rows import Row, headline, standard_comparisons
from sightline.evaluation.saved import read_results, write_results
from sightline.evaluation.storage import Cell, Cost, Storage
from sightline.evaluation.summary import probability, signed, summarize, verdict
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
        self.places: list[str] = []
        self.headings: list[int] = []
        self.tables = self.captions = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        given = dict(attrs)
        if tag == "img":
            assert given["alt"], "every picture says what it shows"
        if "id" in given:
            self.places.append(given["id"] or "")
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
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
    assert checker.text.count(f"{EVIL} question ") > 5


def test_self_contained_with_small_thumbnails(rows: list[Row], page: Path) -> None:
    html = render_html(rows, thumbnails=lambda _: page)
    checker = parsed(html)
    links = [source for source in checker.sources if source.startswith("#")]
    pictures = [source for source in checker.sources if source not in links]
    assert pictures
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    # The list of contents leads to every section, once.
    assert [link[1:] for link in links] == checker.places
    assert len(set(checker.places)) == len(checker.places) > 5
    assert not re.search(r"https?://|url\(|@import", html)
    assert {"svg", "table", "figure"} <= checker.tags
    jpeg = base64.b64decode(pictures[0].split(",", 1)[1])
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
    lead = headline(comparisons)
    assert lead is not None
    told = re.search(r"The gain is \+0\.\d{3}, most likely between .* \(95% interval, (p .*)\)", sentences[0])
    assert told is not None
    # As in the table of comparisons: corrected for how many there are.
    assert told[1] == probability(lead.corrected_p) != probability(lead.p_value)
    assert lead.significant
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


def background(**options: Any) -> Background:
    steps = [
        {"loss": 2.0 / step, "infonce_dim32": 1.5 / step, "infonce_dim16": 0.5 / step, "learning_rate": 1e-4,
         "grad_norm": 1.0, "items": 24.0, "items_per_second": 40.0 + step, "tokens_per_second": 900.0, "peak_gb": 1.25,
         "reembedded": 0.25, "epoch": step / 40, "step": step}
        for step in range(10, 50, 10)
    ]  # fmt: skip
    evaluations = [
        {
            "eval_dev_ndcg@10": 0.5 + step / 100,
            "eval_dev_dim16_ndcg@10": 0.4,
            "eval_dev_dim16_map": 0.3,
            "step": step,
        }
        for step in (20, 40)
    ]
    remark = Remark("warning", EVIL, 3, "q7", "asks nothing", "write it with `sightline <x>`")
    given = {"log": [*steps, *evaluations], "metric": "eval_dev_ndcg@10", "recipe": f"[model]\nname = '{EVIL}'\n",
             "remarks": [remark]} | options  # fmt: skip
    return Background(**given)


def test_how_the_model_was_made(rows: list[Row]) -> None:
    html = render_html(rows, background=background())
    checker = parsed(html)
    assert "40 optimizer steps, 70 items per second (median), 900 tokens per second" in checker.text
    assert "at most 1.2 GB of memory, 25% of the micro-batches embedded a second time" in checker.text
    for label in ("infonce_dim32", "infonce_dim16", "dev ndcg@10 on held-out questions", "16 dimensions"):
        assert label.lower() in checker.text.lower(), label
    assert "grad_norm" not in checker.text
    assert f"name = '{EVIL}'" in checker.text
    assert "What was found in the data" in checker.text
    assert "write it with <code>sightline &lt;x&gt;</code>" in html
    assert "<code>sightline check</code> found" in html
    assert "<code>sightline train</code> runs it again" in html
    assert "`" not in checker.text
    empty = parsed(render_html(rows, background=background(remarks=[]))).text
    assert "found nothing wrong" in empty
    unknown = parsed(render_html(rows)).text
    assert "What was found in the data" not in unknown
    assert "Recipe" not in unknown


def test_results_files_keep_how_a_model_was_made(rows: list[Row], tmp_path: Path) -> None:
    told = background(log=[*background().log, {"loss": 1.0, "grad_norm": float("nan"), "step": 50}])
    path = write_results(rows, tmp_path / "results.json", background=told, facts={"created": "then"})
    found = read_results(path)
    assert found.background == background(log=[*background().log, {"loss": 1.0, "step": 50}])
    assert found.facts["created"] == "then"
    again = render_html(found.rows, background=found.background, facts=found.facts)
    assert "then" in parsed(again).text
    values = json.loads(path.read_text())
    del values["background"], values["log"]
    path.write_text(json.dumps(values))
    assert read_results(path).background == Background()


def test_questions_gained_and_lost_show_pages_before_and_after(rows: list[Row], page: Path) -> None:
    lead = standard_comparisons(rows)[0]
    gained, lost = moved_queries(lead)
    assert gained
    assert {lead.after.result.per_query()[q] > lead.before.result.per_query()[q] for q in gained} == {True}
    assert {lead.after.result.per_query()[q] < lead.before.result.per_query()[q] for q in lost} <= {True}
    html = render_html(rows, thumbnails=lambda _: page, pictured=2, changed=5)
    text = parsed(html).text
    assert html.count('class="query change"') == 2 + min(2, len(lost))
    assert "Before: untuned (text)" in text
    assert "After: fine-tuned (text)" in text
    assert "The first 5 of them; all ranks are in results.json." in text


def test_pictures_end_with_their_budget(rows: list[Row], page: Path) -> None:
    whole = render_html(rows, thumbnails=lambda _: page)
    small = render_html(rows, thumbnails=lambda _: page, budget=20_000)
    assert sum(map(len, re.findall(r'src="([^"]*)"', small))) <= 20_000
    left_out = whole.count("<img") - small.count("<img")
    assert left_out > 0
    assert f"{left_out:,} more pictures of pages are left out" in parsed(small).text
    assert small.count("<img") > 0
    assert "more pictures" not in parsed(whole).text


def test_tables_have_captions_and_headings_an_order(rows: list[Row], page: Path) -> None:
    checker = parsed(render_html(rows, thumbnails=lambda _: page, background=background()))
    assert checker.captions == checker.tables > 3
    assert checker.headings[0] == 1
    assert all(after <= before + 1 for before, after in zip(checker.headings, checker.headings[1:]))


def test_marks_are_for_corrected_differences(rows: list[Row]) -> None:
    found = standard_comparisons(rows)
    marked = len({id(one.after) for one in found if one.significant})
    assert render_html(rows).count('class="mark-good"') == marked > 0
    same = [Row("untuned", "text", rows[3].result), Row("fine-tuned", "text", rows[3].result)]
    assert 'class="mark-' not in render_html(same)


def test_the_smallest_vectors_without_a_loss_that_matters(rows: list[Row]) -> None:
    def made(*scores: tuple[int, str, float]) -> Row:
        qids = [f"q{number}" for number in range(40)]
        run = {qid: {"d#p0": 1.0} for qid in qids}
        result = result_of_run(
            {qid: qid for qid in qids}, run, {qid: {"d#p0"} for qid in qids}, corpus=["d#p0"]
        )
        cells = tuple(
            Cell(
                Storage(dim, precision),
                Result({"ndcg@10": score}, {"ndcg@10": dict.fromkeys(qids, score)}),
                Cost(Storage(dim, precision).bytes_per_vector, None, 0.5, 1000, "a machine"),
            )
            for dim, precision, score in scores
        )
        return Row("fine-tuned", "text", replace(result, cells=cells))

    chosen = made((64, "float32", 1.0), (64, "int8", 0.99), (32, "int8", 0.9))
    choice = smallest(chosen)
    assert choice is not None
    assert (choice.storage, choice.bytes_per_page, choice.full_bytes) == (Storage(64, "int8"), 64, 256)
    (told,) = advised(chosen)
    assert (
        "64 dimensions in int8 are enough (64 bytes a page, 0.06 GB for a million pages): 4 times smaller"
        in told
    )
    assert "A search over 1,000 pages takes 0.5 ms (a machine)." in told
    (told,) = advised(made((64, "float32", 1.0), (64, "int8", 0.9)))
    assert told.startswith("Keep the whole vectors (256 bytes a page")
    assert advised(made((64, "float32", 1.0))) == []
    assert "(95% interval)" in told
    # Without measured cells the dimensions are what there is to choose between.
    by_dim = smallest(rows[3])
    assert by_dim is not None
    assert by_dim.storage in (Storage(32), Storage(16), Storage(4))


def test_many_looks_ask_for_more_certainty() -> None:
    """A size whose loss is surely tolerable when it is the only one looked at, and not when it is one of many."""

    def made(ways: int) -> Row:
        qids = [f"q{number}" for number in range(40)]
        run = {qid: {"d#p0": 1.0} for qid in qids}
        result = result_of_run(
            {qid: qid for qid in qids}, run, {qid: {"d#p0"} for qid in qids}, corpus=["d#p0"]
        )
        near = {qid: 0.995 + (0.041 if number % 2 else -0.041) for number, qid in enumerate(qids)}
        scores = [(64, dict.fromkeys(qids, 1.0)), (63, near)]
        scores += [(dim, dict.fromkeys(qids, 0.5)) for dim in range(1, ways)]
        cells = tuple(
            Cell(Storage(dim), Result({"ndcg@10": 0.9}, {"ndcg@10": found}), Cost(4.0 * dim))
            for dim, found in scores
        )
        return Row("fine-tuned", "text", replace(result, cells=cells))

    alone, among = smallest(made(1)), smallest(made(40))
    assert alone is not None
    assert among is not None
    assert (alone.storage.dim, alone.compared) == (63, 1)
    assert (among.storage.dim, among.compared) == (64, 40)
    assert "corrected for the 40 smaller ways compared (Bonferroni)" in advised(made(40))[0]


def test_round_axes() -> None:
    assert round_ticks(0, 40, 5) == [0, 10, 20, 30, 40]
    assert round_ticks(0.61, 1.99, 6) == [0.5, 1.0, 1.5, 2.0]
    assert round_ticks(3.0, 3.0, 6)[0] <= 3.0 <= round_ticks(3.0, 3.0, 6)[-1]
    for low, high in ((0, 1), (0, 7), (0.001, 0.0042), (-3, 12_345), (0, 0)):
        found = round_ticks(low, high, 6)
        assert found[0] <= low <= high <= found[-1]
        assert 2 <= len(found) <= 7


def test_a_picture_is_made_once(page: Path) -> None:
    asked: list[str] = []

    def thumbnails(page_id: str) -> Path:
        asked.append(page_id)
        return page

    pictures = Pictures(thumbnails)
    assert pictures.image("a#p0", EVIL) == pictures.image("a#p0", EVIL)
    assert asked == ["a#p0"]
    assert EVIL not in pictures.image("a#p0", EVIL)
