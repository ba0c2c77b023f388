"""The engine behind `Trainer.training_step`: runs the step under the memory plan, survives a lack of memory, counts.

A step that runs out of memory is undone, and done again in smaller pieces under the same random state.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sightline.losses.base import Loss
from sightline.models.encoding_passes import at_most
from sightline.training.arguments import TrainingArguments
from sightline.training.compiling import compare, compile_layers, pass_over, uncompile_layers
from sightline.training.distributed import ALONE, Ranks
from sightline.training.frozen import FrozenVectors
from sightline.training.limits import Limits
from sightline.training.memory import peak_bytes, resident_bytes
from sightline.training.plan import Collate, MemoryPlan
from sightline.training.random_state import RandomState
from sightline.training.recovery import (
    Attempt,
    Undo,
    fits_alone,
    out_of_memory_in,
    too_large,
    too_large_held_out,
)
from sightline.training.samples import Sample
from sightline.training.step import Step, device_of, held_out, wanted
from sightline.training.weights import is_sharded
from sightline.training.window import LogWindow
from sightline.types import Batch

logger = logging.getLogger(__name__)

Rebuild = Callable[[Batch], Batch]


class Engine:
    """Runs training steps for one loss under one memory plan.

    Args:
        loss: what is minimised.
        args: the run's.
        limits: of micro-batches, as the processes that plan batches hold them.
        rebuild: makes a batch again, of the same rows, under the limits as they are now. Without it a batch
            that memory does not last for ends the run.
        tell: where the plan, what became of it and what else `say` is given is told; the log by default.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        loss: Loss,
        args: TrainingArguments,
        limits: Limits | None = None,
        *,
        rebuild: Rebuild | None = None,
        tell: Callable[[str], None] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.loss = loss
        self.args = args
        self.limits = args.limits if limits is None else limits
        self.ranks = ranks
        self._rebuild = rebuild
        self._tell = tell
        self._plan = MemoryPlan(args, self.limits, ranks.size)
        self._window = LogWindow()
        self._counted = time.perf_counter()  # up to when the window has counted its seconds
        self._steps = 0
        self._compiled: bool | None = None  # whether the layers run compiled; None before it is settled
        self._compiled_before: bool | None = None  # as the run that is resumed had settled it
        self._frozen = FrozenVectors()
        self._restored = False  # what may be kept is what an earlier process of the run chose
        self._last: tuple[Batch, int]  # as planned, and how many graphs were kept

    def prepare(
        self,
        model: nn.Module,
        collate: Collate,
        samples: Sequence[Sample],
        items_per_batch: int,
        items_in_all: int | None = None,
    ) -> None:
        """Measures and plans, before any batch is made, on all ranks; see `MemoryPlan.prepare`.

        ``items_in_all``, where it is known, tells how many vectors will be kept of what is frozen.
        """
        training = model.training
        model.train()
        with self.ranks.together("measuring what a forward pass takes"):
            self._plan.prepare(model, collate, samples, items_per_batch)
            if device_of(model).type == "cpu":  # elsewhere they lie in another memory than the plan is about
                typical = [collate([one.features], [0]) for one in samples if one.typical]
                expected = self._frozen.expected_bytes(model, typical, items_in_all, self.args.autocast)
                room = self._plan.set_aside(expected)
                if expected and not self._restored:
                    self._frozen.limit = room
        self.agree()
        model.train(training)

    def compile(self, model: nn.Module, collate: Collate, samples: Sequence[Sample] = ()) -> None:
        """Compiles the model's layers if the run asks for it and it helps; after `prepare`.

        A run that names a backend or a mode is taken at its word; else compiled layers are timed against those
        as they are. A resumed run goes on as it was settled.

        Args:
            model: on its device, in no wrapper.
            collate: the model's.
            samples: what is timed; without them the layers are compiled untimed.

        Raises:
            ConfigError: there is nothing to compile, or nothing to compile with.
        """
        args = self.args
        if not args.compiles or self._compiled is not None:
            return
        named = args.compile_backend or args.compile_mode
        self._compiled = bool(named) or self._compiled_before is not False
        if not self._compiled:
            return
        compile_layers(model, device=args.device, backend=args.compile_backend, mode=args.compile_mode)
        if named or self._compiled_before or not samples:
            return
        training = model.training
        found = compare(pass_over(model.train(), collate, samples, args.autocast, self.limits))
        model.train(training)
        # All ranks run the same code, or the slowest would keep the others waiting.
        self._compiled = all(self.ranks.exchange(found.helps, "comparing compiled layers"))
        if not self._compiled:
            uncompile_layers(model)
        self.say(
            f"torch_compile: a forward and backward pass takes {found.compiled:.3g} s compiled and {found.plain:.3g} s "
            "as it is: "
            + (
                "the layers run compiled"
                if self._compiled
                else "the layers stay as they are (a torch_compile_backend or torch_compile_mode compiles them anyway)"
            )
        )

    def step(
        self, model: nn.Module, batch: Batch, *, share: float, scale: float | Tensor, sync: bool
    ) -> dict[str, Tensor]:
        """Adds ``scale`` times the batch's gradients to the parameters.

        Args:
            model: maps a `MicroBatch` to `Embeddings`; may be wrapped.
            batch: on the CPU.
            share: the batch's share of an optimizer step, for the log.
            scale: factor of the gradients.
            sync: reduce gradients over the ranks.

        Returns:
            The loss's parts, detached and without ``scale``.

        Raises:
            TrainingError: memory does not last for the batch in the smallest pieces; names the item.
        """
        if not self._steps:
            self._counted = time.perf_counter()
        if not is_sharded(model):
            self._frozen.rest(model)
        undo = Undo.before(model)
        state = RandomState.of(device_of(model))
        while True:
            attempt = out_of_memory_in(partial(self._attempt, model, batch, scale=scale, sync=sync))
            if attempt.reason is None:
                break
            undo.restore(model)
            state.restore()
            self._make_smaller(model, attempt)
        batch, kept = self._last
        self._steps += 1
        twice = sum(not self._frozen.covers(one, self.args.autocast) for one in wanted(batch)[kept:])
        self._window.add(attempt.result, batch, twice=twice, share=share)
        if self._steps == 1:
            device = device_of(model)
            self.say(
                f"Memory after the first step: peak {peak_bytes(device) / 1e9:.2f} GB "
                f"(expected {self._plan.peak(batch, kept) / 1e9:.2f} GB with the optimizer)"
            )
            self._device = device
        return attempt.result

    def held_out(
        self, model: nn.Module, batch: Batch, rebuild: Callable[[Batch], Batch]
    ) -> dict[str, Tensor]:
        """The loss's parts on held-out rows, in smaller micro-batches where memory does not last.

        Args:
            model: in evaluation mode.
            batch: on the CPU.
            rebuild: makes it again, of the same rows, under the limits as they are now.

        Raises:
            TrainingError: memory does not last for it in the smallest pieces; names the item.
        """
        autocast = self.args.autocast
        while True:
            batch = batch if self._plan.is_within(batch) else rebuild(batch)
            attempt = out_of_memory_in(partial(held_out, model, batch, self.loss, autocast=autocast))
            if attempt.reason is None:
                return attempt.result
            if all(len(one) == 1 for one in batch.micro_batches):
                item_fits = fits_alone(model, batch, autocast, graph=False)
                raise too_large_held_out(batch, attempt.reason, item_fits=item_fits)
            self._plan.shrink_limits(batch)
            self.say(
                f"Out of memory with held-out rows in {len(batch.micro_batches):,} micro-batches ({attempt.reason}). "
                f"They and all that follow have at most {self.limits.token_budget:,} tokens per micro-batch.",
                logging.WARNING,
            )

    def logs(self) -> dict[str, float]:
        """Means per optimizer step since the last call, and memory.

        ``peak_gb`` is the most that the device held (on the CPU: this process), ``rss_gb`` what the process holds now,
        in units of 10**9 bytes.
        """
        self._count_seconds()
        means = self._window.means()
        self._window = LogWindow()
        if self._steps:
            if self._frozen.reused:
                means["reused"], self._frozen.reused = self._frozen.reused, 0
            means["peak_gb"] = round(peak_bytes(self._device) / 1e9, 3)
            means["rss_gb"] = round(resident_bytes() / 1e9, 3)
        return means

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What happens inside is no training: its time does not count for the throughput.

        What encodes there keeps to the plan's budget, where memory is short.
        """
        self._count_seconds()
        try:
            with at_most(self._plan.encoding_tokens):
                yield
        finally:
            self._counted = time.perf_counter()

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self._window.seconds += now - self._counted
        self._counted = now

    def state(self) -> dict[str, Any]:
        """What decides the micro-batches, and so the order in which numbers are added; for a checkpoint.

        Whether a frozen vector is kept or computed again, in other company, is to be seen in its last bits, as is
        whether layers run compiled. The same on every rank, after `agree`.
        """
        compiled = {} if self._compiled is None else {"compiled": self._compiled}
        return self._plan.state() | {"frozen_bytes": self._frozen.limit} | compiled

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up the plan that `state` told of, whatever memory is free now."""
        if state:
            self.limits.set(state["token_budget"], state["max_items"])
            if "frozen_bytes" in state:  # not in checkpoints of earlier versions
                self._frozen.limit = state["frozen_bytes"]
                self._restored = True
            self._compiled_before = state.get("compiled")

    def save(self, folder: Path) -> None:
        """Writes what `state` has no room for into a checkpoint."""
        self._frozen.save(folder)

    def load(self, folder: Path) -> None:
        """Takes up what `save` wrote."""
        self._frozen.load(folder)

    def _attempt(
        self, model: nn.Module, batch: Batch, *, scale: float | Tensor, sync: bool
    ) -> dict[str, Tensor]:
        self._last = batch, 0
        with self.ranks.together("planning the step"):
            if self._rebuild is not None and not self._plan.is_within(batch):
                batch = self._rebuild(batch)
                self._last = batch, 0
            kept = self._plan.kept(model, batch)
        self._last = batch, kept
        if not self._steps:
            self.say(self._plan.line(batch, kept))
        step = Step(kept, self.args.autocast, self.ranks, self._frozen)
        return step.run(model, batch, self.loss, scale=scale, sync=sync)

    def _make_smaller(self, model: nn.Module, attempt: Attempt) -> None:
        """Halves the budgets after a lack of memory on any rank; all of them call it.

        Raises:
            TrainingError: there is nothing left to halve.
        """
        batch, kept = self._last
        assert attempt.reason is not None
        single = all(len(one) == 1 for one in batch.micro_batches) or self._rebuild is None
        keeps_all = self.args.step_mode == "direct"  # whatever room there is
        with self.ranks.together("looking for a smaller step"):
            if single and (keeps_all or not kept) and not attempt.elsewhere:
                item_fits = not batch.micro_batches or fits_alone(model, batch, self.args.autocast)
                raise too_large(batch, attempt.reason, item_fits=item_fits, keeps_all=keeps_all)
            if batch.micro_batches:
                self._plan.shrink(batch, kept)
        self.agree()
        self.say(
            f"Out of memory with {len(batch.micro_batches):,} micro-batches, {kept:,} of them kept "
            f"({attempt.reason}). The step is done again, as all that follow, with at most "
            f"{self.limits.token_budget:,} tokens per micro-batch and {(self._plan.room or 0) / 1e9:.2f} GB "
            "for graphs.",
            logging.WARNING,
        )

    def agree(self) -> None:
        """All ranks go on with the smallest limits of any, so that those of a checkpoint are everybody's."""
        limits = self.limits.token_budget, self.limits.max_items
        told = self.ranks.exchange((*limits, self._frozen.limit), "agreeing on limits")
        tokens, items, frozen = (
            [one for one in found if one is not None] for found in zip(*told, strict=True)
        )
        self.limits.set(min(tokens, default=None), min(items, default=None))
        self._frozen.limit = min(frozen)

    def say(self, line: str, level: int = logging.INFO) -> None:
        """Tells a person something about the run, and the log."""
        # A command line shows the log as well; it should not show the plan twice.
        quiet = self._tell is not None and level < logging.WARNING
        logger.log(logging.DEBUG if quiet else level, line)
        if self._tell is not None:
            self._tell(line)
