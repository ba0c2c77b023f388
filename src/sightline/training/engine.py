"""The engine behind `Trainer.training_step`: chooses how many graphs to keep, runs the step, counts what it did."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor, nn

from sightline.losses.base import Loss
from sightline.training.arguments import TrainingArguments
from sightline.training.memory import GraphBudget
from sightline.training.step import Step
from sightline.training.window import LogWindow
from sightline.types import Batch

logger = logging.getLogger(__name__)


class Engine:
    """Runs training steps for one loss under one memory plan.

    Args:
        loss: what is minimised.
        args: the run's.
    """

    def __init__(self, loss: Loss, args: TrainingArguments) -> None:
        self.loss = loss
        self.args = args
        self._window = LogWindow()
        self._graphs = GraphBudget(autocast=args.autocast)
        self._planned = False

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
        """
        kept = self._kept(model, batch)
        parts = Step(kept, self.args.autocast).run(model, batch, self.loss, scale=scale, sync=sync)
        self._window.add(parts, batch, kept=kept, share=share)
        return parts

    def logs(self) -> dict[str, float]:
        """Means per optimizer step since the last call."""
        means = self._window.means()
        self._window = LogWindow()
        return means

    def state(self) -> dict[str, Any]:
        """What decides the micro-batches, and so the order in which numbers are added; for a checkpoint."""
        limits = self.args.limits
        return {"token_budget": limits.token_budget, "max_items": limits.max_items}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up the plan that `state` told of, whatever memory is free now."""
        if state:
            self.args.limits.set(state["token_budget"], state["max_items"])

    def _kept(self, model: nn.Module, batch: Batch) -> int:
        if self.args.step_mode != "auto":
            return len(batch.micro_batches) if self.args.step_mode == "direct" else 0
        kept = self._graphs.kept(model, batch)
        if not self._planned:
            self._planned = True
            logger.info(
                "Step plan: %d items in %d forward passes, %d graphs kept, %d passes run twice; "
                "%.1f GB for graphs, up to %.0f kB per token",
                batch.num_items, len(batch.micro_batches), kept, len(batch.micro_batches) - kept,
                (self._graphs.bytes_free or 0) / 1e9, max(self._graphs.bytes_per_position.values()) / 1e3,
            )  # fmt: skip
        return kept
