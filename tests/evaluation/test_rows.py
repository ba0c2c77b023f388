"""Comparisons and results.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.errors import DataError
from sightline.evaluation.results import RetrievalResult, result_of_run
from sightline.evaluation.retrieval import score_embeddings
from sightline.evaluation.rows import Row, compare, headline, standard_comparisons
from sightline.evaluation.saved import write_results
from sightline.evaluation.significance import bootstrap_mean, paired_bootstrap
from sightline.types import Embeddings


def made_row(
    name: str, fields: str, noise: float, documents: int = 12, dims: tuple[int, ...] = (16, 8)
) -> Row:
    """Five questions on each of some documents of four pages; less noise is a better system."""
    generator = torch.Generator().manual_seed(len(name) * 100 + len(fields))
    ids = [f"doc {d:02}.pdf#p{p}" for d in range(documents) for p in range(4)]
    vectors = torch.randn(len(ids), 16, generator=torch.Generator().manual_seed(0))
    queries, relevant, rows = {}, {}, []
    for d in range(documents):
        for q in range(5):
            page = d * 4 + q % 4
            queries[f"{d}-{q}"] = f"question {q} about document {d}"
            relevant[f"{d}-{q}"] = {ids[page]}
            rows.append(vectors[page] + noise * torch.randn(16, generator=generator))
    result = score_embeddings(
        queries, Embeddings(torch.stack(rows)), ids, Embeddings(vectors), relevant, dims=dims
    )
    return Row(name, fields, result)


def bm25_row(like: RetrievalResult) -> Row:
    run = {qid: dict.fromkeys(relevant, 1.0) for qid, relevant in list(like.relevant.items())[::3]}
    corpus = sorted({docid for relevant in like.relevant.values() for docid in relevant})
    return Row("bm25", "text", result_of_run(like.queries, run, like.relevant, corpus=corpus))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    models = [
        made_row(name, fields, noise)
        for name, factor in (("untuned", 2.5), ("fine-tuned", 1.0))
        for fields, noise in (("text", 1.0), ("image", 1.6), ("both", 0.8))
        for noise in [noise * factor]
    ]
    return [bm25_row(models[0].result), *models]


def test_comparison_equals_its_parts(rows: list[Row]) -> None:
    found = compare(rows[1], rows[4])
    before, after = rows[1].result.per_query(), rows[4].result.per_query()
    assert found.resampled == "documents"
    documents = [qid.split("-")[0] for qid in after]
    assert found.difference == paired_bootstrap(list(before.values()), list(after.values()), groups=documents)
    assert found.difference.mean == pytest.approx(
        np.mean(list(after.values())) - np.mean(list(before.values()))
    )
    assert found.better + found.worse + found.same == 60
    assert found.verdict == "better"
    assert found.p_value < 0.01
    back = compare(rows[4], rows[1])
    assert back.verdict == "worse"
    assert (back.better, back.worse) == (found.worse, found.better)
    assert compare(rows[1], rows[1]).verdict == "no clear difference"


def test_few_documents_are_not_resampled_as_wholes() -> None:
    before, after = (made_row(name, "text", noise, documents=9) for name, noise in (("a", 2.0), ("b", 1.0)))
    assert compare(before, after).resampled == "queries"
    assert after.interval() == bootstrap_mean(list(after.result.per_query().values()))


def test_standard_comparisons_pair_equal_fields_then_bm25(rows: list[Row]) -> None:
    pairs = [(c.before.label, c.after.label) for c in standard_comparisons(rows)]
    assert pairs == [
        ("untuned (text)", "fine-tuned (text)"),
        ("untuned (image)", "fine-tuned (image)"),
        ("untuned (both)", "fine-tuned (both)"),
        ("bm25 (text)", "fine-tuned (text)"),
        ("bm25 (text)", "fine-tuned (image)"),
        ("bm25 (text)", "fine-tuned (both)"),
    ]
    lead = headline(standard_comparisons(rows))
    assert lead is not None
    assert lead.before.name == "untuned"
    best = max(rows[1:], key=lambda row: row.result.scores["ndcg@10"])
    assert lead.after is best
    assert standard_comparisons(rows[:1]) == []
    assert headline([]) is None


def test_different_queries_are_refused(rows: list[Row]) -> None:
    other = made_row("other", "text", 1.0, documents=11)
    with pytest.raises(
        DataError, match=r"'untuned \(text\)' and 'other \(text\)' have different queries, e.g. '11-0'"
    ):
        compare(rows[1], other)
    with pytest.raises(DataError, match="not both scored with recall@7"):
        compare(rows[1], rows[2], metric="recall@7")


def test_results_json(rows: list[Row], tmp_path: Path) -> None:
    path = write_results(rows, tmp_path / "runs" / "results.json", facts={"dataset": "made \udcff"})
    saved = json.loads(path.read_text())
    assert [row["name"] for row in saved["rows"]] == ["bm25"] + ["untuned"] * 3 + ["fine-tuned"] * 3
    assert [row["fields"] for row in saved["rows"]][1:4] == ["text", "image", "both"]
    tuned = saved["rows"][-1]
    assert tuned["ndcg@10"] == tuned["ndcg@10@16"] == rows[-1].result.scores["ndcg@10"]
    assert {"map", "recall@10", "ndcg@10@8", "queries", "corpus"} <= set(tuned)
    low, high = tuned["ndcg@10 interval"]
    assert low <= tuned["ndcg@10"] <= high
    assert "ndcg@10@16" not in saved["rows"][0]
    first = saved["comparisons"][0]
    assert first["before"] == {"name": "untuned", "fields": "text"}
    assert first["low"] <= first["difference"] <= first["high"]
    assert first["difference"] == pytest.approx(first["after_mean"] - first["before_mean"])
    assert saved["facts"]["dataset"] == "made \udcff"
    assert {"python", "torch"} <= set(saved["facts"]["versions"])
