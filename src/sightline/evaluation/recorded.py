"""What evaluators share: the names of their metrics, and how a result is told and written down."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sightline.evaluation.results import record_evaluation


class Recordable(Protocol):
    """What an evaluation found."""

    def flat(self, prefix: str) -> dict[str, float]: ...
    def to_json(self) -> Mapping[str, Any]: ...


class RecordedEvaluator(ABC):
    """An evaluator with a name.

    Attributes:
        kind: what its files are called by.
        name: in front of its metrics; may be empty.
        primary: the metric that chooses the best model.
    """

    kind: ClassVar[str]
    name: str
    primary: str

    @property
    def prefix(self) -> str:
        return f"{self.name}_" if self.name else ""

    @property
    def primary_metric(self) -> str:
        return f"{self.prefix}{self.primary}"

    def tell(
        self, result: Recordable, folder: str | Path | None, epoch: float | None, steps: int | None
    ) -> dict[str, float]:
        """The means, by name; with a folder, also written there by `record_evaluation`."""
        means = result.flat(self.prefix)
        if folder is not None:
            when = {"epoch": epoch, "steps": steps}
            record_evaluation(folder, self.kind, self.name, when, means, result.to_json())
        return means
