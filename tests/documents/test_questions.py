"""Question files and splits."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from sightline.documents.dataset import Dataset
from sightline.documents.ingest import ingest
from sightline.documents.questions import Names, place_questions, read_questions
from sightline.documents.records import Document, IngestSettings, Page, image_location, page_id
from sightline.documents.splits import assign_splits, read_splits
from sightline.errors import DataError

SMALL = IngestSettings(pixels=40_000, ocr="none")


def document(name: str, count: int = 3, present: tuple[int, ...] | None = None, sha256: str = "") -> Document:
    present = tuple(range(count)) if present is None else present
    pages = tuple(
        Page(page_id(name, number), name, number, image_location("ab"), 10, 10, "", "ab", "none")
        for number in present
    )
    return Document(name, f"/x/{name}", sha256 or name, count, "ok" if pages else "skipped", "", pages)


def test_columns_are_read_and_further_ones_kept(write_lines, tmp_path):
    path = write_lines(
        tmp_path / "q.jsonl",
        [
            {"id": 7, "query": " How many? ", "document": "a.pdf", "pages": [2, 0, 2], "evidence": ["Chart"]},
            "",
            {"id": "b", "query": "Separator \u2028 inside", "document": "a.pdf", "pages": [1], "kind": "x"},
        ],
    )
    asked = read_questions([path], ["a.pdf"])
    assert [item.where for item in asked] == ["q.jsonl:1", "q.jsonl:3"]
    assert (asked[0].id, asked[0].query, asked[0].extra) == ("7", "How many?", {"evidence": ["Chart"]})
    questions, dropped = place_questions(asked, [document("a.pdf")], {"a.pdf": "test"})
    assert questions[0].page_ids == ("a.pdf#p2", "a.pdf#p0")
    assert {item.split for item in questions} == {"test"}
    assert dropped == ()


def test_image_instead_of_document_and_no_pages(write_lines, tmp_path):
    path = write_lines(
        tmp_path / "q.jsonl", [{"id": "1", "query": "?", "image": "images/7.png", "answer": "x"}]
    )
    (asked,) = read_questions([path], ["images/7.png"])
    assert asked.extra == {"answer": "x"}
    ((question,), _) = place_questions([asked], [document("images/7.png", 1)], {"images/7.png": "train"})
    assert question.pages == (0,)
    with pytest.raises(DataError, match=r"q\.jsonl:1: 'pages' is missing; images/7\.png has 3 pages"):
        place_questions([asked], [document("images/7.png", 3)], {"images/7.png": "train"})


GOOD = {"id": "1", "query": "Why?", "document": "a.pdf", "pages": [0]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "2", "query": ', "not JSON"),
        ("[1, 2]", "must be one JSON object"),
        ({**GOOD, "id": "2", "query": "  "}, "'query' is missing or empty"),
        ({**GOOD, "id": None}, "'id' is missing or empty"),
        ({**GOOD, "id": "2", "query": "\ud800"}, "half a character"),
        ({"id": "2", "query": "?"}, "'document' is missing or empty"),
        ({**GOOD, "id": "2", "document": "z.pdf"}, "'z.pdf' is not in the folder"),
        ({**GOOD, "id": "2", "pages": 3}, "'pages' must be a list of page numbers counted from 0"),
        ({**GOOD, "id": "2", "pages": []}, "'pages' must be a list"),
        ({**GOOD, "id": "2", "pages": [True]}, "no page number"),
        ({**GOOD, "id": "2", "pages": ["3"]}, "no page number"),
        ({**GOOD, "id": "2", "split": "dev"}, "split 'dev' is not one of train, validation, test"),
        (GOOD, r"id '1' is taken by q\.jsonl:1"),
    ],
)
def test_errors_name_file_and_line(write_lines, tmp_path, line, message):
    path = write_lines(tmp_path / "q.jsonl", [GOOD, line])
    with pytest.raises(DataError, match=message) as caught:
        read_questions([path], ["a.pdf"])
    assert str(caught.value).startswith("q.jsonl:2: ")


def test_pages_outside_the_document_are_errors_and_all_are_shown(write_lines, tmp_path):
    lines = [{**GOOD, "id": str(number), "pages": [number]} for number in range(30)]
    asked = read_questions([write_lines(tmp_path / "q.jsonl", lines)], ["a.pdf"])
    with pytest.raises(DataError) as caught:
        place_questions(asked, [document("a.pdf", 3)], {"a.pdf": "test"})
    shown = str(caught.value).split("\n")
    assert shown[0] == "q.jsonl:4: page 3 is outside a.pdf, whose pages are 0 to 2 (counted from 0)"
    assert len(shown) == 21
    assert shown[-1] == "and 7 more"


def test_questions_of_unreadable_pages_are_dropped_by_name(write_lines, tmp_path):
    lines = [
        {**GOOD, "id": "kept", "document": "part.pdf", "pages": [0, 1]},
        {**GOOD, "id": "page", "document": "part.pdf", "pages": [1]},
        {**GOOD, "id": "file", "document": "gone.pdf"},
    ]
    asked = read_questions([write_lines(tmp_path / "q.jsonl", lines)], ["part.pdf", "gone.pdf"])
    documents = [document("part.pdf", 3, present=(0, 2)), document("gone.pdf", 3, present=())]
    questions, dropped = place_questions(asked, documents, {"part.pdf": "train"})
    assert [(item.id, item.pages) for item in questions] == [("kept", (0,))]
    assert ["'page' is dropped" in dropped[0], "gone.pdf was skipped" in dropped[1]] == [True, True]


def test_files_that_are_no_question_files(tmp_path):
    with pytest.raises(DataError, match="no such question file"):
        read_questions([tmp_path / "none.jsonl"], [])
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "1"}\n{"query": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"latin\.jsonl:2: not UTF-8"):
        read_questions([tmp_path / "latin.jsonl"], [])
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="no question in it"):
        read_questions([tmp_path / "empty.jsonl"], [])


def test_names_of_documents():
    names = Names(["a/x.pdf", "b/x.pdf", "b/y.pdf", "z.png"])
    assert names.find("a/x.pdf") == "a/x.pdf"
    assert names.find("y.pdf") == "b/y.pdf"
    assert names.find("./a/x.pdf") == "a/x.pdf"
    assert names.find("images/z.png") == "z.png"
    with pytest.raises(DataError, match=r"may be any of a/x\.pdf, b/x\.pdf; write the whole path"):
        names.find("x.pdf")
    with pytest.raises(DataError, match="not in the folder"):
        names.find("pdf")


def test_split_takes_its_share_of_questions_and_whole_documents():
    documents = [document(f"{number}.pdf") for number in range(50)]
    asked = [item.document for number, item in enumerate(documents) for _ in range(number % 7)]
    splits = assign_splits(documents, asked, {}, test_fraction=0.2, seed=0)
    assert splits.keys() == {item.document for item in documents}
    held = sum(splits[name] == "test" for name in asked)
    assert abs(held - 0.2 * len(asked)) <= 3
    assert splits == assign_splits(documents[::-1], asked[::-1], {}, test_fraction=0.2, seed=0)
    assert splits != assign_splits(documents, asked, {}, test_fraction=0.2, seed=1)


def test_a_new_document_moves_few_others():
    documents = [document(f"{number}.pdf") for number in range(60)]
    before = assign_splits(documents, [], {}, test_fraction=0.2, seed=0)
    after = assign_splits([*documents, document("new.pdf")], [], {}, test_fraction=0.2, seed=0)
    assert sum(before[name] != after[name] for name in before) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_two_documents_are_on_two_sides(seed):
    documents = [document("a.pdf"), document("b.pdf"), document("silent.pdf")]
    splits = assign_splits(documents, ["a.pdf"] * 9 + ["b.pdf"], {}, test_fraction=0.1, seed=seed)
    assert {splits["a.pdf"], splits["b.pdf"]} == {"train", "test"}


def test_extreme_fractions_and_copies():
    documents = [document(name, sha256="same" if name < "d" else "") for name in "abcdefgh"]
    assert set(assign_splits(documents, [], {}, test_fraction=0, seed=0).values()) == {"train"}
    assert set(assign_splits(documents, [], {}, test_fraction=1, seed=0).values()) == {"test"}
    for seed in range(10):
        splits = assign_splits(documents, [], {}, test_fraction=0.5, seed=seed)
        assert splits["a"] == splits["b"] == splits["c"]
    assert assign_splits(documents, [], {"b": "validation"}, test_fraction=0.5, seed=0)["c"] == "validation"


def test_split_in_the_question_file_holds_for_the_document(write_lines, tmp_path):
    lines = [
        {**GOOD, "id": "1", "split": "test"},
        {**GOOD, "id": "2"},
        {**GOOD, "id": "3", "document": "b.pdf", "split": "train"},
    ]
    asked = read_questions([write_lines(tmp_path / "q.jsonl", lines)], ["a.pdf", "b.pdf"])
    given = {item.document: item.split for item in asked if item.split}
    documents = [document("a.pdf"), document("b.pdf")]
    splits = assign_splits(documents, ["a.pdf", "a.pdf", "b.pdf"], given, test_fraction=0.2, seed=0)
    assert splits == {"a.pdf": "test", "b.pdf": "train"}
    write_lines(tmp_path / "q.jsonl", [*lines, {**GOOD, "id": "4", "split": "train"}])
    with pytest.raises(DataError, match=r"q\.jsonl:4: split 'train', but q\.jsonl:1 puts 'a\.pdf' in 'test'"):
        read_questions([tmp_path / "q.jsonl"], ["a.pdf", "b.pdf"])


def test_split_file(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text('{"train": ["a.pdf"], "test": ["b.pdf", "c.pdf"]}')
    assert read_splits(path) == {"a.pdf": "train", "b.pdf": "test", "c.pdf": "test"}
    for wrong, message in (
        ('{"train": ["a"], "test": ["a"]}', "'a' is in 'train' and in 'test'"),
        ('{"dev": []}', "expected"),
        ('{"train": "a"}', "must be a list"),
        ("{", "JSON"),
    ):
        path.write_text(wrong)
        with pytest.raises(DataError, match=message):
            read_splits(path)
    with pytest.raises(DataError, match="no such split file"):
        read_splits(tmp_path / "none.json")


@pytest.fixture
def dataset(make_pdf, write_lines, tmp_path) -> Dataset:
    base = tmp_path / "in"
    make_pdf(base / "a.pdf", ["alpha first", "alpha second"])
    make_pdf(base / "b.pdf", ["beta first", ""])
    Image.new("RGB", (30, 20), "navy").save(base / "c.png")
    lines = [
        {
            "id": "q1",
            "query": "Where is alpha?",
            "document": "a.pdf",
            "pages": [0, 1],
            "mixed": 1,
            "tags": ["x"],
        },
        {"id": "q2", "query": "Where is beta?", "document": "b.pdf", "pages": [1], "mixed": "one"},
        {"id": "q3", "query": "Which blue?", "image": "c.png", "mixed": None},
    ]
    # Inside the folder on purpose: the question file and the split file are not documents.
    questions = write_lines(base / "q.jsonl", lines)
    (base / "splits.json").write_text('{"train": ["a.pdf", "c.png"], "test": ["b.pdf"]}')
    report = ingest(base, tmp_path / "out", questions=questions, splits=base / "splits.json", settings=SMALL)
    assert (report.skipped, report.questions) == ((), 3)
    return Dataset.load(tmp_path / "out")


def test_views_for_evaluation_and_search(dataset):
    assert dataset.splits == ("test", "train")
    assert dataset.queries("test") == {"q2": "Where is beta?"}
    assert dataset.relevant() == {"q1": {"a.pdf#p0", "a.pdf#p1"}, "q2": {"b.pdf#p1"}, "q3": {"c.png#p0"}}
    assert dataset.corpus("text", "test") == {"b.pdf#p0": "beta first", "b.pdf#p1": ""}
    images = dataset.corpus("image")
    assert list(images) == [page.page_id for page in dataset.pages]
    assert all(path.is_absolute() and path.is_file() for path in images.values())
    both = dataset.corpus()
    assert both["a.pdf#p0"] == {"text": "alpha first", "image": images["a.pdf#p0"]}
    assert both["c.png#p0"] == {"image": images["c.png#p0"]}
    assert [item.extra["mixed"] for item in dataset.questions()] == ["1", '"one"', "null"]
    assert dataset.questions("train")[0].extra["tags"] == ["x"]
    with pytest.raises(DataError, match="no split 'dev'; it has test, train"):
        dataset.questions("dev")
    with pytest.raises(DataError, match="fields 'pixels' is not one of both, text, image"):
        dataset.corpus("pixels")
    with pytest.raises(DataError, match=r"no page 'a\.pdf#p9'"):
        dataset.page("a.pdf#p9")


def test_rows_to_train_on_hold_paths_and_no_pixels(dataset):
    rows = dataset.train_rows("both")
    assert rows.column_names == ["anchor", "positive"]
    assert len(rows) == 3
    assert rows[0]["positive"] == {"text": "alpha first", "image": dataset.page("a.pdf#p0").image}
    assert rows[2]["positive"] == {"text": None, "image": dataset.page("c.png#p0").image}
    assert [row["positive"] for row in dataset.train_rows("text")] == ["alpha first", "alpha second"]
    assert dataset.train_rows("image", "test")[0]["positive"] == dataset.page("b.pdf#p1").image
    with pytest.raises(DataError, match="no questions to train on"):
        dataset.train_rows("text", "test")


def test_dataset_can_be_moved(dataset, tmp_path):
    dataset.root.rename(tmp_path / "elsewhere")
    moved = Dataset.load(tmp_path / "elsewhere")
    assert all(path.is_file() for path in moved.corpus("image").values())


def test_wrong_questions_stop_before_any_page_is_read(make_pdf, write_lines, tmp_path):
    make_pdf(tmp_path / "in" / "a.pdf", ["x"])
    questions = write_lines(tmp_path / "q.jsonl", [{**GOOD, "document": "typo.pdf"}])
    with pytest.raises(DataError, match=r"q\.jsonl:1: document 'typo\.pdf' is not in the folder"):
        ingest(tmp_path / "in", tmp_path / "out", questions=questions, settings=SMALL)
    assert not (tmp_path / "out").exists()


def test_page_numbers_can_be_mended_without_reading_again(make_pdf, write_lines, tmp_path):
    make_pdf(tmp_path / "in" / "a.pdf", ["x"])
    questions = write_lines(tmp_path / "q.jsonl", [{**GOOD, "pages": [1]}])
    with pytest.raises(DataError, match="page 1 is outside"):
        ingest(tmp_path / "in", tmp_path / "out", questions=questions, settings=SMALL)
    write_lines(questions, [GOOD])
    report = ingest(tmp_path / "in", tmp_path / "out", questions=questions, settings=SMALL)
    assert (report.reused, report.questions) == (1, 1)


@pytest.mark.shared
def test_real_charts_with_their_questions(shared, tmp_path):
    some = (shared / "charts" / "pairs.jsonl").read_text(encoding="utf-8").splitlines()[:40]
    (tmp_path / "in" / "images").mkdir(parents=True)
    for line in some:
        name = json.loads(line)["image"]
        (tmp_path / "in" / name).symlink_to(shared / "charts" / name)
    (tmp_path / "pairs.jsonl").write_text("\n".join(some), encoding="utf-8")
    report = ingest(tmp_path / "in", tmp_path / "out", questions=tmp_path / "pairs.jsonl", settings=SMALL)
    data = Dataset.load(tmp_path / "out")
    assert (report.skipped, report.questions) == ((), 40)
    assert {len(pages) for pages in data.relevant().values()} == {1}
    assert len(data.questions("test")) == 8
    assert data.questions()[0].extra["answer"]
