"""Which pages questions are made from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sightline.documents.dataset import Dataset
from sightline.documents.records import PERSON, Page
from sightline.errors import DataError


def usual_splits(dataset: Dataset, wanted: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The splits to make questions for, and a note where some are left out.

    Where people's questions measure a model, made ones beside them would blur the figure: by default the
    training split gets questions, and another split gets some only where no person asked any.

    Raises:
        DataError: a split that the dataset has not.
    """
    if wanted is not None:
        for split in wanted:
            dataset.questions(split)
        return tuple(wanted), ()
    asked = {item.split for item in dataset.all_questions if item.origin == PERSON}
    splits = tuple(split for split in dataset.splits if split == "train" or split not in asked)
    left = [split for split in dataset.splits if split not in splits]
    if not left:
        return splits, ()
    names = " and ".join(f"'{split}'" for split in left)
    return splits, (
        f"split {names} has people's questions and gets no made ones (--split {left[0]} makes them)",
    )


def wanted_pages(dataset: Dataset, splits: Sequence[str], count: int | None, seed: int) -> list[Page]:
    """The pages of the splits in the order of the dataset, or ``count`` of them drawn by the seed.

    Raises:
        DataError: there are none.
    """
    pages = [page for item in dataset.documents if item.split in splits for page in item.pages]
    if not pages:
        raise DataError(f"{dataset.root}: there are no pages to make questions from")
    if count is None or count >= len(pages):
        return pages
    drawn = sorted(pages, key=lambda page: hashlib.sha256(f"{seed}:{page.page_id}".encode()).digest())[:count]
    chosen = {page.page_id for page in drawn}
    return [page for page in pages if page.page_id in chosen]
