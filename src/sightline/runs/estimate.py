"""What a recipe's training would take of time and memory, from a few of its own steps."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from sightline.config.recipe import Recipe
from sightline.documents.doctor.findings import Case
from sightline.errors import TrainingError
from sightline.runs.encoders import load_guide
from sightline.runs.material import Material
from sightline.runs.settings import training_arguments
from sightline.runs.subjects import subject_of
from sightline.training.memory import peak_bytes
from sightline.training.trainer import Trainer

# Steps that are run; the first one warms up and is not counted.
STEPS = 6
# Fewer are run where they take longer than that together, but two at least.
SECONDS = 60.0
# Student's t for 95 % on both sides, by degrees of freedom.
_STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78}


@dataclass
class _Clock(TrainerCallback):  # type: ignore[misc]
    """Ends training after some steps, and notes when each of them ended."""

    ends: list[float] = field(default_factory=list)
    plan: str = ""
    total: int = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.ends.append(time.monotonic())
        self.total = state.max_steps
        spent = self.ends[-1] - self.ends[0]
        control.should_training_stop = len(self.ends) >= STEPS or (len(self.ends) > 2 and spent > SECONDS)
        return control

    def tell(self, line: str) -> None:
        if line.startswith("Memory plan"):
            self.plan = line.removeprefix("Memory plan: ")


def estimated(recipe: Recipe, material: Material) -> Iterator[Case]:
    """Trains a few steps as the recipe says, in memory only, and tells what all of them would take.

    Raises:
        CheckpointError, ConfigError, DataError: as training itself.
    """
    try:
        yield from _measured(recipe, material)
    except TrainingError as error:
        yield Case("estimate", "time and memory", f"not measured: {error}")


def _measured(recipe: Recipe, material: Material) -> Iterator[Case]:
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(_short(recipe, folder), quiet=True)
        subject = subject_of(recipe, material, seed=arguments.seed)
        trainer = Trainer(
            subject.model,
            subject.loss,
            train_dataset=subject.rows(),
            args=arguments,
            guide=load_guide(recipe),
            callbacks=[clock],
            tell=clock.tell,
        )
        for chatty in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(chatty)
        trainer.train()
        peak = peak_bytes(arguments.device)
    where = f"{clock.total:,} steps on {arguments.device}"
    yield Case("estimate", where, told_time(clock.ends, clock.total))
    yield Case("estimate", "memory", f"{peak / 1e9:.2f} GB at most in {len(clock.ends)} steps; {clock.plan}")


def _short(recipe: Recipe, folder: str) -> Recipe:
    """The recipe without what only a whole run has: evaluation, checkpoints, trackers."""
    training = recipe.training
    kept = {
        name: value
        for name, value in training.others.items()
        if not name.startswith(("eval", "save", "load_best", "metric"))
    }
    plain = dataclasses.replace(
        training,
        eval_strategy="no",
        eval_steps=None,
        save_strategy="no",
        report_to="none",
        others={**kept, "check_data": False, "disable_tqdm": True},
    )
    return dataclasses.replace(recipe, training=plain, output=dataclasses.replace(recipe.output, dir=folder))


def told_time(ends: Sequence[float], total: int) -> str:
    """The time of all steps, with its interval, from the ends of the first ones in seconds.

    Steps differ, and the interval says by how much their mean may be off: it is Student's, of 95 %.
    """
    steps = [later - earlier for earlier, later in pairwise(ends)]
    if not steps:
        return "too few steps to estimate the time of one"
    mean = statistics.fmean(steps)
    if len(steps) < 2:
        return f"estimated {_spoken(mean * total)}, from one step of {mean:.2f} s"
    margin = _STUDENT.get(len(steps) - 1, 2.6) * statistics.stdev(steps) / math.sqrt(len(steps))
    low, high = max(min(steps), mean - margin) * total, (mean + margin) * total
    return (
        f"estimated {_spoken(mean * total)} of training ({_spoken(low)} to {_spoken(high)}, 95 %), "
        f"from {len(steps)} measured steps of {mean:.2f} s; measuring before and after is not in it"
    )


def _spoken(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6_000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
