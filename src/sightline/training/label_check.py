"""Whether the labels of a row are ones that the loss of its dataset takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sightline.errors import DataError
from sightline.losses.needs import LabelRange, Needs


@dataclass(frozen=True)
class LabelCheck:
    """Looks at the labels of one row after the other. Picklable.

    Attributes:
        needs: of the losses of the dataset.
        classes: scores per pair that a reranker gives; 0 where it is not known.
    """

    needs: tuple[Needs, ...] = ()
    classes: int = 0

    def __call__(self, number: int, found: Mapping[str, np.ndarray], documents: int) -> None:
        """Looks at one row.

        Args:
            number: of the row.
            found: its targets by column.
            documents: how many documents it has.

        Raises:
            DataError: a label that a loss does not take, or more or fewer of them than it needs; names row and column.
        """
        for need in self.needs:
            for name, values in found.items():
                where = f"row {number}, column {name!r}"
                if need.counts:
                    _check_count(need, values, documents, where)
                labels = need.labels
                if need.classes:
                    labels = self._classes(need, values, documents, where)
                if labels is not None:
                    _check_values(need, values, labels, where)

    def _classes(self, need: Needs, values: np.ndarray, documents: int, where: str) -> LabelRange:
        """What the labels of a single pair may be: the number of its class, or a probability for each class."""
        if documents != 1:
            raise DataError(
                f"{where}: a class for {documents} documents together; {need.loss} needs rows of one pair with its "
                "class, which labelled_pairs makes"
            )
        if values.size == 1:
            if not self.classes:
                return LabelRange(0, whole=True)
            return LabelRange(0, self.classes - 1, whole=True, otherwise=_classes_of(self.classes))
        if values.ndim != 1 or self.classes not in (0, len(values)):
            raise DataError(
                f"{where}: {numbers(values.shape)}; {need.loss} needs the number of a class, or {self.classes} "
                "probabilities"
            )
        return LabelRange(0, 1, otherwise="the numbers of a list are probabilities, one per class")


def numbers(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    if not shape:
        return "one number"
    return f"{shape[0]} numbers" if len(shape) == 1 else f"{' x '.join(map(str, shape))} numbers"


def _classes_of(classes: int) -> str:
    return f"the model has {classes} classes, and num_labels= loads it with another number of them"


def _check_count(need: Needs, values: np.ndarray, documents: int, where: str) -> None:
    count = values.size if values.ndim < 2 else None
    if count is None or count - documents not in need.counts:
        wanted = (
            "a label per negative, or one per document" if -1 in need.counts else "one label per document"
        )
        several = "one document" if documents == 1 else f"{documents} documents"
        raise DataError(f"{where}: {numbers(values.shape)} for {several}; {need.loss} needs {wanted}")


def _check_values(need: Needs, values: np.ndarray, labels: LabelRange, where: str) -> None:
    for place, value in enumerate(map(float, values.flat)):
        if not labels.takes(value):
            at = f" at place {place} of the list" if values.ndim else ""
            advice = f"; {labels.otherwise}" if labels.otherwise else ""
            raise DataError(f"{where}: {value:g}{at}, and {need.loss} takes {labels}{advice}")
