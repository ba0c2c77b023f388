"""What measures a model during training: evaluators, and the loss on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from transformers.trainer_utils import IntervalStrategy

from sightline.errors import ConfigError, DataError
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BadRow, Delivery
from sightline.training.distributed import Ranks
from sightline.training.random_state import undisturbed
from sightline.training.rows import Rows
from sightline.types import Batch


class Evaluator(Protocol):
    """Measures an encoder or a reranker during training.

    With several processes each of them calls it, with ``ranks=`` (`sightline.training.distributed.Ranks`) besides,
    so that they can share the work; every one has to return the same numbers.
    """

    @property
    def primary_metric(self) -> str: ...
    @property
    def greater_is_better(self) -> bool: ...
    def __call__(
        self,
        encoder: Any,
        *,
        output_dir: str | None = None,
        epoch: float | None = None,
        steps: int | None = None,
    ) -> dict[str, float]: ...


@runtime_checkable
class ForesightedEvaluator(Protocol):
    """An `Evaluator` that can tell before training whether it can measure a model."""

    def check(self, model: Any) -> None:
        """Raises ConfigError if it cannot."""
        ...


@runtime_checkable
class ThoroughEvaluator(Protocol):
    """An `Evaluator` that can look at all it asks a model before training, which takes as long as preparing it does."""

    def check_inputs(self, model: Any, *, num_workers: int, show_progress: bool, ranks: Ranks) -> None:
        """Raises DataError for inputs that the model does not take, or that cannot be opened."""
        ...


def check_evaluation(
    model: Any, args: TrainingArguments, rows: Mapping[str, Rows], evaluator: Evaluator | None
) -> None:
    """Whether the evaluations of a run are possible.

    Args:
        model: that is trained.
        args: the run's.
        rows: evaluation sets by name.
        evaluator: the run's.

    Raises:
        ConfigError: there is nothing to evaluate with, or the evaluator is for models of another kind.
    """
    if args.eval_strategy != "no" and not rows and evaluator is None:
        strategy = IntervalStrategy(args.eval_strategy).value
        raise ConfigError(
            f"eval_strategy is {strategy!r}, but there is neither an evaluator nor an eval_dataset; give one, "
            "or set eval_strategy to 'no'"
        )
    if isinstance(evaluator, ForesightedEvaluator):
        evaluator.check(model)


def check_evaluator_inputs(
    model: Any, args: TrainingArguments, evaluator: Evaluator | None, *, show_progress: bool, ranks: Ranks
) -> None:
    """Looks at what the evaluator will ask the model, as far as the run evaluates and wants its data looked at.

    Raises:
        DataError: inputs that cannot be used.
    """
    if args.check_data and args.eval_strategy != "no" and isinstance(evaluator, ThoroughEvaluator):
        with undisturbed():
            evaluator.check_inputs(
                model,
                num_workers=args.dataloader_num_workers or 0,
                show_progress=show_progress and not args.disable_tqdm,
                ranks=ranks,
            )


def mean_loss(
    batches: Iterable[Delivery],
    rows: Rows,
    parts_of: Callable[[Batch], dict[str, Tensor]],
    *,
    meet: Callable[[tuple[BadRow, ...], Rows], None],
    ranks: Ranks,
) -> dict[str, float]:
    """Mean over rows of the loss and of its parts, each batch compared within itself as in training.

    Args:
        batches: this rank's.
        rows: the dataset they are of.
        parts_of: the loss's parts on a batch.
        meet: told of rows that cannot be read.
        ranks: who else has batches of the dataset.

    Raises:
        DataError: no row can be used.
    """
    sums: dict[str, float] = {}
    count = 0
    for delivery in batches:
        meet(delivery["bad"], rows)
        batch = delivery["batch"]
        if batch is None:
            continue
        for name, part in parts_of(batch).items():
            sums[name] = sums.get(name, 0.0) + float(part) * batch.num_rows
        count += batch.num_rows
    if ranks.size > 1:
        told = ranks.exchange((sums, count), "adding losses")
        names = dict.fromkeys(name for theirs, _ in told for name in theirs)
        sums = {name: sum(theirs.get(name, 0.0) for theirs, _ in told) for name in names}
        count = sum(seen for _, seen in told)
    if not count:
        raise DataError(f"no row of {rows.title} can be used")
    means = {name: total / count for name, total in sums.items()}
    return {"loss": sum(means.values())} | means
