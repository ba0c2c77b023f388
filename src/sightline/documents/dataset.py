"""A dataset on disk, opened: pages, questions, and the views that training, evaluation and search take."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sightline.documents import store
from sightline.documents.negatives import (
    Negatives,
    check_current,
    content_digest,
    has_negatives,
    read_negatives,
)
from sightline.documents.records import Document, Page, Question
from sightline.errors import DataError

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

Fields = Literal["both", "text", "image"]
FIELDS: tuple[Fields, ...] = ("both", "text", "image")


@dataclass(frozen=True)
class Dataset:
    """Pages of documents with questions about them, as ``sightline ingest`` writes it.

    Attributes:
        root: the folder, absolute.
        head: the contents of dataset.json.
        documents: every file of the ingested folder, the skipped ones too, sorted by name.
        all_questions: every question in the order of the question files; see `questions`.
    """

    root: Path
    head: Mapping[str, Any]
    documents: tuple[Document, ...]
    all_questions: tuple[Question, ...]

    @classmethod
    def load(cls, path: str | Path) -> Dataset:
        """Open a dataset folder; page images become absolute paths and are not read.

        Raises:
            DataError: when the folder is missing, not a dataset, unfinished or damaged.
        """
        root = Path(path).absolute()
        head = store.read_head(root)
        documents = tuple(
            replace(item, pages=tuple(replace(page, image=str(root / page.image)) for page in item.pages))
            for item in store.read_documents_table(root)
        )
        return cls(root, head, documents, store.read_questions_table(root))

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        """Every page, sorted by document and page number."""
        return tuple(page for document in self.documents for page in document.pages)

    @cached_property
    def _by_id(self) -> dict[str, Page]:
        return {page.page_id: page for page in self.pages}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have documents, sorted."""
        return tuple(sorted({item.split for item in self.documents if item.split is not None}))

    def page(self, page_id: str) -> Page:
        """The page called ``"<document>#p<zero-based page>"``.

        Raises:
            DataError: when the dataset has no such page.
        """
        try:
            return self._by_id[page_id]
        except KeyError:
            raise DataError(f"{self.root}: there is no page '{page_id}'") from None

    def questions(self, split: str | None = None) -> tuple[Question, ...]:
        """The questions of a split, or all of them."""
        self._check_split(split)
        return tuple(item for item in self.all_questions if split is None or item.split == split)

    def corpus(self, fields: Fields = "both", split: str | None = None) -> dict[str, Any]:
        """What is embedded for each page, by page id.

        ``"text"`` gives the text layer as str; a page without one is ``""`` and stays in the corpus,
        because a search over text has to pay for the pages it cannot see. ``"image"`` gives the image's
        path, ``"both"`` gives ``{"text": str, "image": Path}``, without ``"text"`` where there is none.

        Args:
            fields: which part of the pages to use.
            split: only the pages of this split's documents; all pages when None.
        """
        self._check_split(split)
        return {
            page.page_id: _value(page, fields)
            for document in self.documents
            if split is None or document.split == split
            for page in document.pages
        }

    def queries(self, split: str | None = None) -> dict[str, str]:
        """The questions' texts by id."""
        return {item.id: item.query for item in self.questions(split)}

    def relevant(self, split: str | None = None) -> dict[str, set[str]]:
        """The page ids that answer each question, by question id."""
        return {item.id: set(item.page_ids) for item in self.questions(split)}

    def mined(self, split: str = "train") -> Negatives:
        """The negatives that `sightline mine` has found for a split.

        Raises:
            DataError: nothing was mined for it, or pages or questions have changed since.
        """
        found = read_negatives(self.root)
        check_current(self.root, found, split, self.content(split))
        return found

    def negatives(self, split: str = "train") -> dict[tuple[str, str], tuple[str, ...]]:
        """Pages that do not answer a question, by question id and right page, the hardest first.

        What somebody said (`Question.negatives`) comes before what `sightline mine` has found. Pages that are gone, or
        that belong to another split, are left out.

        Raises:
            DataError: there are none of either; nothing was mined for the split, or pages or questions have changed
                since.
        """
        asked = self.questions(split)
        own = {item.id: item.negatives for item in asked if item.negatives}
        mined = self.mined(split).by_pair if has_negatives(self.root) or not own else {}
        there = {page.page_id for item in self.documents if item.split == split for page in item.pages}
        return {
            (item.id, page): tuple(
                name
                for name in dict.fromkeys((*item.negatives, *mined.get((item.id, page), ())))
                if name in there and name not in item.page_ids
            )
            for item in asked
            for page in item.page_ids
        }

    def content(self, split: str) -> str:
        """A digest of a split's pages and questions, which changes when one of them does."""
        pages = [page for item in self.documents if item.split == split for page in item.pages]
        return content_digest(pages, self.questions(split))

    def train_rows(
        self,
        fields: Fields = "both",
        split: str = "train",
        *,
        negatives: int | None = None,
        origins: Sequence[str] = (),
    ) -> datasets.Dataset:
        """Pairs to train on: columns ``anchor`` (the question) and ``positive`` (a page that answers it).

        A question with several gold pages gives a row for each. Images are paths as str and are opened
        by whoever preprocesses the row; with ``fields="both"`` the positive is
        ``{"text": str | None, "image": str}``. With ``fields="text"`` pages without text are left out:
        nothing can be learnt from an empty positive.

        With ``negatives``, columns ``negative_1``, ... follow: pages that people said do not answer, then those that
        `sightline mine` has found, the hardest first. Where a pair has fewer, the cells are None, which losses over
        documents pass over.

        Args:
            fields: what a page shows.
            split: whose questions.
            negatives: such pages per pair; None for none.
            origins: only questions from there: "person", "offline", "feedback", "model:NAME", "model" for any; empty
                for all.

        Raises:
            DataError: when the split has no questions of these origins (or, for text, no page with text); when
                negatives are asked for and there are none, or the dataset has changed since.
        """
        import datasets

        asked = self.questions(split)
        pairs = [
            (item, self._by_id[name])
            for item in asked
            if not origins or item.origin in origins or item.origin.partition(":")[0] in origins
            for name in item.page_ids
        ]
        if fields == "text":
            pairs = [(question, page) for question, page in pairs if page.text]
        if not pairs and origins and asked:
            there = ", ".join(sorted({item.origin for item in asked}))
            raise DataError(
                f"{self.root}: split '{split}' has no questions to train on from {', '.join(origins)}; there are those"
                f" from {there}"
            )
        if not pairs:
            raise DataError(
                f"{self.root}: split '{split}' has no questions to train on; give a question file"
                " with `sightline ingest --questions FILE`"
            )
        text = datasets.Value("string")
        shown = {"text": text, "image": text} if fields == "both" else text
        columns = {
            "anchor": [question.query for question, _ in pairs],
            "positive": [_row_value(page, fields) for _, page in pairs],
        }
        if negatives is not None:
            columns |= self._negative_columns(pairs, fields, split, negatives)
        kinds = {name: text if name == "anchor" else shown for name in columns}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))

    def _negative_columns(
        self, pairs: Sequence[tuple[Question, Page]], fields: Fields, split: str, count: int
    ) -> dict[str, list[Any]]:
        if count < 1:
            raise DataError(f"negatives must be at least 1, not {count}; leave it out for none")
        known = self.negatives(split)
        rows = []
        for question, page in pairs:
            others = (self._by_id[name] for name in known[question.id, page.page_id])
            rows.append([other for other in others if fields != "text" or other.text][:count])
        short = sum(len(row) < count for row in rows)
        if short:
            logger.info("%d of %d pairs have fewer than %d negatives", short, len(rows), count)
        return {
            f"negative_{number + 1}": [
                _row_value(row[number], fields) if number < len(row) else None for row in rows
            ]
            for number in range(count)
        }

    def _check_split(self, split: str | None) -> None:
        if split is not None and split not in self.splits:
            known = ", ".join(self.splits) or "none"
            raise DataError(f"{self.root}: there is no split '{split}'; it has {known}")


def _value(page: Page, fields: Fields) -> Any:
    if fields == "text":
        return page.text
    if fields == "image":
        return Path(page.image)
    if fields == "both":
        return {"text": page.text, "image": Path(page.image)} if page.text else {"image": Path(page.image)}
    raise DataError(f"fields '{fields}' is not one of {', '.join(FIELDS)}")


def _row_value(page: Page, fields: Fields) -> Any:
    value = _value(page, fields)
    if fields == "both":
        return {"text": page.text or None, "image": page.image}
    return str(value)
