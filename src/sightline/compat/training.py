"""ST's trainers and their arguments over ours."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sightline.compat.evaluation import SequentialEvaluator, meet
from sightline.compat.making import without_guides
from sightline.compat.models import inner_of
from sightline.losses.pairwise import CoSENT
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer


class BatchSamplers(StrEnum):
    """Contents that repeat within a batch are never each other's negatives, whatever is chosen."""

    BATCH_SAMPLER = "batch_sampler"
    NO_DUPLICATES = "no_duplicates"
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    GROUP_BY_LABEL = "group_by_label"


class MultiDatasetBatchSamplers(StrEnum):
    """From which dataset the next batch comes."""

    ROUND_ROBIN = "round_robin"
    PROPORTIONAL = "proportional"


SentenceTransformerTrainingArguments = TrainingArguments  # the samplers' names are those above
CrossEncoderTrainingArguments = SentenceTransformerTrainingArguments


class SentenceTransformerTrainer(Trainer):
    """The `Trainer` with ST's argument names; a list of evaluators is asked one after another."""

    def __init__(
        self, model: Any = None, args: Any = None, train_dataset: Any = None, eval_dataset: Any = None,
        loss: Any = None, evaluator: Any = None, *, callbacks: Any = None, optimizers: tuple[Any, Any] = (None, None),
    ) -> None:  # fmt: skip
        inner = inner_of(model)
        if loss is None:
            loss = BinaryCrossEntropy() if isinstance(inner, Reranker) else CoSENT()
        loss, guide = without_guides(loss)
        if isinstance(evaluator, (list, tuple)):
            evaluator = SequentialEvaluator(evaluator)
        meet(evaluator, inner)
        super().__init__(
            inner,
            loss,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            args=args or SentenceTransformerTrainingArguments(output_dir="tmp_trainer"),
            evaluator=evaluator,
            callbacks=callbacks,
            optimizers=optimizers,
            guide=guide,
        )


CrossEncoderTrainer = SentenceTransformerTrainer
