"""Scores by groups of questions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sightline.evaluation.breakdown import breakdown, breakdown_of_difference
from sightline.evaluation.results import result_of_run
from sightline.evaluation.rows import Row, groups_of
from sightline.evaluation.significance import bootstrap_mean, paired_bootstrap
from sightline.evaluation.tables import breakdown_table

QIDS = [f"q{number:02}" for number in range(60)]
FACETS = {
    "document": {qid: f"doc {number % 15}.pdf" for number, qid in enumerate(QIDS)},
    "kind": {qid: "table" if number % 3 else "figure" for number, qid in enumerate(QIDS) if number < 55},
    "language": {},
    "colour": dict.fromkeys(QIDS, "blue"),
}


def row(name: str, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    pages = [f"page {number}" for number in range(40)]
    run = {qid: dict(zip(pages, rng.random(40).tolist(), strict=True)) for qid in QIDS}
    relevant = {qid: {pages[number % 40]} for number, qid in enumerate(QIDS)}
    result = result_of_run(dict.fromkeys(QIDS, "?"), run, relevant, corpus=pages, facets=FACETS)
    return Row(name, "", result)


ONE, OTHER = row("one", 1), row("other", 2)


def test_each_group_is_measured_alone() -> None:
    found = breakdown(ONE)
    kinds = {one.value: one for one in found if one.facet == "kind"}
    assert [(one.value, one.questions, one.few) for one in kinds.values()] == [
        ("table", 36, False),
        ("figure", 19, False),
        ("", 5, True),
    ]
    members = [qid for qid in QIDS if FACETS["kind"].get(qid) == "table"]
    scores = [ONE.result.per_query()[qid] for qid in members]
    documents = [FACETS["document"][qid] for qid in members]
    assert kinds["table"].documents == len(set(documents)) >= 10
    assert kinds["table"].scores["ndcg@10"] == bootstrap_mean(scores, groups=documents)
    # Too few documents to draw whole ones: questions are drawn.
    rest = [ONE.result.per_query()[qid] for qid in QIDS[55:]]
    assert kinds[""].scores["ndcg@10"] == bootstrap_mean(rest)
    assert kinds[""].scores["recall@1"].mean == pytest.approx(
        np.mean([ONE.result.per_query("recall@1")[qid] for qid in QIDS[55:]])
    )


def test_the_known_facets_come_first_and_those_that_say_nothing_not_at_all() -> None:
    facets = list(dict.fromkeys(one.facet for one in breakdown(ONE)))
    assert facets == ["kind", "document", "colour"]
    assert breakdown(replace(ONE, result=replace(ONE.result, facets={}))) == []
    assert breakdown_table(replace(ONE, result=replace(ONE.result, facets={}))) is None
    table = breakdown_table(ONE)
    assert table is not None
    assert list(table.lines[2][:3]) == ["kind", "(not said)", "5*"]
    assert any("3 more of the smaller documents" in note for note in table.notes)


def test_differences_by_group() -> None:
    found = {(one.facet, one.value): one for one in breakdown_of_difference(ONE, OTHER)}
    members = [qid for qid in QIDS if FACETS["kind"].get(qid) == "figure"]
    old, new = ([side.result.per_query()[qid] for qid in members] for side in (ONE, OTHER))
    groups = groups_of(OTHER.result, members)
    assert found["kind", "figure"].scores["ndcg@10"] == paired_bootstrap(old, new, groups=groups)
    assert found["kind", "figure"].to_json()["scores"]["ndcg@10"]["mean"] == pytest.approx(
        np.mean(new) - np.mean(old)
    )
