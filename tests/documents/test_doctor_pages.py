"""The data doctor on pages: every kind of finding, each where it is and nowhere else."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sightline.documents.dataset import Dataset
from sightline.documents.doctor.findings import KINDS, Diagnosis
from sightline.documents.doctor.gallery import see
from sightline.documents.doctor.memory import Memory
from sightline.documents.negatives import MinedRow, write_negatives
from sightline.errors import DataError
from sightline.runs.check import Checked, check_data
from support.sick_datasets import Builder, healthy, jpeg, picture, text_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))


def check(builder: Builder) -> Checked:
    return check_data(builder.write(), workers=1)


def found(diagnosis: Diagnosis) -> dict[str, tuple[str, ...]]:
    return {one.kind: one.places for one in diagnosis.findings}


def test_a_healthy_dataset_has_nothing(tmp_path: Path) -> None:
    diagnosis = check(healthy(tmp_path / "data")).diagnosis
    assert diagnosis.findings == ()
    assert diagnosis.exit_code(strict=True) == 0
    assert diagnosis.counts == {"pages": 8, "questions": 8, "negatives": 0}


def image_of(builder: Builder, document: int, page: int) -> Path:
    return builder.root / builder.documents[document].pages[page].image


def test_files_that_are_damaged_changed_or_gone(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    builder.write()
    damaged, changed, gone = (image_of(builder, document, 0) for document in (0, 1, 2))
    damaged.write_bytes(damaged.read_bytes()[:3000])
    changed.write_bytes(jpeg(picture(77)))
    gone.unlink()
    diagnosis = check_data(builder.root, workers=2).diagnosis
    assert found(diagnosis) == {"unreadable": ("a.pdf#p0", "c.pdf#p0"), "changed": ("b.pdf#p0",)}
    assert diagnosis.exit_code() == 1
    messages = [case.message for case in diagnosis.cases]
    assert "truncated" in messages[0]
    assert messages[2] == "no such file"


def test_pages_that_are_blank_repeated_or_nearly_so(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    blank = jpeg(Image.new("RGB", (240, 320), (250, 250, 248)))
    again = jpeg(picture(0), quality=60)  # saved once more, as text_of(0) says it is
    scan = jpeg(picture(2), quality=85)
    other = jpeg(picture(1), quality=70)
    builder.document(
        "e.pdf",
        "train",
        [
            (blank, ""),
            (jpeg(picture(0)), text_of(0)),
            (again, text_of(0)),
            (scan, ""),
            (other, text_of(50)),
        ],
    )
    diagnosis = check(builder).diagnosis
    kinds = found(diagnosis)
    assert kinds["blank"] == ("e.pdf#p0",)
    assert kinds["duplicate"] == ("e.pdf#p1",)
    # The last one looks like a.pdf#p1 but says something else: a form that is filled in otherwise.
    assert kinds["near-duplicate"] == ("e.pdf#p2", "e.pdf#p3")
    assert kinds["several-answers"] == ("q0",)
    assert kinds["similar-answer"] == ("q2",)
    assert set(kinds) == {"blank", "duplicate", "near-duplicate", "several-answers", "similar-answer"}


def test_what_ingestion_has_compared_is_believed(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    builder.document(
        "e.pdf", "test", [(jpeg(picture(0), quality=80), ""), (jpeg(picture(1), quality=80), "")]
    )
    builder.ask("like", "What is on the copy?", "e.pdf", 0)
    builder.ask("unlike", "What is on the other form?", "e.pdf", 1)
    likes = {"e.pdf#p0": "a.pdf#p0"}
    builder.documents = [
        item.with_pages(
            [replace(one, image_hash="1" * 16, duplicate_of=likes.get(one.page_id, "")) for one in item.pages]
        )
        for item in builder.documents
    ]
    checked = check(builder)
    assert found(checked.diagnosis) == {"near-duplicate": ("e.pdf#p0",), "near-leak": ("like",)}


def test_texts_that_differ_in_a_word_are_nearly_the_same(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    text = text_of(0, 120)
    builder.document("e.pdf", "train", [(jpeg(picture(60)), text)])
    builder.document("f.pdf", "test", [(jpeg(picture(61)), text.replace(text.split()[60], "another", 1))])
    builder.ask("trained", "Which pump is it?", "e.pdf", 0)
    builder.ask("measured", "Which valve is it?", "f.pdf", 0)
    kinds = found(check(builder).diagnosis)
    assert kinds == {"near-duplicate": ("f.pdf#p0",), "near-leak": ("measured",)}


def test_questions_that_cannot_be_asked(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    builder.document("e.pdf", "train", [(jpeg(Image.new("L", (90, 90), 255)), "")])
    builder.ask("empty", "  ", "a.pdf", 0)
    builder.ask("nowhere", "Where is it?", "a.pdf", 9)
    builder.ask("half", "Where is the other?", "a.pdf", 1, 9)
    builder.ask("white", "What is on the white page?", "e.pdf", 0)
    kinds = found(check(builder).diagnosis)
    assert kinds["empty-question"] == ("empty",)
    assert kinds["missing-page"] == ("half", "nowhere")
    assert kinds["blank-answer"] == ("white",)
    assert set(kinds) == {"empty-question", "missing-page", "blank-answer", "blank"}


def test_questions_that_are_asked_twice(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    query = builder.questions[0].query
    builder.ask("twice", f"{query.upper()} ?", "a.pdf", 0)
    builder.ask("one", "What is the title?", "a.pdf", 0)
    builder.ask("other", "what is the title", "b.pdf", 0)
    builder.ask("held out", "What is the title?", "c.pdf", 0)
    kinds = found(check(builder).diagnosis)
    assert kinds["duplicate-question"] == ("twice",)
    assert kinds["several-answers"] == ("one", "other")
    assert kinds["near-leak"] == ("held out",)


def test_pages_that_both_splits_ask_about(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    builder.document("e.pdf", "test", [(jpeg(picture(0)), text_of(0)), (jpeg(picture(2)), text_of(2))])
    builder.ask("leaked", "What does the copy say?", "e.pdf", 0)
    checked = check(builder)
    assert found(checked.diagnosis) == {"leak": ("leaked",), "duplicate": ("e.pdf#p0", "e.pdf#p1")}
    assert checked.diagnosis.exit_code() == 0
    assert checked.diagnosis.exit_code(strict=True) == 3
    # Training loses its question; what is measured stays.
    checked.fix(tmp_path / "out")
    assert [record["name"] for record in removed(tmp_path / "out")] == ["q0"]


def mined(root: Path, rows: dict[str, list[str]]) -> None:
    made = [
        MinedRow(
            name, f"a.pdf#p{number}", 0.9, tuple(pages), tuple(map(float, range(len(pages)))),
            tuple(range(1, 1 + len(pages))),
        )
        for number, (name, pages) in enumerate(rows.items())
    ]  # fmt: skip
    write_negatives(root, made, {"split": "train", "content": Dataset.load(root).content("train")})


def test_negatives_that_are_right(tmp_path: Path) -> None:
    builder = healthy(tmp_path / "data")
    builder.document("e.pdf", "train", [(jpeg(picture(0), quality=50), text_of(0))])
    builder.ask("both", "Which two pages?", "b.pdf", 0, 1)
    builder.write()
    rows = {"q0": ["b.pdf#p0", "e.pdf#p0", "a.pdf#p1"], "both": ["b.pdf#p1", "a.pdf#p0"]}
    mined(builder.root, rows)
    checked = check_data(builder.root, workers=1)
    kinds = found(checked.diagnosis)
    assert kinds["negative-is-positive"] == ("both",)
    assert kinds["negative-like-positive"] == ("q0",)
    cleaning = checked.fix(tmp_path / "out")
    assert cleaning.summary() == "2 negatives"
    left = Dataset.load(tmp_path / "out").mined("train").rows
    assert [row.negatives for row in left] == [("b.pdf#p0", "a.pdf#p1"), ("a.pdf#p0",)]
    assert [(row.scores, row.ranks) for row in left] == [((0.0, 2.0), (1, 3)), ((1.0,), (2,))]
    # Another question, and they are out of date.
    builder.ask("later", "What has come since?", "a.pdf", 1)
    kinds = found(check(builder).diagnosis)
    assert kinds["stale-negatives"] == ("negatives.parquet",)


def removed(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "removed.jsonl").read_text().splitlines()]


def sick(root: Path) -> Builder:
    """A dataset with something of most kinds."""
    builder = healthy(root)
    builder.document(
        "e.pdf",
        "train",
        [(jpeg(Image.new("L", (90, 90), 255)), ""), (jpeg(picture(3)), text_of(3)), (jpeg(picture(40)), "")],
    )
    builder.document("f.pdf", "test", [(jpeg(picture(0)), text_of(0)), (jpeg(picture(41)), text_of(41))])
    builder.ask("empty", "", "a.pdf", 0)
    builder.ask("nowhere", "Where is it?", "a.pdf", 9)
    builder.ask("half", "Where is the other?", "a.pdf", 1, 9)
    builder.ask("white", "What is on the white page?", "e.pdf", 0)
    builder.ask("twice", builder.questions[0].query, "a.pdf", 0)
    builder.ask("copy", "What does the copy say?", "e.pdf", 1)
    builder.ask("leaked", "What does the other copy say?", "f.pdf", 0)
    builder.ask("damaged", "What does the damaged page say?", "f.pdf", 1)
    return builder


def test_a_cleaned_copy_passes(tmp_path: Path) -> None:
    builder = sick(tmp_path / "data")
    builder.write()
    image_of(builder, 5, 1).write_bytes(b"\xff\xd8 nothing")
    before = {path: path.stat().st_mtime_ns for path in builder.root.rglob("*") if path.is_file()}
    checked = check_data(builder.root, workers=2)
    cleaning = checked.fix(tmp_path / "deep" / "out")
    again = checked.again(tmp_path / "deep" / "out", workers=1).diagnosis
    assert (again.errors, again.warnings) == ((), ())
    assert again.exit_code(strict=True) == 0
    records = removed(tmp_path / "deep" / "out")
    assert {record["name"] for record in records if record["what"] == "question"} == {
        "empty", "nowhere", "white", "twice", "copy", "damaged", "q0",
    }  # fmt: skip
    assert {record["name"] for record in records if record["what"] == "page"} == {"e.pdf#p1", "f.pdf#p1"}
    assert cleaning.summary() == "2 pages, 7 questions"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    kept = builder.documents[0].pages[0].image
    assert os.path.samefile(builder.root / kept, tmp_path / "deep" / "out" / kept)
    assert not (tmp_path / "deep" / "out" / builder.documents[5].pages[1].image).exists()
    assert not list((tmp_path / "deep").glob(".*"))


def test_a_place_that_is_taken_is_refused(tmp_path: Path) -> None:
    checked = check(sick(tmp_path / "data"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").touch()
    with pytest.raises(DataError, match="has something in it"):
        checked.fix(tmp_path / "out")
    (tmp_path / "out" / "file").unlink()
    # What a killed process left behind is no hindrance.
    (tmp_path / ".out.part" / "images").mkdir(parents=True)
    (tmp_path / ".out.part" / "images" / "half").touch()
    checked.fix(tmp_path / "out")
    assert not (tmp_path / "out" / "images" / "half").exists()


def test_what_was_seen_is_remembered_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sightline.documents.doctor.page_contents import contents_of

    builder = healthy(tmp_path / "data")
    sheets = contents_of(Dataset.load(builder.write())).sheets
    memory = Memory(tmp_path / "facts.sqlite")
    first = see(sheets, workers=1, memory=memory)
    monkeypatch.setattr("sightline.documents.doctor.lookers.Child", None)  # no process can be started
    assert see(sheets, workers=1, memory=memory) == first
    # A file that is no database is no memory, and no error.
    memory.path.write_bytes(b"x" * 4096)
    assert memory.recall([sheets[0].content_hash]) == {}


def test_every_kind_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "checking.md").read_text(encoding="utf-8")
    missing = [kind for kind in KINDS if f"`{kind}`" not in page]
    assert missing == []
