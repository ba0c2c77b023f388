"""Feedback as training questions: what enters a dataset, on which side, and what the doctor says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback.logs import searched
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.negatives import MinedRow, read_negatives, write_negatives
from sightline.errors import DataError
from sightline.feedback.export import export_feedback
from sightline.feedback.records import Kind
from sightline.feedback.weighing import WeighingRules
from sightline.runs.check import check_data
from support.page_datasets import one_page_each

WORDS = ("anchor", "beacon", "cable", "dredge", "engine", "fender", "gauge", "hawser", "island", "jetty")
RIGHT: list[Kind] = ["relevant"]
WRONG: list[Kind] = ["not_relevant"]
CLICK: list[Kind] = ["click"]


def page(word: str) -> str:
    return f"{word}.pdf#p0"


ALL = [page(word) for word in WORDS]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten documents of a page each with a question each; the last three are held out."""
    return one_page_each(tmp_path_factory.mktemp("pages"), WORDS, held_out=3)


@pytest.fixture
def pages(made: Path, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(made.parent / "in", tmp_path / "in")
    return Path(shutil.copytree(made, tmp_path / "pages"))


def feedback(root: Path) -> dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Query -> split, pages, negatives of the questions from feedback."""
    asked = Dataset.load(root).all_questions
    return {
        one.query: (one.split or "", one.page_ids, one.negatives) for one in asked if one.origin == "feedback"
    }


def test_right_pages_and_negatives_by_their_evidence(pages: Path) -> None:
    log = [
        searched("1", "what holds a ship", ALL[:6], {page("anchor"): RIGHT, page("engine"): WRONG}),
        searched("2", "what holds a ship", [page("beacon"), page("dredge")], none=True),
        searched(
            "3", "what holds a ship", [page("fender"), page("anchor"), page("cable")], {page("anchor"): CLICK}
        ),
        searched("4", "what shines", ALL[:4], {page("dredge"): CLICK}),
        searched("5", "no idea", ALL[:4]),
    ]
    report = export_feedback(log, pages)
    assert feedback(pages) == {
        "what holds a ship": (
            "train",
            (page("anchor"),),
            # Marked, then of "none of these", then passed over.
            (page("engine"), page("beacon"), page("dredge"), page("fender")),
        ),
        "what shines": ("train", (page("dredge"),), (page("anchor"), page("beacon"), page("cable"))),
    }
    assert report.aside == {"queries without an answer that is clear enough": 1}
    asked = {one.query: one.extra for one in report.questions}
    assert asked["what holds a ship"] == {"evidence": "marks", "voices": 1, "contradictions": 0}
    assert asked["what shines"]["evidence"] == "clicks"


def test_it_is_trainable_as_it_is(pages: Path) -> None:
    export_feedback([searched("1", "what shines", ALL[:4], {page("dredge"): CLICK})], pages)
    rows = Dataset.load(pages).train_rows("text", negatives=2, origins=["feedback"])
    assert rows[0]["anchor"] == "what shines"
    assert [str(rows[0][name]).split()[-1] for name in ("positive", "negative_1", "negative_2")] == [
        "dredge",
        "anchor",
        "beacon",
    ]
    with pytest.raises(DataError, match="sightline mine"):
        Dataset.load(pages.parent / "pages").train_rows("text", "test", negatives=2)


def test_held_out_documents_stay_out_of_training(pages: Path) -> None:
    held = page("jetty")
    log = [
        searched("1", "sure", [held, *ALL[:3]], {held: RIGHT, page("cable"): RIGHT}),
        searched("2", "clicked", [held, *ALL[:3]], {held: CLICK}),
        searched("3", "clicked on both sides", [*ALL[:3], held], {held: CLICK, page("beacon"): CLICK}),
        searched("4", "passed over", [held, *ALL[:3]], {page("beacon"): RIGHT, held: WRONG}),
        searched("5", "Tell me of island", ALL, {page("anchor"): RIGHT}),
        searched("6", "Tell me of anchor", ALL, {page("anchor"): RIGHT}),
        searched("7", "two of them", ALL, {page("island"): RIGHT, held: RIGHT}),
    ]
    report = export_feedback(log, pages)
    found = feedback(pages)
    assert found["sure"] == ("test", (held,), ())
    assert found["clicked on both sides"][:2] == ("train", (page("beacon"),))
    assert found["passed over"] == ("train", (page("beacon"),), (page("anchor"),))
    assert set(found) == {"sure", "clicked on both sides", "passed over"}
    trained = Dataset.load(pages).train_rows("text", negatives=3)
    shown = {str(value).split()[-1] for row in trained for name, value in row.items() if name != "anchor"}
    assert not shown & {"hawser", "island", "jetty"}
    assert report.aside["queries that the other split's questions ask already"] == 1
    assert report.aside["queries that the dataset asks already, with the same pages"] == 1
    assert report.aside["held-out queries answered in several documents, which no question can name"] == 1
    assert report.aside["negatives of held-out documents"] == 1
    kinds = {one.kind for one in check_data(pages, workers=1).diagnosis.findings}
    assert not kinds & {"leak", "near-leak", "several-answers", "negative-is-positive"}


def test_an_export_replaces_the_one_before_and_can_be_repeated(pages: Path) -> None:
    log = [searched("1", "what shines", ALL[:4], {page("dredge"): CLICK})]
    assert export_feedback(log, pages).lines()[0].count("1 questions from feedback")
    once = (pages / "questions.parquet").read_bytes()
    again = export_feedback(log, pages)
    assert (pages / "questions.parquet").read_bytes() == once
    assert again.added is not None
    assert (again.added.added, again.added.removed) == (0, 0)
    export_feedback([], pages)
    assert feedback(pages) == {}
    assert len(Dataset.load(pages).all_questions) == len(WORDS)


def test_what_was_mined_stays_good(pages: Path) -> None:
    data = Dataset.load(pages)
    asked = [question for question in data.questions("train") if question.id in ("anchor", "beacon")]
    rows = [
        MinedRow(one.id, one.page_ids[0], 1.0, (page("cable"), page("dredge")), (0.5, 0.4), (1, 2))
        for one in asked
    ]
    write_negatives(pages, rows, {"content": data.content("train"), "split": "train"})
    log = [
        searched("1", "what shines", ALL[:4], {page("dredge"): CLICK}),
        searched("2", "Tell me of anchor", ALL, {page("cable"): RIGHT}),
    ]
    export_feedback(log, pages)
    known = Dataset.load(pages).negatives("train")
    assert known["beacon", page("beacon")] == (page("cable"), page("dredge"))
    assert known["anchor", page("anchor")] == (page("dredge"),), "somebody said that the cable answers it too"
    new = next(one.id for one in Dataset.load(pages).all_questions if one.query == "what shines")
    assert known[new, page("dredge")] == (page("anchor"), page("beacon"), page("cable"))
    assert len(read_negatives(pages).rows) == 2


def test_a_kill_between_negatives_and_questions_is_mended(pages: Path) -> None:
    data = Dataset.load(pages)
    first = data.questions("train")[0]
    row = MinedRow(first.id, first.page_ids[0], 1.0, (page("cable"),), (0.5,), (1,))
    write_negatives(pages, [row], {"content": data.content("train"), "split": "train"})
    before = (pages / "questions.parquet").read_bytes()
    log = [searched("1", "what shines", ALL[:4], {page("dredge"): CLICK})]
    export_feedback(log, pages)
    whole = {name: (pages / name).read_bytes() for name in ("questions.parquet", "negatives.parquet")}
    (pages / "questions.parquet").write_bytes(before)
    with pytest.raises(DataError, match="have changed since"):
        Dataset.load(pages).negatives("train")
    export_feedback(log, pages)
    assert {name: (pages / name).read_bytes() for name in whole} == whole


def test_a_new_ingest_keeps_what_holds(pages: Path) -> None:
    log = [
        searched("1", "what shines", ALL[:4], {page("dredge"): CLICK}),
        searched("2", "what turns", ALL[:5], {page("engine"): RIGHT, page("anchor"): WRONG}),
    ]
    export_feedback(log, pages)
    (pages.parent / "in" / "dredge.pdf").unlink()
    (pages.parent / "in" / "anchor.pdf").unlink()
    ingest(pages.parent / "in", pages, workers=1)
    found = feedback(pages)
    assert found == {
        "what turns": (found["what turns"][0], (page("engine"),), (page("beacon"), page("cable")))
    }
    findings = {one.kind: one for one in check_data(pages, workers=1).diagnosis.findings}
    assert "1 questions went" in findings["feedback-gone"].message


def test_a_question_file_does_the_same(pages: Path) -> None:
    log = [
        searched("1", "what shines", ALL[:4], {page("dredge"): CLICK}),
        searched("2", "sure", ALL, {page("jetty"): RIGHT}),
    ]
    file = pages.parent / "feedback.jsonl"
    before = (pages / "questions.parquet").read_bytes()
    report = export_feedback(log, pages, file)
    assert report.added is None
    assert (pages / "questions.parquet").read_bytes() == before
    ingest(pages.parent / "in", pages.parent / "new", questions=file, workers=1)
    export_feedback(log, pages)
    assert feedback(pages.parent / "new") == feedback(pages)


def test_the_doctor_tells_of_it(pages: Path) -> None:
    log = [
        searched("1", "what shines", ALL[:4], {page("dredge"): RIGHT, page("beacon"): WRONG}),
        searched("2", "what shines", ALL[:4], {page("beacon"): RIGHT}),
        searched("3", "what sinks", ALL[:4], {"wreck.pdf#p2": RIGHT}),
        searched("4", "who knows", ALL[:2], none=True),
    ]
    report = export_feedback(log, pages, rules=WeighingRules(clicks=False))
    assert report.unanswered == ("who knows",)
    assert [(one.page_id, one.verdict) for one in report.contradictions] == [(page("beacon"), "open")]
    findings = {one.kind: one for one in check_data(pages, workers=1).diagnosis.findings}
    assert (
        "1 questions, 1 by marks and 0 by clicks alone; 0 held out; 0 negatives"
        in findings["feedback"].message
    )
    assert findings["feedback-contradiction"].count == 1
    assert "wreck.pdf#p2 of 'what sinks'" in findings["feedback-gone"].message
    assert json.loads((pages / "feedback.json").read_text())["contradictions_open"] == 1
