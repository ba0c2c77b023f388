"""A recipe, run from end to end: load, measure, train, measure again, save."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.config.load import dump_recipe
from sightline.config.recipe import Recipe, TrainingConfig
from sightline.errors import ConfigError, DataError, StoppedError
from sightline.evaluation.background import Background, remarks_of
from sightline.evaluation.saved import made_with
from sightline.files import write_json
from sightline.runs import lora
from sightline.runs.check import check_material, headlines, stopping
from sightline.runs.encoders import load_guide
from sightline.runs.first_search import FIRST_SEARCH
from sightline.runs.losses import loss_class
from sightline.runs.material import Material, material_of
from sightline.runs.more import counted
from sightline.runs.outcome import Outcome
from sightline.runs.settings import CHECKPOINTS, meet, training_arguments
from sightline.runs.subjects import Subject, subject_of
from sightline.training.saving import Checkpoints

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.evaluation.rows import Row
    from sightline.losses.base import Loss
    from sightline.models.card_results import SystemResult
    from sightline.models.encoder import Encoder
    from sightline.training.arguments import TrainingArguments
    from sightline.training.card import CardFacts
    from sightline.training.distributed import Ranks
    from sightline.training.trainer import Evaluator

RESOLVED, RESULTS, REPORT, MODEL = "resolved.toml", "results.json", "report.html", "final"
CHECKED = "check.json"
UNTUNED, TUNED = "untuned", "fine-tuned"


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        output: the run's folder.
        model: the folder of the fine-tuned model.
        encoder: the fine-tuned model itself, an encoder or a reranker.
        outcome: the table: BM25, untuned, fine-tuned.
        report: the HTML report, None where the recipe wanted none.
        seconds: wall-clock time by stage.
        further: what was found on further tables, by their names.
    """

    output: Path
    model: Path
    encoder: Any
    outcome: Outcome
    report: Path | None
    seconds: Mapping[str, float]
    further: Mapping[str, Outcome] = dataclasses.field(default_factory=dict)


