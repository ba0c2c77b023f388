"""A step that ran out of memory: undone, so that it can be done again in smaller pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sightline.errors import TrainingError
from sightline.models.out_of_memory import is_out_of_memory, reason_of, recover
from sightline.training.distributed import PeerError
from sightline.training.memory import positions
from sightline.training.random_state import RandomState
from sightline.training.step import device_of, forward
from sightline.types import Batch


@dataclass(frozen=True)
class Undo:
    """The gradients as they were before a step: none, but for batches accumulated earlier.

    Those are copied, because the step adds to them in place.
    """

    gradients: dict[str, Tensor]

    @staticmethod
    def before(model: nn.Module) -> Undo:
        """What `restore` gives back."""
        return Undo(
            {
                name: weight.grad.clone()
                for name, weight in model.named_parameters()
                if weight.grad is not None
            }
        )

    def restore(self, model: nn.Module) -> None:
        """Takes back what was added since."""
        for name, weight in model.named_parameters():
            before = self.gradients.get(name)
            if before is None or weight.grad is None:
                weight.grad = None if before is None else before.clone()
            else:
                weight.grad.copy_(before)


@dataclass(frozen=True)
class Attempt:
    """How a step went.

    Attributes:
        result: the loss's parts, if it went well.
        reason: the first line of what the allocator said, if it did not.
        elsewhere: another rank ran out of memory, not this one.
    """

    result: dict[str, Tensor] = field(default_factory=dict)
    reason: str | None = None
    elsewhere: bool = False


def out_of_memory_in(step: Callable[[], dict[str, Tensor]]) -> Attempt:
    """Runs a step; a lack of memory, here or on another rank, is told of instead of raised.

    When it returns, nothing holds the step's tensors any more.
    """
    try:
        return Attempt(step())
    except Exception as error:
        elsewhere = isinstance(error, PeerError) and error.out_of_memory
        if not elsewhere and not is_out_of_memory(error):
            raise
        reason = reason_of(error)
    recover(reason)
    return Attempt(reason=reason, elsewhere=elsewhere)


def fits_alone(model: nn.Module, batch: Batch, autocast: torch.dtype | None, *, graph: bool = True) -> bool:
    """Whether the costliest micro-batch can be embedded, with a graph also sent back; leaves no gradients."""
    largest = max(batch.micro_batches, key=positions)
    undo, state = Undo.before(model), RandomState.of(device_of(model))

    def attempt() -> dict[str, Tensor]:
        with torch.set_grad_enabled(graph):
            values = forward(model, largest, autocast).values
        if values.requires_grad:
            values.backward(torch.zeros_like(values))
        return {}

    fits = out_of_memory_in(attempt).reason is None
    undo.restore(model)
    state.restore()
    return fits


def too_large(batch: Batch, reason: str, *, item_fits: bool, keeps_all: bool = False) -> TrainingError:
    """The error for a batch that does not fit with one item at a time.

    Args:
        batch: in micro-batches of one item, or as small as they can be made.
        reason: what the allocator said.
        item_fits: whether the costliest item fits alone, with its graph.
        keeps_all: whether every graph was kept; else none was.
    """
    costliest = _named_costliest(batch)
    if not item_fits:
        return TrainingError(
            f"out of memory: {costliest} does not fit even alone ({reason}); shorten or shrink it, lower the model's "
            "length or pixel limit, or turn activation_checkpointing on"
        )
    if keeps_all:
        return TrainingError(
            f"out of memory: each of the {batch.num_items:,} items of the batch fits alone (the costliest is "
            f"{costliest}), but the graphs of all do not fit together, and step_mode='direct' keeps them all "
            f"({reason}); use step_mode='auto', which embeds a second time what does not fit, or a smaller "
            "per_device_train_batch_size"
        )
    return TrainingError(
        f"out of memory: each of the {batch.num_items:,} items of the batch fits alone, but their loss, or "
        f"the gradients of the weights, do not fit beside them ({reason}); use a smaller "
        "per_device_train_batch_size, or train fewer weights (LoRA)"
    )


def too_large_held_out(batch: Batch, reason: str, *, item_fits: bool) -> TrainingError:
    """As `too_large`, for a batch of held-out rows, which are embedded without graphs."""
    if item_fits:
        return TrainingError(
            f"out of memory: each of the {batch.num_items:,} items of a batch of held-out rows fits alone, but not "
            f"their loss ({reason}); use a smaller per_device_eval_batch_size"
        )
    return TrainingError(
        f"out of memory: of the held-out rows, {_named_costliest(batch)} does not fit even alone ({reason}); shorten "
        "or shrink it, or lower the model's length or pixel limit"
    )


def _named_costliest(batch: Batch) -> str:
    """The first item of the costliest micro-batch: its row, its column and its size."""
    largest = max(batch.micro_batches, key=positions)
    places = (batch.columns_BC == int(largest.indices[0])).nonzero()
    row, column = (int(number) for number in places[0])
    number = batch.rows[row] if batch.rows else row
    name = batch.column_names[column] if batch.column_names else str(column)
    patches = f" and {largest.cost.patches:,} patches" if largest.cost.patches else ""
    return f"the item in row {number}, column {name!r} ({largest.cost.tokens:,} tokens{patches})"
