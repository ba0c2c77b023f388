"""Training runs in processes of their own, which die where a test says; all forked from one that has imported."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
import transformers

from sightline.errors import StoppedError
from sightline.losses.compose import Matryoshka
from sightline.losses.contrastive import InfoNCE
from sightline.models.encoder import Encoder
from sightline.training import plan
from sightline.training.arguments import TrainingArguments
from sightline.training.saving import UNFINISHED
from sightline.training.trainer import Trainer
from support.processes import forks

WORDS = [
    "annual",
    "report",
    "revenue",
    "region",
    "table",
    "costs",
    "north",
    "plant",
    "pump",
    "valve",
    "gauge",
]
# 22 rows in batches of 4, two to a step: 3 steps an epoch, the last of one whole and one half batch.
ROWS = [
    {
        "anchor": f"how many {WORDS[n % 11]} {n}",
        "positive": " ".join(WORDS[n % 5 : n % 5 + n % 9 + 1]) + f" {n}",
        "negative": f"{WORDS[(n + 4) % 11]} of {n * 7}",
    }
    for n in range(22)
]
HELD_OUT = ROWS[3:9]
EPOCHS, STEPS = 2, 6
# What each process is taken to hold before it starts, and what it may take by the memory plan, which measures what a
# forward pass takes beside that: enough for two small micro-batches, their graphs kept. With less, none is kept.
HELD = 10**9
BUDGET, LESS = (int((HELD + more) / plan.BUDGET_SHARE) for more in (1_000_000, 600_000))


@dataclass(frozen=True)
class Run:
    """One process: what it trains with, and how it is to end.

    Attributes:
        output: the trainer's output folder; ``final.pt`` in it holds the weights of a run that ended.
        model: folder of the checkpoint it starts from.
        resume: given to `Trainer.train`.
        at: number of the callback event, from 1, at which ``signal`` is sent; 0 for never.
        signal: to itself, or to its whole group.
        group: send it to all processes of the run, the workers too.
        options: of `TrainingArguments`, beyond those that all runs share.
    """

    output: Path
    model: Path
    resume: bool | str = False
    at: int = 0
    signal: signal.Signals = signal.SIGKILL
    group: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> Path:
        return self.output / "final.pt"

    def weights(self) -> dict[str, torch.Tensor]:
        return torch.load(self.final)

    def start(self, work: Callable[[Run], None] | None = None) -> int:
        """Runs it to its end in a process; the exit code, negative for a signal."""
        process = forks().Process(target=_guarded, args=(work or train, self))
        process.start()
        process.join(100)
        if process.exitcode is None:
            process.kill()
            raise AssertionError("the run hangs")
        return process.exitcode

    def again(self, **changes: Any) -> Run:
        return replace(self, **{"resume": True, "at": 0} | changes)

    @property
    def said(self) -> str:
        """What the last process said: warnings of ours and its error."""
        return (self.output / "said.txt").read_text()


def train(run: Run, kind: type[Trainer] = Trainer) -> None:
    """One training run, as a person's script does it."""
    plan.used_bytes = lambda device: HELD  # what a process really holds is never the same twice
    encoder = Encoder.from_pretrained(run.model, device="cpu")
    trainer = kind(
        encoder,
        Matryoshka(InfoNCE(0.05), (32, 16)),
        train_dataset=ROWS,
        eval_dataset=HELD_OUT,
        args=arguments(run),
        callbacks=[SignalAt(run)],
    )
    try:
        trainer.train(resume_from_checkpoint=run.resume)
    except StoppedError as error:
        assert trainer.stopped
        print(error, file=sys.stderr)
        raise SystemExit(143) from None
    torch.save(encoder.state_dict(), run.final)


def arguments(run: Run) -> TrainingArguments:
    """What all runs have in common: dropout (the model's own), accumulation, evaluations, workers, a memory plan."""
    options = {
        "num_train_epochs": EPOCHS, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2,
        "learning_rate": 3e-3, "warmup_steps": 2, "save_steps": 2, "eval_strategy": "epoch", "logging_steps": 1,
        "dataloader_num_workers": 2, "memory_budget": BUDGET, "disable_tqdm": True, "report_to": "none",
    }  # fmt: skip
    return TrainingArguments(output_dir=str(run.output), **options | dict(run.options))