def run_recipe(
    recipe: Recipe, *, console: Console | None = None, resume: bool = False, check: bool = True
) -> RunResult:
    """Train as `recipe` says and measure before and after.

    Writes into `recipe.output.dir`: `check.json` (what the data doctor found) and `resolved.toml` before the first
    step; checkpoints as the recipe says; then the model in `final/`, `results.json` and `report.html`. Where torchrun
    started several processes, all of them call it; they share the work, the first of them writes and tells.

    Args:
        recipe: what to do.
        console: where progress is told; nothing is said without one.
        resume: go on from the newest whole checkpoint in the output folder, if there is one.
        check: let the data doctor look at the data first; see `runs.check`.

    Raises:
        ConfigError: a key or value of the recipe is wrong, or the output folder holds a finished run.
        DataError: the dataset does not fit the recipe or the model; the doctor finds errors in it; or rows are bad,
            with the list of them.
        CheckpointError: the model cannot be loaded.
        StoppedError: SIGTERM asked for it during training; a checkpoint was saved.
    """
    from sightline.evaluation.storage import hardware
    from sightline.training.card import story_of
    from sightline.training.weights import with_whole_weights

    seconds: dict[str, float] = {}
    findings: dict[str, Any] | None = None
    output = Path(recipe.output.dir)
    arguments = training_arguments(recipe, quiet=console is None or not console.is_terminal)
    loss_class(recipe)  # a name that is wrong is told before anything is opened
    ranks = meet(arguments)
    several = ranks if ranks.size > 1 else None
    console = console if ranks.is_main else None
    say = partial(console.print, markup=False, soft_wrap=True) if console is not None else _silent
    ranks.from_main(lambda: _check_output(recipe, output, resume), "checking the output folder")

    with _timed(seconds, "load"):
        material = material_of(recipe)
    if check and not resume:
        with _timed(seconds, "check"):
            lines, findings = ranks.from_main(lambda: _checked(recipe, material), "checking the data")
            for line in lines:
                say(line)
    with _timed(seconds, "load"):
        subject = subject_of(recipe, material, seed=arguments.seed, ranks=several)
        rows, guide = subject.rows(), load_guide(recipe)
        _check_needs(subject, rows, arguments, guide, ranks)
    inherited = {**subject.inherited(), **_inherited_arguments(recipe, arguments)}
    lasting = dataclasses.replace(recipe, output=dataclasses.replace(recipe.output, overwrite=False))
    if ranks.is_main:
        if findings is not None:
            write_json(output / CHECKED, findings)
        elif not resume:
            (output / CHECKED).unlink(missing_ok=True)  # of a run that is overwritten
        dump_recipe(lasting, output / RESOLVED, inherited=inherited, note=f"Resolved from {recipe.source}.")
    say(subject.told())
    say(f"{counted(rows)} to train on; to measure with, {material.measured_on}")
    say("inherited: " + ", ".join(f"{key}={value}" for key, value in inherited.items()))

    facts = dict(material.facts)
    outcome = Outcome(material.title, [], facts, material.thumbnail)
    further = {
        name: Outcome(one.title, [], dict(one.facts), one.thumbnail) for name, one in subject.further.items()
    }
    with _timed(seconds, "evaluate before"):
        if recipe.evaluation.bm25 and ranks.is_main and (baseline := material.baseline()) is not None:
            say("measured BM25")
            outcome.rows.append(baseline)
        if recipe.evaluation.untuned:
            for view in material.views:
                say(f"measuring the untuned model{_seen_as(view)} ...")
                outcome.rows.append(subject.row(view, UNTUNED, several))
            for name, its in further.items():
                say(f"measuring the untuned model on {name!r} ...")
                its.rows.append(subject.row("", UNTUNED, several, further=name))

    with _timed(seconds, "train"):
        say("training ...")
        evaluator = None if arguments.eval_strategy == "no" else subject.evaluator()
        checkpoint = None
        if resume:
            checkpoint = ranks.from_main(Checkpoints(output / CHECKPOINTS).newest, "looking for a checkpoint")
        told = train_told(
            subject.model,
            subject.loss,
            rows,
            arguments,
            evaluator=evaluator,
            guide=guide,
            console=console,
            checkpoint=checkpoint,
        )

    with _timed(seconds, "evaluate after"):
        for view in material.views:
            say(f"measuring the fine-tuned model{_seen_as(view)} ...")
            with with_whole_weights(subject.model):
                outcome.rows.append(subject.row(view, TUNED, several))
        for name, its in further.items():
            say(f"measuring the fine-tuned model on {name!r} ...")
            with with_whole_weights(subject.model):
                its.rows.append(subject.row("", TUNED, several, further=name))

    with _timed(seconds, "save"):
        subject.model.story = story_of(
            dataclasses.replace(
                told,
                data=material.name,
                results=[_shown(row) for row in outcome.rows]
                + [_shown(row, name) for name, its in further.items() for row in its.rows],
                measured_on=f"{material.measured_on} ({material.title})",
            )
        )
        model = _save(recipe, subject, ranks, say)
    facts |= {
        **made_with(),
        "fingerprint": material.fingerprint,
        "hardware": hardware(str(arguments.device)),
        "model": recipe.model.name or dict(recipe.model.routes or {}),
        "seconds": {name: round(spent, 1) for name, spent in seconds.items()},
        **_searched(outcome),
    }
    report = output / REPORT if recipe.output.report else None
    if ranks.is_main:
        outcome = dataclasses.replace(outcome, background=_background(output, told))
        outcome.write(output / RESULTS)
        if report is not None:
            outcome.write_report(report)
        for name, its in further.items():
            own = {**facts, **its.facts, **_searched(its), "fingerprint": subject.further[name].fingerprint}
            its = further[name] = dataclasses.replace(its, facts=own, background=outcome.background)
            its.write(output / f"results-{name}.json")
            if report is not None:
                its.write_report(output / f"report-{name}.html")
    return RunResult(output, model, subject.model, outcome, report, seconds, further)


def _background(output: Path, told: CardFacts) -> Background:
    """How the model was made; a run that was resumed finds there what was checked before it began."""
    checked = output / CHECKED
    findings = json.loads(checked.read_text("utf-8")) if checked.is_file() else None
    return Background(
        log=told.log_history,
        metric="" if told.primary_metric is None else f"eval_{told.primary_metric}",
        recipe=(output / RESOLVED).read_text("utf-8", errors="surrogateescape"),
        remarks=None if findings is None else remarks_of(findings["findings"]),
    )


