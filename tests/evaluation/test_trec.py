"""TREC's files: written and read again, read by trec_eval's own parser, and bad lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import DataError
from sightline.evaluation.metrics import evaluate
from sightline.evaluation.trec import read_qrels, read_run, write_qrels, write_run

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12) | st.sampled_from(
    ["annual report.pdf#p3", "100% sure", "%20", "%2520 x", "%C3%A9", "a\tb\nc", "\u2028", "é\u00a0x"]
)
finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(ids, st.dictionaries(ids, finite, min_size=1, max_size=5), min_size=1, max_size=4))
def test_written_and_read_again(tmp_path_factory: pytest.TempPathFactory, found: dict) -> None:
    folder = tmp_path_factory.mktemp("trec")
    assert read_run(write_run(found, folder / "run", tag="my system")) == found
    assert read_qrels(write_qrels(found, folder / "qrels")) == found
    for line in (folder / "run").read_text(encoding="utf-8").splitlines():
        assert len(line.split(" ")) == 6


def test_trec_eval_reads_ours_and_agrees(tmp_path: Path) -> None:
    run = {"q 1": {"a.pdf#p1": 0.5, "b c.pdf#p0": 0.5, "d": -1e-7}, "q2": {"d": 3.25}}
    qrels = {"q 1": {"b c.pdf#p0": 2, "d": 0}, "q2": {"d": 1}}
    write_run(run, tmp_path / "run")
    write_qrels(qrels, tmp_path / "qrels")
    with (tmp_path / "qrels").open() as file:
        theirs_qrels = pytrec_eval.parse_qrel(file)
    with (tmp_path / "run").open() as file:
        theirs_run = pytrec_eval.parse_run(file)
    theirs = pytrec_eval.RelevanceEvaluator(theirs_qrels, {"ndcg", "map"}).evaluate(theirs_run)
    ours = evaluate(read_qrels(tmp_path / "qrels"), read_run(tmp_path / "run"), ["ndcg", "map"])
    assert set(theirs) == {"q%201", "q2"}
    for name in ("ndcg", "map"):
        assert ours.per_query[name]["q 1"] == pytest.approx(theirs["q%201"][name])
    lines = (tmp_path / "run").read_text().splitlines()
    assert lines[0] == "q%201 Q0 b%20c.pdf#p0 1 0.5 sightline"
    assert (tmp_path / "qrels").read_text().splitlines()[0] == "q%201 0 b%20c.pdf#p0 2"


def test_bad_lines_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text("q1 Q0 a 1 0.5 x\nq1 Q0 a 2 0.4 x\n\nq1 Q0 b two\nq1 Q0 c 3 high x\nq1 Q0 d 4 nan x\n")
    with pytest.raises(DataError) as caught:
        read_run(path)
    assert str(caught.value).splitlines() == [
        "run.txt:2: document 'a' is retrieved twice for query 'q1'",
        "run.txt:4: 4 columns, not 6: query Q0 document rank score tag",
        "run.txt:5: the score 'high' is no number",
        "run.txt:6: the score 'nan' is no number",
    ]
    path.write_text("q1 0 a\n" * 30)
    with pytest.raises(DataError, match=r"run.txt:1: 3 columns, not 4(.|\n)*and 10 more$"):
        read_qrels(path)
    path.write_bytes(b"q1 0 a 1\nq\xff 0 a 1\n")
    with pytest.raises(DataError, match=r"run.txt:2: not UTF-8"):
        read_qrels(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="no judgment in it"):
        read_qrels(path)
    with pytest.raises(DataError, match="there is no such run"):
        read_run(tmp_path / "absent")
    with pytest.raises(DataError, match="an empty id"):
        write_qrels({"": {"a"}}, path)
