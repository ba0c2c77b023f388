"""What a run trains on and measures with: an interface, and which of its two kinds a recipe means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sightline.config.recipe import Recipe
from sightline.evaluation.metrics import Run
from sightline.evaluation.rows import Row
from sightline.runs.sources import Source

if TYPE_CHECKING:
    import datasets

    from sightline.evaluation.retrieval import RetrievalEvaluator


class Material(Protocol):
    """Rows to train on, and held-out questions with the documents that are searched.

    A document may be shown to the model in several ways, the *views*; each gives a row of the results table.
    """

    @property
    def name(self) -> str:
        """The training data: a name on the Hub, or a path."""
        ...

    @property
    def title(self) -> str:
        """What was measured on, for the heading of the report."""
        ...

    @property
    def views(self) -> Sequence[str]:
        """The views to evaluate; a single empty one where there is nothing to choose."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """Of what is measured with, for the files: dataset, split, counts."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of the questions and documents that are measured with, by their content; reads every document."""
        ...

    @property
    def measured_on(self) -> str:
        """The same in words: ``300 questions over 1,500 documents``."""
        ...

    def rows(self) -> datasets.Dataset:
        """Rows to train on.

        Raises:
            DataError: there are none, or a column is missing.
        """
        ...

    def source(self) -> Source:
        """What the data doctor examines: the rows to train on and what is measured with."""
        ...

    def check(self, model: Any) -> None:
        """Refuses a model that cannot take what it would be shown, before anything is computed.

        Raises:
            DataError, InputError: naming what it cannot take, and where.
        """
        ...

    def baseline(self) -> Row | None:
        """BM25 over the documents' texts, where they have any."""
        ...

    def evaluator(
        self, view: str, *, dims: Sequence[int] | None = None, show_progress: bool | None = None
    ) -> RetrievalEvaluator:
        """The questions against the documents in one view."""
        ...

    def first_search(self, depth: int, *, seed: int) -> Run:
        """Question id -> {document id: score}, at most ``depth`` each: what a reranker is to put into a better order.

        Where no search is possible without a model, the documents are drawn by the seed, the right one among them.
        """
        ...

    @property
    def first_search_told(self) -> str:
        """In words, whose documents those are."""
        ...

    def thumbnail(self, document: str) -> Path | None:
        """The image file of a document, for the report."""
        ...


def material_of(recipe: Recipe) -> Material:
    """Opens the data a recipe names.

    Raises:
        DataError: it cannot be opened, or has no questions.
    """
    if recipe.data.columns:
        from sightline.runs.tables import TableMaterial

        return TableMaterial(recipe)
    from sightline.runs.pages import PageMaterial

    return PageMaterial(recipe)
