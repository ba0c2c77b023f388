"""A recipe, run from end to end: load, measure, train, measure again, save."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.config.load import dump_recipe
from sightline.config.recipe import Recipe, TrainingConfig
from sightline.errors import ConfigError, StoppedError
from sightline.runs.evaluate import bm25_row, check_questions, check_views, encoder_row, evaluator_for
from sightline.runs.outcome import Outcome
from sightline.runs.settings import CHECKPOINTS, meet, training_arguments
from sightline.training.saving import Checkpoints

if TYPE_CHECKING:
    import datasets
    from rich.console import Console

    from sightline.documents.dataset import Dataset
    from sightline.evaluation.retrieval import RetrievalEvaluator
    from sightline.losses.base import Loss
    from sightline.models.encoder import Encoder
    from sightline.training.arguments import TrainingArguments

RESOLVED, RESULTS, REPORT, MODEL = "resolved.toml", "results.json", "report.html", "final"
UNTUNED, TUNED = "untuned", "fine-tuned"


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        output: the run's folder.
        model: the folder of the fine-tuned model.
        encoder: the fine-tuned model itself.
        outcome: the table: BM25, untuned, fine-tuned.
        report: the HTML report, None where the recipe wanted none.
        seconds: wall-clock time by stage.
    """

    output: Path
    model: Path
    encoder: Encoder
    outcome: Outcome
    report: Path | None
    seconds: Mapping[str, float]


def run_recipe(recipe: Recipe, *, console: Console | None = None, resume: bool = False) -> RunResult:
    """Train as `recipe` says and measure before and after.

    Writes into `recipe.output.dir`: `resolved.toml` before the first step; checkpoints as the recipe says;
    then the model in `final/`, `results.json` and `report.html`. Where torchrun started several processes, all
    of them call it; they share the work, the first of them writes and tells.

    Args:
        recipe: what to do.
        console: where progress is told; nothing is said without one.
        resume: go on from the newest whole checkpoint in the output folder, if there is one.

    Raises:
        ConfigError: a key or value of the recipe is wrong, or the output folder holds a finished run.
        DataError: the dataset does not fit the recipe or the model; or rows are bad, with the list of them.
        CheckpointError: the model cannot be loaded.
        StoppedError: SIGTERM asked for it during training; a checkpoint was saved.
    """
    from sightline.documents.dataset import Dataset
    from sightline.training.weights import save_from_main, with_whole_weights

    seconds: dict[str, float] = {}
    output = Path(recipe.output.dir)
    arguments = training_arguments(recipe, quiet=console is None or not console.is_terminal)
    ranks = meet(arguments)
    several = ranks if ranks.size > 1 else None
    console = console if ranks.is_main else None
    say = partial(console.print, markup=False, soft_wrap=True) if console is not None else _silent
    ranks.from_main(lambda: _check_output(recipe, output, resume), "checking the output folder")

    with _timed(seconds, "load"):
        dataset = Dataset.load(recipe.data.dataset)
        views = recipe.evaluated_fields
        facts = check_questions(dataset, recipe.evaluation.split)
        pairs = train_rows(recipe, dataset)
        encoder = load_encoder(recipe)
        check_views(encoder, [*recipe.trained_fields, *views])
        loss = build_loss(recipe, encoder)
    inherited = inherited_values(recipe, encoder, arguments)
    saved_dim = recipe.model.truncate_dim or encoder.truncate_dim
    encoder.truncate_dim = None  # the run measures every dimension
    lasting = dataclasses.replace(recipe, output=dataclasses.replace(recipe.output, overwrite=False))
    if ranks.is_main:
        dump_recipe(lasting, output / RESOLVED, inherited=inherited, note=f"Resolved from {recipe.source}.")
    say(f"{recipe.model.name}: {', '.join(encoder.modalities)}, {encoder.embedding_dim} dimensions")
    say(
        f"{len(pairs):,} pairs to train on; to measure with, {facts['questions']:,} questions over "
        f"{facts['pages']:,} pages of {facts['documents']:,} documents"
    )
    say("inherited: " + ", ".join(f"{key}={value}" for key, value in inherited.items()))

    outcome = Outcome(dataset, [], facts)
    dims = recipe.evaluated_dims
    split = recipe.evaluation.split
    with _timed(seconds, "evaluate before"):
        if recipe.evaluation.bm25 and ranks.is_main:
            say("measuring BM25 ...")
            outcome.rows.append(bm25_row(dataset, split))
        if recipe.evaluation.untuned:
            for view in views:
                say(f"measuring the untuned model, pages as {view} ...")
                row = encoder_row(encoder, dataset, view, split, name=UNTUNED, dims=dims, ranks=several)
                outcome.rows.append(row)

    with _timed(seconds, "train"):
        say("training ...")
        evaluator = None
        if arguments.eval_strategy != "no":
            evaluator = evaluator_for(dataset, views[0], split, dims=dims, show_progress=False)
        checkpoint = None
        if resume:
            checkpoint = ranks.from_main(Checkpoints(output / CHECKPOINTS).newest, "looking for a checkpoint")
        card = train_told(
            encoder, loss, pairs, arguments, evaluator=evaluator, console=console, checkpoint=checkpoint
        )

    with _timed(seconds, "evaluate after"):
        for view in views:
            say(f"measuring the fine-tuned model, pages as {view} ...")
            with with_whole_weights(encoder):
                row = encoder_row(encoder, dataset, view, split, name=TUNED, dims=dims, ranks=several)
            outcome.rows.append(row)

    model = output / MODEL
    encoder.truncate_dim = saved_dim
    save_from_main(encoder, model, ranks, card=card)
    encoder.name_or_path = str(model)  # an index built with it now is opened with what lies there
    facts |= {
        "model": recipe.model.name,
        "seconds": {name: round(spent, 1) for name, spent in seconds.items()},
    }
    report = output / REPORT if recipe.output.report else None
    if ranks.is_main:
        outcome.write(output / RESULTS)
        if report is not None:
            outcome.write_report(report)
    return RunResult(output, model, encoder, outcome, report, seconds)


