"""Results as tables of text, and the plot of quality against cost."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from sightline.errors import DataError
from sightline.evaluation.plots import COLOURS, DARK_COLOURS, cost_points, plot_key, render_plot, write_plot
from sightline.evaluation.results import result_of_run
from sightline.evaluation.rows import Row, against_baseline
from sightline.evaluation.storage import Cell, Cost, Storage
from sightline.evaluation.tables import cells_table, costs_table, quality_table, systems_table

QIDS, PAGES = [f"q{number}" for number in range(40)], [f"p{number}" for number in range(20)]


def row(name: str, noise: float, cost: Cost | None) -> Row:
    rng = np.random.default_rng(len(name))
    run, relevant = {}, {}
    for number, qid in enumerate(QIDS):
        right = PAGES[number % 20]
        relevant[qid] = {right}
        scores = noise * rng.random(20)
        run[qid] = {page: float(value) + (page == right) for page, value in zip(PAGES, scores, strict=True)}
    result = result_of_run(dict.fromkeys(QIDS, "?"), run, relevant, corpus=PAGES, cost=cost)
    return Row(name, "text", result)


COST = Cost(4096.0, 20.0, 1.5, 20, "a machine")
GOOD, SAME, BAD = (
    row("good", 1.0, COST),
    row("same|as", 1.05, None),
    row("bad <&>", 9.0, replace(COST, ms_per_page=None)),
)
CELLS = (
    Cell(Storage(1024), GOOD.result.scores, COST),
    Cell(Storage(256, "int8"), BAD.result.scores, replace(COST, bytes_per_page=256.0)),
    Cell(Storage(256, "int8"), GOOD.result.scores, replace(COST, ms_per_query=90.0), 50),
)
RICH = replace(GOOD, result=replace(GOOD.result, cells=CELLS))


def test_systems_with_marks_and_costs() -> None:
    rows = [GOOD, SAME, BAD]
    comparisons = against_baseline(rows, "good")
    table = systems_table(rows, comparisons)
    cells = {line[0]: dict(zip(table.heads, line, strict=True)) for line in table.lines}
    assert cells["good"]["difference"] == ""
    assert "▼" in cells["bad <&>"]["difference"]
    assert "▼" not in cells["same|as"]["difference"]
    assert cells["good"]["NDCG@10"] == f"{GOOD.result.scores['ndcg@10']:.3f}"
    assert cells["good"]["GB per million pages"] == "4.10"
    assert cells["same|as"]["bytes/page"] == "–"
    assert (0, 2) in table.strong
    markdown = table.markdown().splitlines()
    assert markdown[1].startswith("| --- | --- | ---: |")
    assert "same\\|as" in markdown[3]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == len(table.heads) + 1 for line in markdown[:5])
    assert "a machine" in table.markdown()
    assert "2 comparisons (Holm)" in table.markdown()


def test_tables_fit_a_terminal() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    rows = [GOOD, SAME, BAD]
    console.print(quality_table(rows, against_baseline(rows, "good")).rich())
    console.print(costs_table(rows).rich())
    text = console.export_text()
    assert "…" not in text
    assert "bad <&>" in text


def test_cells_say_how_much_is_kept() -> None:
    table = cells_table(RICH)
    lines = [dict(zip(table.heads, line, strict=True)) for line in table.lines]
    assert [line["kept"] for line in lines] == [
        "100.0%",
        f"{BAD.result.scores['ndcg@10'] / GOOD.result.scores['ndcg@10']:.1%}",
        "100.0%",
    ]
    assert [line["reranked"] for line in lines] == ["–", "–", "50"]
    assert lines[1]["bytes/page"] == "256"


def test_the_plot_is_whole_and_shows_what_is_known(tmp_path: Path) -> None:
    svg = render_plot([RICH, SAME, BAD])
    tree = ElementTree.fromstring(svg)
    titles = [node.text or "" for node in tree.iter("{http://www.w3.org/2000/svg}title")]
    score = f"{GOOD.result.scores['ndcg@10']:.3f}"
    assert f"good (text), 1024 float32: {score} at 4,096 bytes per page" in titles
    assert f"good (text): {score} at 20 milliseconds per page" in titles
    assert not any("reranked" in title for title in titles)
    texts = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "same|as (text) (cost not known)" in texts
    assert "bad <&> (text)" in texts
    points = cost_points([RICH, BAD], lambda cost: cost.ms_per_page, cells=False)
    assert [one.system for one in points] == ["good (text)"]
    assert write_plot([RICH], tmp_path / "p.svg").read_text() == render_plot([RICH])
    # In the report's colours: the last model's is that of the model asked about, the first one's the one before.
    sheet = (files("sightline.evaluation") / "templates" / "report.css").read_text("utf-8")
    light, dark = (dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", part)) for part in sheet.split("@media", 1))
    named = ("after", "before", "base", "other")
    assert COLOURS[:4] == tuple(light[name] for name in named)
    assert DARK_COLOURS[:4] == tuple(dark[name] for name in named)
    colours = {name: re.findall(r'class="mark (c\d)', mark)[0] for name, mark in plot_key([RICH, BAD])}
    assert colours == {"good (text)": "c1", "bad <&> (text)": "c0"}
    with pytest.raises(DataError, match=r"ends in \.svg"):
        write_plot([RICH], tmp_path / "p.png")
    with pytest.raises(DataError, match="nothing to draw"):
        render_plot([SAME])
