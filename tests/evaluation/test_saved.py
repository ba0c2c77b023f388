"""results.json, written and read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.evaluation.results import RetrievalResult, result_of_run
from sightline.evaluation.rows import Row, against_baseline
from sightline.evaluation.saved import read_results, results_json, row_json, write_results
from sightline.evaluation.storage import Cell, Cost, Storage

QIDS = [f"annual report.pdf:{number}" for number in range(25)]
PAGES = [f"report {number}.pdf#p{number % 3}" for number in range(30)]
COST = Cost(1536.0, 12.5, 0.75, 30, "a machine, 2 threads")


def result(seed: int) -> RetrievalResult:
    rng = np.random.default_rng(seed)
    # One question finds nothing, so that a rank is missing.
    run = {qid: dict(zip(PAGES, rng.random(30).tolist(), strict=True)) for qid in QIDS[1:]}
    return result_of_run(
        {qid: f"Wo steht „{qid}“?" for qid in QIDS},
        run,
        {qid: {PAGES[number % 30]: 2.0} for number, qid in enumerate(QIDS)},
        corpus=PAGES,
        facets={"kind": dict.fromkeys(QIDS[:12], "table"), "language": dict.fromkeys(QIDS, "de")},
        facts={"similarity": "cosine"},
        cost=COST,
    )


def row(name: str, seed: int) -> Row:
    plain, cut = result(seed), result(seed + 10).scores
    cells = (
        Cell(Storage(384), plain.scores, COST),
        Cell(Storage(96, "binary+int8"), cut, replace(COST, bytes_per_page=108.0), 50),
    )
    return Row(name, "both", replace(plain, by_dim={96: cut}, cells=cells))


ROWS = [row("untuned", 1), row("fine-tuned", 2), Row("other software", "", replace(result(3), cost=None))]


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    comparisons = against_baseline(ROWS, "untuned")
    facts = {"dataset": "a \udcff name", "fingerprint": "abc"}
    path = write_results(ROWS, tmp_path / "r.json", comparisons=comparisons, facts=facts, baseline="untuned")
    again = read_results(path)
    assert again.baseline == "untuned"
    assert again.facts["fingerprint"] == "abc"
    assert [one.label for one in again.rows] == [one.label for one in ROWS]
    assert [row_json(one) for one in again.rows] == [row_json(one) for one in ROWS]
    for ours, theirs in zip(ROWS, again.rows, strict=True):
        for name in ("scores", "primary", "top", "first_rank", "queries", "relevant", "corpus_size", "cost"):
            assert getattr(theirs.result, name) == getattr(ours.result, name), name
        assert {dim: found.mean for dim, found in theirs.result.by_dim.items()} == {
            dim: found.mean for dim, found in ours.result.by_dim.items()
        }
    assert ROWS[0].result.first_rank[QIDS[0]] is None
    once_more = against_baseline(again.rows, "untuned")
    assert [one.to_json() for one in once_more] == [one.to_json() for one in comparisons]


def test_a_person_can_read_it(tmp_path: Path) -> None:
    text = write_results(ROWS, tmp_path / "r.json", comparisons=[]).read_text()
    lines = text.splitlines()
    assert sum(line.startswith('    {"id": ') for line in lines) == 25
    assert sum(line.startswith('    {"per_query": ') for line in lines) == 3
    assert json.loads(text)["rows"][0]["cells"][1] == {
        "dim": 96,
        "precision": "binary+int8",
        "reranked": 50,
        "metrics": ROWS[0].result.cells[1].scores.mean,
        "interval": [ROWS[0].cell_intervals[1].low, ROWS[0].cell_intervals[1].high],
        "cost": {
            "bytes_per_page": 108.0,
            "megabytes_per_million_pages": 108.0,
            "ms_per_page": 12.5,
            "ms_per_query": 0.75,
            "pages": 30,
            "hardware": "a machine, 2 threads",
        },
    }


def test_the_difference_by_group_stands_with_each_comparison() -> None:
    found = results_json(ROWS, against_baseline(ROWS, "untuned"), {})["comparisons"][0]
    groups = {(one["facet"], one["value"]): one for one in found["breakdown"]}
    assert groups["kind", "table"]["questions"] == 12
    whole = groups["language", "de"]["scores"]["ndcg@10"]
    assert whole["mean"] == pytest.approx(found["difference"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "no results with scores per question"),
        ('{"rows": [], "comparisons": []}', "measure the model again"),
        ('{"format": "sightline-results", "version": 1, "rows": [{}], "details": [{}]}', "damaged"),
    ],
)
def test_other_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(DataError, match=f"r.json: .*{message}"):
        read_results(tmp_path / "r.json")
    with pytest.raises(DataError, match="there is no such file"):
        read_results(tmp_path / "absent.json")


def test_rows_over_other_questions_are_not_written_together(tmp_path: Path) -> None:
    few = result_of_run({"q": "?"}, {}, {"q": {"p"}}, corpus=["p"])
    with pytest.raises(DataError, match="'few' and 'untuned \\(both\\)' have different queries"):
        write_results([ROWS[0], Row("few", "", few)], tmp_path / "r.json", comparisons=[])
    assert list(tmp_path.iterdir()) == []