def train_told(
    encoder: Encoder,
    loss: Loss,
    pairs: datasets.Dataset,
    arguments: TrainingArguments,
    *,
    evaluator: RetrievalEvaluator | None = None,
    console: Console | None = None,
    checkpoint: Path | None = None,
) -> str:
    """Train in place, telling ``console`` of it in our words; returns the model card.

    Raises:
        StoppedError: SIGTERM asked the run to stop; a checkpoint was saved.
    """
    from transformers import PrinterCallback, ProgressCallback

    from sightline.runs.progress import TrainingProgress
    from sightline.training.trainer import Trainer

    with TrainingProgress(console, evaluator.primary_metric if evaluator else None) as progress:
        trainer = Trainer(
            encoder,
            loss,
            train_dataset=pairs,
            args=arguments,
            evaluator=evaluator,
            callbacks=[progress],
            tell=None if console is None else partial(console.print, markup=False, soft_wrap=True),
        )
        for chatty in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(chatty)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.stopped:
        state = trainer.state
        raise StoppedError(
            f"Stopped by SIGTERM after step {state.global_step} of {state.max_steps}, which is saved; the same command "
            "with --resume goes on from there"
        )
    return trainer.card()


def load_encoder(recipe: Recipe) -> Encoder:
    """The model of `[model]`, at its full dimension."""
    from sightline.models.encoder import Encoder

    config = recipe.model
    model_kwargs = dict(config.model_kwargs)
    if config.attn_implementation is not None:
        model_kwargs["attn_implementation"] = config.attn_implementation
    processor_kwargs = dict(config.processor_kwargs)
    for name in ("min_pixels", "max_pixels"):
        value = getattr(config, name)
        if value is not None:
            processor_kwargs[name] = value
    encoder = Encoder.from_pretrained(
        config.name,
        device=config.device,
        dtype=config.dtype,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
        prompts=config.prompts,
        model_kwargs=model_kwargs,
        processor_kwargs=processor_kwargs,
    )
    wanted = [*(recipe.evaluated_dims or []), *([config.truncate_dim] if config.truncate_dim else [])]
    too_wide = [dim for dim in wanted if not 1 <= dim <= encoder.embedding_dim]
    if too_wide:
        raise ConfigError(
            f"{recipe.source}: {config.name} has {encoder.embedding_dim} dimensions; dims and truncate_dim "
            f"must lie between 1 and {encoder.embedding_dim}, not {', '.join(map(str, too_wide))}"
        )
    return encoder