class SignalAt(transformers.TrainerCallback):
    """Counts the trainer's events and sends the signal at one of them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.seen = 0

    def _count(self, *_: Any, **__: Any) -> None:
        self.seen += 1
        if self.seen == self.run.at:
            who = os.getpgid(0) if self.run.group else os.getpid()
            (os.killpg if self.run.group else os.kill)(who, self.run.signal)

    on_train_begin = on_epoch_begin = on_step_begin = on_substep_end = on_pre_optimizer_step = _count
    on_optimizer_step = on_step_end = on_evaluate = on_save = on_log = on_epoch_end = _count


class ProbedTrainer(Trainer):
    """Tries the second save again and again, killed at its first file operation, at its second, and so on.

    Each try happens in a fork; the folder is put back before the next. What every try left is found in
    ``<output>-tries/<number>``.
    """

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        output = self._checkpoints.folder
        tries = output.with_name(f"{output.name}-tries")
        if not self._checkpoints.all():
            super()._save_checkpoint(model, trial)
            shutil.copytree(output, tries / "before", copy_function=os.link)
            return
        for number in itertools.count(1):
            child = os.fork()
            if not child:
                die_at(number)
                try:
                    super()._save_checkpoint(model, trial)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code in (0, -signal.SIGKILL), "the save failed"
            os.rename(output, tries / str(number))
            shutil.copytree(tries / "before", output, copy_function=os.link)
            if code == 0:
                os._exit(0)


def probe(run: Run) -> None:
    train(run, ProbedTrainer)


def replace_a_model(run: Run) -> None:
    """Writes other weights over the model in the output folder, killed at every operation until one try succeeds."""
    encoder = Encoder.from_pretrained(run.model, device="cpu")
    folder = run.output / "model"
    for number in itertools.count(1):
        shutil.rmtree(folder, ignore_errors=True)
        encoder.save_pretrained(folder, verify=False)
        child = os.fork()
        if not child:
            die_at(number)
            with torch.no_grad():
                next(encoder.parameters()).add_(1.0)
            encoder.save_pretrained(folder, verify=False)
            os._exit(0)
        killed = os.waitpid(child, 0)[1] != 0
        left = next(Encoder.from_pretrained(folder, device="cpu").parameters()) - next(encoder.parameters())
        found = {round(float(value), 4) for value in left.detach().unique()}
        assert found in ([{1.0}, {0.0}] if killed else [{1.0}]), f"{found} after {number} operations"
        if not killed:
            assert number > 5
            return


def die_at(number: int) -> None:
    """Kills this process before its ``number``-th sync or renaming, of which every file and folder has some."""
    count = itertools.count(1)

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in ("rename", "replace", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    os.fsync = counted(lambda handle: None)  # what only a power cut would show takes time


def train_on_a_full_disk(run: Run) -> None:
    """No file may grow beyond 20 kB, which the first weights do."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    train(run)


def train_until_the_disk_is_full(run: Run) -> None:
    """The disk is found to be full when the second checkpoint is synced, as network disks tell it."""
    real = os.fsync

    def full(handle: int) -> None:
        if (run.output / UNFINISHED / "checkpoint-4").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    os.fsync = full  # type: ignore[assignment]
    train(run)


def _guarded(work: Callable[[Run], None], run: Run) -> None:
    run.output.mkdir(parents=True, exist_ok=True)
    if run.group:
        os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # for its workers, which would inherit "forkserver"
    torch.set_num_threads(1)
    with suppress(RuntimeError):
        torch.set_num_interop_threads(1)
    said = open(run.output / "said.txt", "w")  # noqa: SIM115
    os.dup2(said.fileno(), 2)
    try:
        work(run)
    except Exception:
        traceback.print_exc()
        os._exit(1)
