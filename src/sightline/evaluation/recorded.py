"""What evaluators share: the names of their metrics, how a result is told and written down, the look at the inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from sightline.evaluation.results import record_evaluation

if TYPE_CHECKING:
    from sightline.training.check import Asked
    from sightline.training.distributed import Ranks


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

    @abstractmethod
    def asked(self, model: Any) -> list[Asked]:
        """What it asks a model; nothing of one that cannot tell what it takes.

        Raises:
            ConfigError: the model has no prompt of a name in the options.
        """

    def check_inputs(
        self,
        model: Any,
        *,
        num_workers: int = 0,
        show_progress: bool = False,
        ranks: Ranks | None = None,
    ) -> None:
        """Whether a model takes every input, found without running it.

        Args:
            model: the `Encoder` or `Reranker` that is to be measured.
            num_workers, show_progress, ranks: as of `training.check.check_inputs`.

        Raises:
            DataError: inputs that the model does not take or that cannot be opened, by their ids.
            ConfigError: see `asked`.
        """
        from sightline.training.check import check_inputs

        if asked := self.asked(model):
            check_inputs(
                asked,
                model.preprocessor,
                num_workers=num_workers,
                show_progress=show_progress,
                ranks=ranks,
            )