def _checked(recipe: Recipe, material: Material) -> tuple[list[str], dict[str, Any]]:
    """What the data doctor has to say, and all it found, as JSON.

    Raises:
        DataError: it finds errors.
    """
    diagnosis = check_material(recipe, material).diagnosis
    if errors := stopping(recipe, diagnosis):
        raise DataError(errors)
    return headlines(recipe, diagnosis), diagnosis.to_json()


def _check_needs(
    subject: Subject, rows: Any, arguments: TrainingArguments, guide: Encoder | None, ranks: Ranks
) -> None:
    """Whether the data has what the loss needs: what measuring the model first should not delay.

    Raises:
        DataError, ConfigError: it has not.
    """
    from sightline.training.source import RowSource
    from sightline.training.streams import read_training

    training = read_training(rows, arguments.streams)
    source = RowSource(
        subject.model, subject.loss, arguments, training, guide=guide, shows_progress=False, ranks=ranks
    )
    for one in training.values():
        source.check_needs(one)


def _save(recipe: Recipe, subject: Subject, ranks: Ranks, say: Callable[..., None]) -> Path:
    """The final model on the disk, and on the Hub where the recipe says so."""
    from sightline.checkpoint.upload import Repository
    from sightline.training.weights import save_from_main

    folder, output = Path(recipe.output.dir) / MODEL, recipe.output
    subject.settle()
    save_from_main(subject.model, folder, ranks, verify=output.verify, **subject.saving())
    lora.settle(recipe, subject.model)
    subject.model.name_or_path = str(folder)  # an index built with it now is opened with what lies there
    if output.push_to_hub is not None and ranks.is_main:
        say(f"uploaded: {Repository(output.push_to_hub, exist_ok=True).upload(folder)}")
    return folder


def _searched(outcome: Outcome) -> dict[str, Any]:
    """What a reranker was given to put into order, for the report."""
    found = outcome.rows[-1].result.facts
    return {FIRST_SEARCH: found[FIRST_SEARCH]} if FIRST_SEARCH in found else {}


def _shown(row: Row, further: str = "") -> SystemResult:
    """A row of the table, or of that of a further table, as the model card shows it."""
    from sightline.models.card_results import FULL, SystemResult

    by_dim = {str(dim): found.mean for dim, found in row.result.by_dim.items()}
    return SystemResult(
        row.name, further or row.fields, by_dim or {FULL: row.result.scores.mean}, trained=row.name == TUNED
    )


def _seen_as(view: str) -> str:
    return f", pages as {view}" if view else ""


def train_told(
    model: Any,
    loss: Loss,
    rows: Any,
    arguments: TrainingArguments,
    *,
    evaluator: Evaluator | None = None,
    guide: Encoder | None = None,
    console: Console | None = None,
    checkpoint: Path | None = None,
) -> CardFacts:
    """Train in place, telling ``console`` of it in our words; returns what the model card is to tell.

    Raises:
        StoppedError: SIGTERM asked the run to stop; a checkpoint was saved.
    """
    from transformers import PrinterCallback, ProgressCallback

    from sightline.runs.progress import TrainingProgress
    from sightline.training.trainer import Trainer

    with TrainingProgress(console, evaluator.primary_metric if evaluator else None) as progress:
        trainer = Trainer(
            model,
            loss,
            train_dataset=rows,
            args=arguments,
            evaluator=evaluator,
            guide=guide,
            callbacks=[progress],
            tell=None if console is None else partial(console.print, markup=False, soft_wrap=True),
        )
        for chatty in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(chatty)
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except StoppedError:
            state = trainer.state
            raise StoppedError(
                f"Stopped by SIGTERM after step {state.global_step} of {state.max_steps}, which is saved; the same "
                "command with --resume goes on from there"
            ) from None
    return trainer.card_facts()


def _inherited_arguments(recipe: Recipe, arguments: TrainingArguments) -> dict[str, Any]:
    """Dotted key -> value of what `[training]` leaves out."""
    values: dict[str, Any] = {}
    given = recipe.training.given()
    for spec in dataclasses.fields(TrainingConfig):
        value = getattr(arguments, spec.name, None)
        value = getattr(value, "value", value)  # transformers keeps some as enums
        if spec.name not in given and isinstance(value, (bool, int, float, str)):
            values[f"training.{spec.name}"] = value
    return values


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
    seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - started


def _silent(*_: Any, **__: Any) -> None:
    """Where nobody listens."""
