"""A cleaned copy of a dataset of pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sightline.documents import store
from sightline.documents.dataset import Dataset
from sightline.documents.doctor.cleaning import Cleaning, link, new_folder
from sightline.documents.doctor.contents import Contents
from sightline.documents.negatives import (
    MinedRow,
    content_digest,
    has_negatives,
    read_negatives,
    write_negatives,
)
from sightline.documents.records import Document, Page, Question, image_location


def write_clean_pages(dataset: Dataset, contents: Contents, cleaning: Cleaning, output: Path) -> None:
    """Writes the dataset without what is to be left out; page images are linked, not copied, where possible.

    Splits that are not among the contents are kept as they are.

    Raises:
        DataError: the folder has something in it, or cannot be written.
    """
    gone = {contents.sheets[number].name for number in cleaning.sheets}
    unasked = {contents.asked[number].name for number in cleaning.questions}
    documents = _without(dataset.documents, gone)
    there = {page.page_id for item in documents for page in item.pages}
    lost = {
        one.name: {contents.sheets[sheet].name for sheet in cleaning.lost(number, contents)}
        for number, one in enumerate(contents.asked)
    }
    questions = [
        kept
        for question in dataset.all_questions
        if question.id not in unasked
        and (kept := _answered(question, there, lost.get(question.id, set()))) is not None
    ]
    with new_folder(output) as folder:
        for item in dataset.documents:
            for page in item.pages:
                if page.page_id in there:
                    link(Path(page.image), folder / image_location(page.content_hash))
        store.write_dataset(folder, documents, questions, _head(dataset, documents, questions))
        if has_negatives(dataset.root):
            facts = dict(read_negatives(dataset.root).facts)
            if facts["content"] == dataset.content(facts["split"]):
                facts["content"] = _content(documents, questions, facts["split"])
            rows = _negatives(dataset, lost, there, unasked)
            write_negatives(folder, rows, {name: value for name, value in facts.items() if name != "version"})
        cleaning.write(folder)


def _without(documents: Sequence[Document], gone: set[str]) -> list[Document]:
    """The documents without some pages; of pages that were like one of these, the first takes its place."""
    first: dict[str, str] = {}

    def kept(page: Page) -> Page:
        like = page.duplicate_of
        if like in gone:
            like = first.setdefault(like, page.page_id)
            like = "" if like == page.page_id else like
        return replace(page, image=image_location(page.content_hash), duplicate_of=like)

    return [
        item.with_pages([kept(page) for page in item.pages if page.page_id not in gone]) for item in documents
    ]


def _answered(question: Question, there: set[str], lost: set[str]) -> Question | None:
    """The question with the pages that are left, and without the negatives it loses; None without any page."""
    pages = tuple(page for page, name in zip(question.pages, question.page_ids, strict=True) if name in there)
    negatives = tuple(name for name in question.negatives if name in there and name not in lost)
    return replace(question, pages=pages, negatives=negatives) if pages else None


def _content(documents: Sequence[Document], questions: Sequence[Question], split: str) -> str:
    """What says that negatives are of this dataset, as `Dataset.content` has it."""
    pages = [page for item in documents if item.split == split for page in item.pages]
    return content_digest(pages, [question for question in questions if question.split == split])


def _head(dataset: Dataset, documents: Sequence[Document], questions: Sequence[Question]) -> dict[str, Any]:
    head = {name: value for name, value in dataset.head.items() if name not in ("format", "version")}
    counts: Mapping[str, Any] = head.get("counts", {})
    pages = sum(len(item.pages) for item in documents)
    return {
        **head,
        "counts": {**counts, "pages": pages, "questions": len(questions)},
        "cleaned_from": str(dataset.root),
    }


def _negatives(
    dataset: Dataset, lost: Mapping[str, set[str]], there: set[str], unasked: set[str]
) -> list[MinedRow]:
    """Mined negatives without those that are gone; scores and ranks beside them go with them."""
    rows = []
    for row in read_negatives(dataset.root).rows:
        if row.question_id in unasked or row.positive not in there:
            continue
        gone = lost.get(row.question_id, set())
        kept = [place for place, name in enumerate(row.negatives) if name in there and name not in gone]
        rows.append(row.only(kept))
    return rows
