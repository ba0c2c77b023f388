"""Made questions enter a dataset whole, once, and outlive a new ingest where their document did not change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.documents import store
from sightline.documents.adding import add_questions
from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.questions import read_questions
from sightline.documents.records import IngestSettings, Question
from sightline.errors import DataError

SMALL = IngestSettings(pixels=40_000)


@pytest.fixture
def folder(make_pdf, write_lines, tmp_path) -> Path:
    """Two PDFs, a question file, and their dataset in ``out``."""
    for name in "ab":
        make_pdf(tmp_path / "in" / f"{name}.pdf", [f"{name} first", f"{name} second"])
    lines = [
        {"id": "p1", "query": "Which a?", "document": "a.pdf", "pages": [0], "kind": "fact", "answer": 5}
    ]
    write_lines(tmp_path / "q.jsonl", lines)
    again(tmp_path)
    return tmp_path


def again(folder: Path, **options):
    return ingest(
        folder / "in", folder / "out", questions=folder / "q.jsonl", settings=SMALL, workers=1, **options
    )


def made(identity: str, document: str = "a.pdf", pages: tuple[int, ...] = (1,), **changes) -> Question:
    values = {"kind": "heading", "origin": "offline", "language": "en", "extra": {"model_answer": "x"}}
    return Question(identity, f"made {identity}?", document, pages, **{**values, **changes})


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.iterdir()) if path.is_file()}


def test_typed_columns_of_question_files_and_of_tables(folder, write_lines):
    (asked,) = Dataset.load(folder / "out").questions()
    assert (asked.kind, asked.origin, asked.language) == ("fact", "person", "")
    assert asked.extra == {"answer": 5}
    line = {"id": "1", "query": "?", "document": "a.pdf", "pages": [0]}
    path = write_lines(folder / "x.jsonl", [{**line, "origin": "offline", "language": " de "}])
    (read,) = read_questions([path], ["a.pdf"])
    assert (read.kind, read.origin, read.language, read.extra) == ("", "offline", "de", {})
    write_lines(folder / "x.jsonl", [{**line, "kind": ["Chart"]}])
    with pytest.raises(DataError, match=r"x\.jsonl:1: 'kind' must be text, not \[\"Chart\"\]"):
        read_questions([path], ["a.pdf"])


def test_tables_written_before_the_columns_came_are_read(folder):
    import pyarrow.parquet as pq

    path = folder / "out" / "questions.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["kind", "origin", "language"]), path)
    (asked,) = Dataset.load(folder / "out").questions()
    assert (asked.kind, asked.origin, asked.language) == ("", "person", "")


def test_questions_are_added_once_in_the_split_of_their_document(folder):
    root = folder / "out"
    first = add_questions(root, [made("m1"), made("m2", "b.pdf", (0, 1))])
    assert (first.added, first.present, first.removed, first.total) == (2, 0, 0, 3)
    dataset = Dataset.load(root)
    assert [item.id for item in dataset.questions()] == ["p1", "m1", "m2"]
    sides = {item.document: item.split for item in dataset.documents}
    assert [item.split for item in dataset.questions()] == [sides["a.pdf"], sides["a.pdf"], sides["b.pdf"]]
    assert dataset.questions()[1].extra["model_answer"] == "x"
    assert json.loads((root / "dataset.json").read_text())["counts"]["questions"] == 3
    before = contents(root)
    second = add_questions(root, [made("m1"), made("m2", "b.pdf", (0, 1))])
    assert (second.added, second.present, second.total) == (0, 2, 3)
    assert contents(root) == before


def test_questions_of_an_origin_are_replaced(folder):
    root = folder / "out"
    add_questions(root, [made("m1"), made("m2"), made("m3", origin="model:x")])
    report = add_questions(root, [made("m2"), made("m4")], replace_origin="offline")
    assert (report.added, report.present, report.removed) == (1, 1, 1)
    assert [item.id for item in Dataset.load(root).questions()] == ["p1", "m3", "m2", "m4"]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (made("p1"), "question 'p1': another question has this id"),
        (made("good"), "question 'good': another question has this id"),
        (made("m", pages=(7,)), r"there is no page 'a\.pdf#p7'"),
        (made("m", "z.pdf"), r"there is no page 'z\.pdf#p1'"),
        (made("m", pages=()), "names no page"),
        (replace(made("m"), query=" "), "has no text"),
        (made("m", origin="person"), "is a person's"),
    ],
)
def test_one_wrong_question_and_none_is_added(folder, question, message):
    before = contents(folder / "out")
    with pytest.raises(DataError, match=message):
        add_questions(folder / "out", [made("good"), question])
    assert contents(folder / "out") == before


def test_pages_that_changed_meanwhile_are_told(folder):
    root = folder / "out"
    hashes = {page.page_id: page.content_hash for page in Dataset.load(root).pages}
    add_questions(root, [made("m1")], made_from=hashes)
    with pytest.raises(DataError, match=r"'m2': page 'a\.pdf#p1' has changed since"):
        add_questions(root, [made("m2")], made_from={**hashes, "a.pdf#p1": "other"})


def test_another_writer_and_no_dataset(folder, tmp_path):
    with store.locked(folder / "out"), pytest.raises(DataError, match="another `sightline` is writing"):
        add_questions(folder / "out", [made("m1")])
    with pytest.raises(DataError, match="there is no such folder"):
        add_questions(tmp_path / "none", [made("m1")])


def test_a_new_ingest_keeps_what_still_holds(folder, make_pdf):
    root = folder / "out"
    add_questions(root, [made("m1"), made("m2", "b.pdf"), made("m3", "b.pdf", (0,))])
    sides = {item.document: item.split for item in Dataset.load(root).documents}
    before = contents(root)
    assert again(folder).dropped == ()
    assert contents(root) == before
    make_pdf(folder / "in" / "b.pdf", ["b first", "b quite other"])
    report = again(folder)
    assert report.dropped == ("b.pdf changed: 2 questions made from it dropped",)
    dataset = Dataset.load(root)
    assert [item.id for item in dataset.questions()] == ["p1", "m1"]
    # Made questions have no say in which side a document is on.
    assert {item.document: item.split for item in dataset.documents} == sides
    (folder / "in" / "b.pdf").unlink()
    add_questions(root, [made("m4", "b.pdf")])
    assert again(folder).dropped == ("b.pdf is gone: 1 question made from it dropped",)


def test_an_ingest_killed_while_it_replaced_the_tables_loses_no_question(folder, make_pdf, monkeypatch):
    """Killed before each rename in turn: the tables are old and new, and there is no dataset.json."""
    root = folder / "out"
    add_questions(root, [made("m1"), made("m2", "b.pdf")])
    make_pdf(folder / "in" / "b.pdf", ["b first", "b quite other"])
    old = contents(root)

    class Killed(BaseException):
        pass

    real = Path.replace
    for survived in range(len(store.TABLES)):
        for name, data in old.items():
            (root / name).write_bytes(data)
        moved = []

        def move(self: Path, target: Path, moved=moved, survived=survived) -> Path:
            if Path(target).name in store.TABLES:
                if len(moved) == survived:
                    raise Killed
                moved.append(target)
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", move)
            with pytest.raises(Killed):
                again(folder)
        assert not (root / "dataset.json").exists()
        again(folder)
        assert [item.id for item in Dataset.load(root).questions()] == ["p1", "m1"]


def test_a_killed_addition_leaves_the_old_or_the_new_questions(folder, monkeypatch):
    root = folder / "out"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", killed)  # between the table and the head's count
        with pytest.raises(KeyboardInterrupt):
            add_questions(root, [made("m1")])
    assert [item.id for item in Dataset.load(root).questions()] == ["p1", "m1"]
    assert add_questions(root, [made("m1")]).present == 1
    assert json.loads((root / "dataset.json").read_text())["counts"]["questions"] == 2
