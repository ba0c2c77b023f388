"""The demo's collection: what is on the pages, and that the questions about them are fair."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path

import pypdfium2
import pytest

from sightline.demo.collection import Collection, compose, generate
from sightline.demo.facts import KINDS, check
from sightline.errors import ConfigError

SMALL_WORDS = set(
    re.findall(
        r"\w+",
        "a an the of in at on for to and or is was were are be with by from what which who how many much does did do "
        "has have it its that this i my me where when why",
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("collection")


@pytest.fixture(scope="module")
def collection(folder: Path) -> Collection:
    return compose(folder)


@pytest.fixture(scope="module")
def texts(folder: Path, collection: Collection) -> dict[tuple[str, int], str]:
    """Text layer of every page."""
    found = {}
    for record in collection.documents:
        pdf = pypdfium2.PdfDocument(folder / "documents" / record.document)
        for number, page in enumerate(pdf):
            found[record.document, number] = " ".join(page.get_textpage().get_text_range().split())
        pdf.close()
    return found


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def test_sizes(collection: Collection) -> None:
    kinds = Counter(record.kind for record in collection.documents)
    assert len(collection.documents) == 48
    assert set(kinds) == {"annual report", "slides", "manual", "research", "form", "letters"}
    assert all(5 <= record.pages <= 12 for record in collection.documents)
    assert 1_000 <= len(collection.questions) <= 1_600
    assert {question.kind for question in collection.questions} == set(KINDS)


def test_split_is_by_document_and_by_kind(collection: Collection) -> None:
    test = [record for record in collection.documents if record.split == "test"]
    assert 0.28 <= len(test) / len(collection.documents) <= 0.38
    assert {record.kind for record in test} == {record.kind for record in collection.documents}
    held_out = {record.document for record in test}
    assert sum(question.document in held_out for question in collection.questions) >= 300


def test_every_question_is_answered_on_its_gold_pages_and_nowhere_else(collection: Collection) -> None:
    assert check(collection.ledger, collection.questions) == []


def test_the_validator_sees_what_is_wrong(collection: Collection) -> None:
    from dataclasses import replace

    first = collection.questions[0]
    moved = replace(first, pages=(first.pages[0] + 1,))
    assert "is answered on" in check(collection.ledger, [moved])[0]
    assert "appears twice" in check(collection.ledger, [first, first])[0]


def test_gold_pages_show_the_evidence(collection: Collection, texts: dict[tuple[str, int], str]) -> None:
    scanned = {record.document for record in collection.documents if record.kind == "letters"}
    pages = {record.document: record.pages for record in collection.documents}
    for question in collection.questions:
        assert question.pages
        assert question.evidence
        assert all(0 <= page < pages[question.document] for page in question.pages)
        if question.document not in scanned:
            shown = [texts[question.document, page].lower() for page in question.pages]
            # Lines may break inside the evidence, and pdfium then drops the space or keeps a hyphen.
            squeezed = question.evidence.lower().replace(" ", "")
            assert any(squeezed in text.replace(" ", "") for text in shown), question


def test_letters_are_images_without_text(
    folder: Path, collection: Collection, texts: dict[tuple[str, int], str]
) -> None:
    scanned = {record.document for record in collection.documents if record.kind == "letters"}
    for (document, number), text in texts.items():
        assert (text == "") == (document in scanned), (document, number)
    pdf = pypdfium2.PdfDocument(folder / "documents" / min(scanned))
    page = pdf[0].render(scale=1, grayscale=True).to_numpy()
    pdf.close()
    assert (page < 130).mean() > 0.005  # there is ink
    assert len(set(page.ravel().tolist())) > 60  # and the grain of a scan


def test_questions_do_not_copy_their_pages(collection: Collection, texts: dict[tuple[str, int], str]) -> None:
    scanned = {record.document for record in collection.documents if record.kind == "letters"}
    shares = []
    for question in collection.questions:
        if question.document in scanned:
            continue
        asked = set(words(question.query)) - SMALL_WORDS
        shown = {word for page in question.pages for word in words(texts[question.document, page])}
        shares.append(len(asked & shown) / max(1, len(asked)))
    assert sum(shares) / len(shares) < 0.45


def test_word_search_finds_some_pages_but_not_most(
    collection: Collection, texts: dict[tuple[str, int], str]
) -> None:
    keys = sorted(texts)
    bags = [Counter(words(texts[key])) for key in keys]
    lengths = [sum(bag.values()) for bag in bags]
    mean_length = sum(lengths) / len(lengths)
    document_frequency = Counter(word for bag in bags for word in bag)
    held_out = {record.document for record in collection.documents if record.split == "test"}
    gains = []
    for question in [q for q in collection.questions if q.document in held_out][::3]:
        scores = [0.0] * len(keys)
        for word in words(question.query):
            df = document_frequency[word]
            idf = math.log(1 + (len(keys) - df + 0.5) / (df + 0.5))
            for row, bag in enumerate(bags):
                if (tf := bag[word]) > 0:
                    scores[row] += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * lengths[row] / mean_length))
        best = sorted(range(len(keys)), key=lambda row: -scores[row])[:10]
        gold = {(question.document, page) for page in question.pages}
        gain = sum(1 / math.log2(rank + 2) for rank, row in enumerate(best) if keys[row] in gold)
        gains.append(gain / sum(1 / math.log2(rank + 2) for rank in range(len(gold))))
    assert 0.25 < sum(gains) / len(gains) < 0.65


def test_wording_is_shared_between_splits(collection: Collection) -> None:
    """The house words of the test documents are used in the training documents too."""
    held_out = {record.document for record in collection.documents if record.split == "test"}
    facts = collection.ledger.facts
    marks = {
        split: {
            mark
            for document, _, fact in facts
            if (document in held_out) == (split == "test")
            for mark in fact
        }
        for split in ("train", "test")
    }
    for name in ("metric", "desk", "job", "stage", "wrench"):
        test = {value for kind, value in marks["test"] if kind == name}
        train = {value for kind, value in marks["train"] if kind == name}
        assert test, name
        assert len(test & train) >= 0.6 * len(test), name


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_documents(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = generate(tmp_path / "a", documents=12, progress=lambda done, of: seen.append((done, of)))
    generate(tmp_path / "b", documents=12)
    generate(tmp_path / "c", documents=12, seed=1)
    first = digests(tmp_path / "a")
    assert first == digests(tmp_path / "b")
    assert first != digests(tmp_path / "c")
    assert seen == [(number, 12) for number in range(1, 13)]
    assert summary.documents == 12
    assert len(first) == 14  # twelve PDFs and two lists


def test_files_say_the_same_as_the_summary(tmp_path: Path) -> None:
    summary = generate(tmp_path, documents=12, seed=3)
    documents = [
        json.loads(line) for line in (tmp_path / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    questions = [
        json.loads(line) for line in (tmp_path / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(documents) == summary.documents
    assert len(questions) == summary.questions
    assert len({row["id"] for row in questions}) == len(questions)
    assert len({row["query"].lower() for row in questions}) == len(questions)
    split = {row["document"]: row["split"] for row in documents}
    assert all(row["split"] == split[row["document"]] for row in questions)
    assert sum(row["split"] == "test" for row in questions) == summary.test_questions
    assert sum(row["split"] == "test" for row in documents) == summary.test_documents
    assert {path.name for path in (tmp_path / "documents").glob("*.pdf")} == set(split)


@pytest.mark.parametrize("documents", [0, 11, 61])
def test_sizes_out_of_range_are_refused(tmp_path: Path, documents: int) -> None:
    with pytest.raises(ConfigError, match="12 to 60"):
        generate(tmp_path, documents=documents)
