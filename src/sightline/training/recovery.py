"""A step that ran out of memory: undone, so that it can be done again in smaller pieces."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sightline.errors import TrainingError
from sightline.training.distributed import PeerError, is_out_of_memory
from sightline.training.memory import positions
from sightline.training.step import RandomState, device_of, forward
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
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "could not create a primitive" in reason and torch.backends.mkldnn.is_available():
        # oneDNN generates code in memory of its own. Once it found none, it fails for good, however small the
        # pieces; torch's own operators do the same more slowly.
        torch.backends.mkldnn.set_flags(False)
    # Outside of the handler: until it ends, the error holds the frames, and they the graphs.
    free_memory()
    return Attempt(reason=reason, elsewhere=elsewhere)


def free_memory() -> None:
    """Gives what is free in this process back to the device and the system.

    glibc keeps what is freed for its own next call; others in the process, oneDNN with its generated code, ask
    the system.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)


def fits_alone(model: nn.Module, batch: Batch, autocast: torch.dtype | None) -> bool:
    """Whether the costliest micro-batch can be embedded with a graph and sent back; leaves no gradients."""
    largest = max(batch.micro_batches, key=positions)
    undo, state = Undo.before(model), RandomState.of(device_of(model))

    def attempt() -> dict[str, Tensor]:
        with torch.enable_grad():
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


def _named_costliest(batch: Batch) -> str:
    """The first item of the costliest micro-batch: its row, its column and its size."""
    largest = max(batch.micro_batches, key=positions)
    places = (batch.columns_BC == int(largest.indices[0])).nonzero()
    row, column = (int(number) for number in places[0])
    number = batch.rows[row] if batch.rows else row
    name = batch.column_names[column] if batch.column_names else str(column)
    patches = f" and {largest.cost.patches:,} patches" if largest.cost.patches else ""
    return f"the item in row {number}, column {name!r} ({largest.cost.tokens:,} tokens{patches})"
