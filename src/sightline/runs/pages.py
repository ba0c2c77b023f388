"""Pages of documents with questions about them, as a run takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.config.recipe import Recipe
from sightline.documents.collection import exam_of
from sightline.documents.dataset import Dataset
from sightline.documents.negatives import has_negatives
from sightline.evaluation.metrics import Run
from sightline.evaluation.rows import Row
from sightline.evaluation.views import check_views
from sightline.runs.evaluate import bm25_row, evaluator_for
from sightline.runs.sources import PageSource

if TYPE_CHECKING:
    import datasets

    from sightline.evaluation.retrieval import RetrievalEvaluator


class PageMaterial:
    """A folder written by ``sightline ingest``; see `Material`.

    Raises:
        DataError: the folder cannot be read, or has no questions to measure with.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.dataset = Dataset.load(recipe.data.dataset)
        self.exam = exam_of(self.dataset, recipe.evaluation.split)
        self.facts: Mapping[str, Any] = self.exam.facts
        if mined_negatives(recipe, self.dataset) is not None:
            self.dataset.negatives(recipe.data.split)  # found wanting before a model is loaded

    @property
    def name(self) -> str:
        return self.recipe.data.dataset

    @property
    def title(self) -> str:
        return self.dataset.root.name

    @property
    def fingerprint(self) -> str:
        return self.exam.fingerprint

    @property
    def views(self) -> Sequence[str]:
        return self.recipe.evaluated_fields

    @property
    def measured_on(self) -> str:
        facts = self.facts
        return f"{facts['questions']:,} questions over {facts['pages']:,} pages of {facts['documents']:,} documents"

    def rows(self) -> datasets.Dataset:
        return train_rows(self.recipe, self.dataset)

    def source(self) -> PageSource:
        recipe = self.recipe
        views = {*recipe.trained_fields, *recipe.evaluated_fields}
        return PageSource(self.dataset, recipe.data.split, recipe.evaluation.split, images=views != {"text"})

    def check(self, model: Any) -> None:
        check_views(model, [*self.recipe.trained_fields, *self.recipe.evaluated_fields])

    def baseline(self) -> Row:
        return bm25_row(self.exam)

    def evaluator(
        self, view: str, *, dims: Sequence[int] | None = None, show_progress: bool | None = None
    ) -> RetrievalEvaluator:
        return evaluator_for(self.exam, view, dims=dims, show_progress=show_progress)

    def first_search(self, depth: int, *, seed: int) -> Run:
        from sightline.evaluation.bm25 import BM25

        return BM25(self.exam.texts).run(self.exam.queries, k=depth)

    @property
    def first_search_told(self) -> str:
        return "the best of BM25"

    def thumbnail(self, document: str) -> Path | None:
        return self.exam.thumbnail(document)


def mined_negatives(recipe: Recipe, dataset: Dataset) -> int | None:
    """Negative pages per pair of `[data]`; a reranker for which there are none takes those of other rows."""
    wanted = recipe.data.negatives
    if wanted is None or recipe.model.kind == "encoder" or has_negatives(dataset.root):
        return wanted
    return wanted if any(item.negatives for item in dataset.questions(recipe.data.split)) else None


def train_rows(recipe: Recipe, dataset: Dataset) -> datasets.Dataset:
    """The pairs of `[data]`, with their negatives; with several views each pair once per view."""
    import datasets

    views, split = recipe.trained_fields, recipe.data.split
    negatives = mined_negatives(recipe, dataset)
    found = [
        dataset.train_rows(view, split, negatives=negatives, origins=recipe.data.origins) for view in views
    ]
    if len(views) == 1:
        rows = found[0]
    else:
        rows = datasets.concatenate_datasets([_as_both(one, view) for one, view in zip(found, views)])
    if recipe.data.max_rows is not None:
        rows = rows.select(range(min(recipe.data.max_rows, len(rows))))
    return rows


def _as_both(rows: datasets.Dataset, view: str) -> datasets.Dataset:
    """Rows of one view with the columns of the view "both", so that views can stand in one dataset."""
    import datasets

    if view == "both":
        return rows
    empty = {"text": None, "image": None}
    text = datasets.Value("string")
    documents = [name for name in rows.column_names if name != "anchor"]
    columns: dict[str, list[Any]] = {"anchor": list(rows["anchor"])}
    for name in documents:
        columns[name] = [None if value is None else {**empty, view: value} for value in rows[name]]
    kinds = {"anchor": text, **{name: {"text": text, "image": text} for name in documents}}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
