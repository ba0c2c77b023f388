"""A dataset of `sightline ingest` as the doctor looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sightline.documents.dataset import Dataset
from sightline.documents.doctor.contents import Ask, Contents, Sheet
from sightline.documents.doctor.feedback_checks import check_feedback
from sightline.documents.doctor.findings import Case
from sightline.documents.negatives import NEGATIVES, check_current, has_negatives, read_negatives
from sightline.documents.records import FEEDBACK
from sightline.errors import DataError


def contents_of(
    dataset: Dataset, *, images: bool = True, train: str = "train", sides: Sequence[str] | None = None
) -> Contents:
    """The pages and questions of a dataset.

    Args:
        dataset: as `Dataset.load` gives it.
        images: whether the page images matter; else only their hashes are compared.
        train: the split that is trained on.
        sides: the splits that matter; by default all.

    Raises:
        DataError: the table of negatives cannot be read.
    """
    wanted = dataset.splits if sides is None else tuple(sides)
    pages = [
        (page, document.split or "")
        for document in dataset.documents
        if document.split in wanted
        for page in document.pages
    ]
    sheets = tuple(
        Sheet(
            page.page_id,
            side,
            page.text,
            image=Path(page.image) if images else None,
            content_hash=page.content_hash,
            compared=bool(page.image_hash),
            like=page.duplicate_of,
        )
        for page, side in pages
    )
    numbers = {sheet.name: number for number, sheet in enumerate(sheets)}
    negatives = _negatives(dataset)
    asked = tuple(
        Ask(
            question.id,
            question.split or "",
            question.query,
            tuple(numbers[name] for name in question.page_ids if name in numbers),
            tuple(dict.fromkeys(numbers[name] for name in negatives.get(question.id, ()) if name in numbers)),
            one_of_several=question.origin == FEEDBACK,
        )
        for question in dataset.all_questions
        if question.split in wanted
    )
    return Contents(str(dataset.root), sheets, asked, train)


def known_cases(dataset: Dataset) -> list[Case]:
    """What shows without looking at a page: files left out, pages that are named but not there, old negatives."""
    cases = [Case("skipped", item.document, item.error) for item in dataset.documents if item.error]
    there = {page.page_id for page in dataset.pages}
    for question in dataset.all_questions:
        missing = [name for name in question.page_ids if name not in there]
        if missing and len(missing) < len(question.page_ids):
            cases.append(Case("missing-page", question.id, f"{missing[0]} is not in the dataset"))
    return [*cases, *_stale(dataset), *check_feedback(dataset)]


def _stale(dataset: Dataset) -> Iterator[Case]:
    """Negatives that were mined before pages or questions changed, which training refuses."""
    if has_negatives(dataset.root):
        mined = read_negatives(dataset.root)
        split = str(mined.facts["split"])
        try:
            check_current(dataset.root, mined, split, dataset.content(split))
        except DataError as error:
            yield Case("stale-negatives", NEGATIVES, str(error))


def _negatives(dataset: Dataset) -> Mapping[str, tuple[str, ...]]:
    """Page ids by question id: what somebody said does not answer it, and what was mined."""
    found = {question.id: question.negatives for question in dataset.all_questions if question.negatives}
    if has_negatives(dataset.root):
        for row in read_negatives(dataset.root).rows:
            found[row.question_id] = (*found.get(row.question_id, ()), *row.negatives)
    return found
