"""A dataset of pages as a retrieval collection, and folders of other layouts opened as one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.documents import store
from sightline.documents.dataset import Dataset
from sightline.errors import DataError

if TYPE_CHECKING:
    from sightline.documents.records import Page, Question
    from sightline.evaluation.collection import Collection, Exam

ALL = "all"
"""What the split of every question is called."""


def collection_of(dataset: Dataset, split: str | None = None) -> Collection:
    """The questions of a dataset over its pages.

    Args:
        dataset: as `sightline ingest` writes it.
        split: only its questions and the pages of its documents; None for all, each split with its own judgments.

    Raises:
        DataError: no such split, or no questions there.
    """
    from sightline.evaluation.collection import Collection

    questions = dataset.questions(split)
    if not questions:
        where = f"split '{split}' has" if split else "it has"
        raise DataError(
            f"{dataset.root}: {where} no questions to evaluate with; "
            "give a question file with `sightline ingest --questions FILE`"
        )
    pages = {
        page.page_id: page
        for document in dataset.documents
        if split is None or document.split == split
        for page in document.pages
    }
    qrels: dict[str, dict[str, dict[str, float]]] = {}
    for item in questions:
        qrels.setdefault(item.split or ALL, {})[item.id] = dict.fromkeys(item.page_ids, 1.0)
    return Collection(
        name=str(dataset.root),
        queries={item.id: item.query for item in questions},
        corpus={name: _parts(page) for name, page in pages.items()},
        qrels=qrels,
        facets=_facets(questions, pages),
        contents={name: _content(page) for name, page in pages.items()},
    )


def exam_of(dataset: Dataset, split: str | None) -> Exam:
    """The questions of a split over the pages of its documents; all questions over all pages where it is None.

    Raises:
        DataError: as `collection_of`.
    """
    from dataclasses import replace

    found = collection_of(dataset, split)
    if split is None:
        together = {qid: gains for judged in found.qrels.values() for qid, gains in judged.items()}
        found = replace(found, qrels={ALL: together})
    return found.exam()


def is_dataset(folder: str | Path) -> bool:
    """Whether a folder is one that `sightline ingest` makes, finished or not."""
    return any((Path(folder) / name).is_file() for name in (store.HEAD, store.JOURNAL))


def open_collection(folder: str | Path, *, split: str | None = None, media: Path | None = None) -> Collection:
    """A dataset folder, or a folder in the layout of BEIR or ViDoRe.

    Args:
        folder: which of them it is, its files tell.
        split: keep this one only; of a dataset also only the pages of its documents.
        media: where images are unpacked that lie inside Parquet files; by default ``<folder>.images`` beside it.

    Raises:
        DataError: it is none of them, or damaged, or has no such split.
    """
    from dataclasses import replace

    from sightline.evaluation.beir import is_beir, read_beir
    from sightline.evaluation.vidore import is_vidore, read_vidore

    folder = Path(folder)
    if is_dataset(folder):
        return collection_of(Dataset.load(folder), split)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    if is_beir(folder):
        found = read_beir(folder)
    elif is_vidore(folder):
        found = read_vidore(folder, media or folder.resolve().with_name(f"{folder.resolve().name}.images"))
    else:
        raise DataError(
            f"{folder} is no dataset of `sightline ingest` ({store.HEAD}), no folder of BEIR (corpus.jsonl, "
            "queries.jsonl, qrels/*.tsv) and none of ViDoRe (corpus/, queries/, qrels/ with Parquet files)"
        )
    if split is None:
        return found
    judged = found.exam(split)  # checks that it is there
    queries = {qid: found.queries[qid] for qid in found.qrels[judged.split]}
    return replace(found, queries=queries, qrels={split: found.qrels[split]})


def open_exam(folder: str | Path, *, split: str | None = "test", media: Path | None = None) -> Exam:
    """The questions of a split of `open_collection`, ready to be asked.

    Args:
        folder, media: as there.
        split: None for all questions of a dataset, and for the only split of other folders.

    Raises:
        DataError: as there, or no such split.
    """
    folder = Path(folder)
    if is_dataset(folder):
        return exam_of(Dataset.load(folder), split)
    return open_collection(folder, media=media).exam(split)


def _parts(page: Page) -> dict[str, Any]:
    parts: dict[str, Any] = {"image": Path(page.image)}
    return {"text": page.text, **parts} if page.text else parts


def _facets(questions: tuple[Question, ...], pages: Mapping[str, Page]) -> dict[str, dict[str, str]]:
    facets: dict[str, dict[str, str]] = {
        "kind": {item.id: item.kind for item in questions},
        "modality": {item.id: _modality([pages[name] for name in item.page_ids]) for item in questions},
        "language": {item.id: item.language for item in questions},
        "origin": {item.id: item.origin for item in questions},
        "document": {item.id: item.document for item in questions},
    }
    return {name: {qid: value for qid, value in found.items() if value} for name, found in facets.items()}


def _modality(wanted: list[Page]) -> str:
    """What there is of the pages that answer a question, and where their text is from."""
    if not any(page.text for page in wanted):
        return "image only"
    return (
        "image and recognised text" if all(page.text_source == "ocr" for page in wanted) else "image and text"
    )


def _content(page: Page) -> str:
    return hashlib.sha256(f"{page.content_hash}\0{page.text}".encode("utf-8", "surrogatepass")).hexdigest()