def build_loss(recipe: Recipe, encoder: Encoder) -> Loss:
    """The loss of `[loss]`.

    Raises:
        ConfigError: the model compares embeddings in a way the loss does not know.
    """
    from sightline.losses.compose import Matryoshka
    from sightline.losses.contrastive import InfoNCE

    config = recipe.loss
    similarity: Any = config.similarity or encoder.similarity_fn_name
    try:
        loss: Loss = InfoNCE(config.temperature, symmetric=config.symmetric, similarity=similarity)
        if config.matryoshka is not None:
            loss = Matryoshka(loss, config.matryoshka.dims, config.matryoshka.weights)
    except ConfigError as error:
        raise ConfigError(f"{recipe.source}: [loss]: {error}") from None
    return loss


def train_rows(recipe: Recipe, dataset: Dataset) -> datasets.Dataset:
    """The pairs of `[data]`; with several views each pair once per view."""
    import datasets

    views, split = recipe.trained_fields, recipe.data.split
    if len(views) == 1:
        rows = dataset.train_rows(views[0], split)
    else:
        rows = datasets.concatenate_datasets(
            [_as_both(dataset.train_rows(view, split), view) for view in views]
        )
    if recipe.data.max_rows is not None:
        rows = rows.select(range(min(recipe.data.max_rows, len(rows))))
    return rows


def inherited_values(recipe: Recipe, encoder: Encoder, arguments: TrainingArguments) -> dict[str, Any]:
    """Dotted key -> value of what the recipe left out and this run takes from elsewhere."""
    values: dict[str, Any] = {}
    if recipe.model.dtype is None:
        values["model.dtype"] = str(encoder.dtype).removeprefix("torch.")
    if recipe.model.prompts is None and encoder.prompts:
        values["model.prompts"] = dict(encoder.prompts)
    if recipe.model.truncate_dim is None and encoder.truncate_dim is not None:
        values["model.truncate_dim"] = encoder.truncate_dim
    if recipe.loss.similarity is None:
        values["loss.similarity"] = encoder.similarity_fn_name
    given = recipe.training.given()
    for spec in dataclasses.fields(TrainingConfig):
        value = getattr(arguments, spec.name, None)
        value = getattr(value, "value", value)  # transformers keeps some as enums
        if spec.name not in given and isinstance(value, (bool, int, float, str)):
            values[f"training.{spec.name}"] = value
    if not recipe.evaluation.fields:
        values["evaluation.fields"] = recipe.evaluated_fields
    if not recipe.evaluation.dims and recipe.evaluated_dims:
        values["evaluation.dims"] = recipe.evaluated_dims
    return values


def _as_both(rows: datasets.Dataset, view: str) -> datasets.Dataset:
    """Rows of one view with the columns of the view "both", so that views can stand in one dataset."""
    import datasets

    if view == "both":
        return rows
    empty = {"text": None, "image": None}
    text = datasets.Value("string")
    return datasets.Dataset.from_dict(
        {
            "anchor": list(rows["anchor"]),
            "positive": [{**empty, view: value} for value in rows["positive"]],
        },
        features=datasets.Features({"anchor": text, "positive": {"text": text, "image": text}}),
    )


def _check_output(recipe: Recipe, output: Path, resume: bool) -> None:
    """Refuse to write over a run that was finished, or that could be resumed.

    Raises:
        ConfigError: saying what to do.
    """
    if resume:
        return
    if recipe.output.overwrite:
        # Else a later --resume would go on from a checkpoint of the run that is overwritten now.
        shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
        return
    if (output / RESULTS).exists():
        raise ConfigError(
            f"{output} holds a finished run; choose another output.dir, or add output.overwrite=true"
        )
    if newest_checkpoint(output):
        raise ConfigError(
            f"{output} holds checkpoints of an unfinished run; go on with --resume, choose another "
            "output.dir, or add output.overwrite=true"
        )


def newest_checkpoint(output: Path) -> str | None:
    """The checkpoint folder with the most steps, looked at no closer; None where there is none."""
    found = Checkpoints(output / CHECKPOINTS).all()
    return str(found[-1]) if found else None


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started


def _silent(*_: Any, **__: Any) -> None:
    """Where nobody listens."""
