"""ST's trainers and their arguments over ours."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from sightline.compat.batching import StOrdering
from sightline.compat.evaluation import SequentialEvaluator, meet
from sightline.compat.making import without_guides
from sightline.compat.models import inner_of
from sightline.losses.pairwise import CoSENT
from sightline.losses.pointwise import BinaryCrossEntropy
from sightline.models.reranker import Reranker
from sightline.training.arguments import TrainingArguments
from sightline.training.trainer import Trainer


class BatchSamplers(StrEnum):
    """How rows form batches; see `StOrdering`."""

    BATCH_SAMPLER = "batch_sampler"
    NO_DUPLICATES = "no_duplicates"
    NO_DUPLICATES_HASHED = "no_duplicates_hashed"
    GROUP_BY_LABEL = "group_by_label"


class MultiDatasetBatchSamplers(StrEnum):
    """From which dataset the next batch comes."""

    ROUND_ROBIN = "round_robin"
    PROPORTIONAL = "proportional"


@dataclass
class SentenceTransformerTrainingArguments(TrainingArguments):
    """Ours with ST's defaults: no prompts in training, whatever the model's own, and streams keep their order.

    The samplers' names are those above.
    """

    own_prompts: ClassVar[bool] = False

    prompts: Any = field(
        default="", metadata={"help": "Text put in front of items; see `TrainingArguments`."}
    )

    stream_buffer: int = field(
        default=1, metadata={"help": "Rows of a stream that are held to draw the next one from."}
    )

    def __post_init__(self) -> None:
        self.prompts = "" if self.prompts is None else self.prompts
        super().__post_init__()


CrossEncoderTrainingArguments = SentenceTransformerTrainingArguments


class SentenceTransformerTrainer(Trainer):
    """The `Trainer` with ST's argument names and batches; a list of evaluators is asked one after another."""

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
            ordering=StOrdering(),
        )


CrossEncoderTrainer = SentenceTransformerTrainer
