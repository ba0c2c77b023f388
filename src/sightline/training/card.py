"""What a model card tells of a training run, as the run stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from sightline.models.card import Sketch, Story, model_card
from sightline.models.card_results import SystemResult, best_evaluation, results_by_dim
from sightline.models.encoder import Encoder
from sightline.models.reranker import Reranker
from sightline.models.saving import sketch_encoder, sketch_reranker
from sightline.training.st_names import st_loss_names

HYPER_PARAMETERS = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type",
    "warmup_steps", "num_train_epochs", "max_steps", "weight_decay", "bf16", "fp16", "optim", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class CardFacts:
    """What a run knows.

    Attributes:
        encoder: the trained model, an encoder or a reranker.
        loss: what was minimised.
        args: `TrainingArguments`.
        columns: dataset columns.
        train_rows, skipped_rows: rows used and left out.
        steps: optimizer steps done.
        log_history: transformers' log, for evaluation results.
        primary_metric: the evaluator's, which picks the row of the best evaluation.
        data: name or path of the training data, where it has one.
        fingerprint: of the training data, where it has one.
        results: systems measured after training, this model among them; without any the best evaluation of the log
            is shown.
        measured_on: name of what they were measured on.
        earlier: the model's story when the run began.
    """

    encoder: Any
    loss: Any
    args: Any
    columns: Sequence[str] = ()
    train_rows: int = 0
    skipped_rows: int = 0
    steps: int = 0
    log_history: Sequence[Mapping[str, Any]] = field(default_factory=list)
    primary_metric: str | None = None
    data: str | None = None
    fingerprint: str | None = None
    results: Sequence[SystemResult] = ()
    measured_on: str = ""
    earlier: Story | None = None


def story_of(facts: CardFacts) -> Story:
    """The facts as the model keeps them: words and figures, and nothing that holds the run in memory."""
    best = best_evaluation(facts.log_history, facts.primary_metric)
    results = list(facts.results)
    if not results and best is not None and (by_dim := results_by_dim(best)):
        results = [SystemResult("fine-tuned", "", by_dim, trained=True)]
    shown = None if facts.results else best
    return Story(
        base=facts.encoder.name_or_path,
        loss=describe_loss(facts.loss),
        loss_names=st_loss_names(facts.loss, tokens=gives_tokens(facts.encoder)),
        dims=matryoshka_dims(facts.loss),
        columns=facts.columns,
        rows=facts.train_rows,
        skipped_rows=facts.skipped_rows,
        steps=facts.steps,
        arguments=_arguments(facts.args),
        data=facts.data,
        fingerprint=facts.fingerprint,
        results=results,
        measured_on=facts.measured_on,
        evaluated_at=None if shown is None else shown.get("step", facts.steps),
        eval_loss=None if shown is None else shown.get("eval_loss"),
        earlier=facts.earlier,
    )


def sketch_of(model: Any) -> Sketch:
    """A model as its card shows it."""
    if isinstance(model, Reranker):
        return sketch_reranker(model)
    if isinstance(model, Encoder):
        return sketch_encoder(model)
    return Sketch(  # anything that is called like an encoder
        kind="vectors",
        name=model.name_or_path,
        modalities=model.modalities,
        dim=model.embedding_dim,
        similarity=model.similarity_fn_name,
        prompts=model.prompts,
    )


def card_of(facts: CardFacts) -> str:
    """The card of a trained model."""
    return model_card(sketch_of(facts.encoder), story_of(facts))


def describe_loss(loss: Any) -> str:
    """``Matryoshka(InfoNCE(temperature=0.05, ...), dims=(256, 64))``: as one would write it in code."""
    if not is_dataclass(loss) or isinstance(loss, type):
        return getattr(loss, "__name__", type(loss).__name__)
    shown = ", ".join(f"{name}={describe_value(value)}" for name, value in vars(loss).items())
    return f"{type(loss).__name__}({shown})"


def describe_value(value: Any) -> str:
    return describe_loss(value) if is_dataclass(value) else repr(value)


def gives_tokens(model: Any) -> bool:
    """Whether it is a late-interaction model."""
    return isinstance(model, Encoder) and model.multi_vector


def matryoshka_dims(loss: Any) -> list[int]:
    """Prefix lengths the loss trains, widest first; empty without Matryoshka."""
    found = vars(loss).get("dims") if is_dataclass(loss) else None
    return sorted(found, reverse=True) if found else []


def _arguments(args: Any) -> list[tuple[str, str]]:
    values = {name: getattr(args, name) for name in HYPER_PARAMETERS}
    if values["max_steps"] < 0:
        del values["max_steps"]
    return [(name, str(getattr(value, "value", value))) for name, value in values.items()]
