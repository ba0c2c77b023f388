"""A dataset of `sightline ingest` as the doctor looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sightline.documents.dataset import Dataset
from sightline.documents.doctor.contents import Ask, Contents, Sheet
from sightline.documents.doctor.findings import Case
from sightline.errors import DataError

NEGATIVES = "negatives.parquet"


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
        )
        for page, side in pages
    )
    numbers = {sheet.name: number for number, sheet in enumerate(sheets)}
    negatives = read_negatives(dataset.root)
    asked = tuple(
        Ask(
            question.id,
            question.split or "",
            question.query,
            tuple(numbers[name] for name in question.page_ids if name in numbers),
            tuple(dict.fromkeys(numbers[name] for name in negatives.get(question.id, ()) if name in numbers)),
        )
        for question in dataset.all_questions
        if question.split in wanted
    )
    return Contents(str(dataset.root), sheets, asked, train)


def known_cases(dataset: Dataset) -> list[Case]:
    """What shows without looking at a page: files that were not ingested, pages that are named but not there."""
    cases = [Case("skipped", item.document, item.error) for item in dataset.documents if item.error]
    there = {page.page_id for page in dataset.pages}
    for question in dataset.all_questions:
        missing = [name for name in question.page_ids if name not in there]
        if missing and len(missing) < len(question.page_ids):
            cases.append(Case("missing-page", question.id, f"{missing[0]} is not in the dataset"))
    return cases


def read_negatives(root: Path) -> Mapping[str, tuple[str, ...]]:
    """Page ids of mined negatives by question id; nothing where none were mined.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = root / NEGATIVES
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(path, columns=["question_id", "negatives"])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}); mine the negatives again, or delete it") from error
    found: dict[str, tuple[str, ...]] = {}
    for row in table.to_pylist():
        found[row["question_id"]] = (*found.get(row["question_id"], ()), *(row["negatives"] or ()))
    return found
