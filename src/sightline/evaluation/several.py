"""Several evaluators as one, for a model that is measured on several collections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.errors import ConfigError
from sightline.evaluation.reranking import RerankingEvaluator
from sightline.evaluation.retrieval import RetrievalEvaluator

One = RetrievalEvaluator | RerankingEvaluator


class SeveralEvaluators:
    """The metrics of several evaluators; the first one's primary metric chooses the best model.

    Args:
        evaluators: each with a name of its own, which stands in front of its metrics.

    Raises:
        ConfigError: none, or two of one name.
    """

    greater_is_better = True

    def __init__(self, evaluators: Sequence[One]) -> None:
        names = [one.name for one in evaluators]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"evaluators need names of their own, not {names}")
        self.evaluators = list(evaluators)

    @property
    def primary_metric(self) -> str:
        return self.evaluators[0].primary_metric

    def __call__(self, encoder: Any, **options: Any) -> dict[str, float]:
        """As of each evaluator, their metrics together."""
        found: dict[str, float] = {}
        for one in self.evaluators:
            found |= one(encoder, **options)
        return found

    def check(self, model: Any) -> None:
        """Whether all can measure a model; raises ConfigError as they do."""
        for one in self.evaluators:
            one.check(model)

    def check_inputs(self, model: Any, **options: Any) -> None:
        """Whether the model takes what it would be asked; as of each evaluator."""
        for one in self.evaluators:
            one.check_inputs(model, **options)
