"""One training step: embed the planned micro-batches, compute the loss, send its gradients back.

The step is the only caller of the model in training. It keeps the graphs of the first micro-batches and
embeds the others a second time, as gradient caching does (Gao et al. 2021, arXiv:2101.06983):

1. embed every micro-batch, the kept ones with their graph, the others without, remembering the state of the
   random number generators before each of those;
2. compute the loss on the vectors of all items, cut off from the model, and its gradient at each vector;
3. send that gradient into the kept graphs; then embed each other micro-batch again, with graph and under its
   remembered random state, so that dropout draws the masks it drew before, and send its gradient in.

With every graph kept this is one plain forward and backward pass; with none it needs the memory of one
micro-batch. The gradients are the same.

Shape letters::

    N  distinct items of the batch     n  items of one micro-batch     D  embedding dimension     T  tokens
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.types import Batch, Embeddings, MicroBatch


@dataclass(frozen=True)
class Step:
    """How a batch becomes gradients.

    Args:
        kept: how many of the leading micro-batches keep their graphs. None keeps all (a plain step), 0 none
            (gradient caching).
        autocast: type the model computes in, e.g. ``torch.bfloat16``; None for its weights'. The loss is
            always computed in float32.
    """

    kept: int | None = None
    autocast: torch.dtype | None = None

    def __post_init__(self) -> None:
        if self.kept is not None and self.kept < 0:
            raise ConfigError(f"a step cannot keep {self.kept} graphs; give 0 or more, or None for all")

    def run(
        self, model: nn.Module, batch: Batch, loss: Loss, *, scale: float | Tensor = 1.0, sync: bool = True
    ) -> dict[str, Tensor]:
        """Adds the gradient of ``scale * sum(parts)`` to the parameters' ``grad``.

        Args:
            model: maps a `MicroBatch` to `Embeddings`; may be wrapped for distributed training.
            batch: on the CPU; one micro-batch at a time is moved to the model's device.
            loss: what is minimised.
            scale: factor of the gradients, e.g. one over the accumulated batches; the returned parts are
                without it.
            sync: reduce gradients over the ranks with this batch. Only the last backward pass does it.

        Returns:
            The loss's parts, detached, on the model's device.
        """
        device = device_of(model)
        micro_batches = batch.micro_batches
        kept = len(micro_batches) if self.kept is None else min(self.kept, len(micro_batches))
        last = len(micro_batches) - 1

        outputs: list[Embeddings] = []
        states: list[RandomState] = []
        for number, micro_batch in enumerate(micro_batches):
            # A wrapped model prepares its reduction in the forward pass, so the one before the last
            # backward pass is the one that must not be under no_sync.
            with_sync = sync and kept == len(micro_batches) and number == last
            with torch.set_grad_enabled(number < kept), reduction(model, with_sync):
                if number >= kept:
                    states.append(RandomState.of(device))
                outputs.append(forward(model, micro_batch, self.autocast))
        after = RandomState.of(device)

        parts, gradients = _loss_and_gradients(outputs, batch, loss, scale)

        # One micro-batch after the other, so that gradients add up in the same order for every split and no
        # bit depends on how many graphs memory allowed. A model under DDP reduces in the backward pass that
        # follows its last forward pass, which therefore has to be a joint one.
        joint = isinstance(model, DistributedDataParallel)
        with reduction(model, sync and kept == len(micro_batches)):
            for part in [slice(0, kept)] if joint else [slice(number, number + 1) for number in range(kept)]:
                _backward(outputs[part], gradients[part])
        del outputs
        for number in range(kept, len(micro_batches)):
            with torch.enable_grad(), reduction(model, sync and number == last):
                states[number - kept].restore()
                again = forward(model, micro_batches[number], self.autocast)
                _backward([again], [gradients[number]])
        after.restore()
        return parts


@torch.no_grad()
def held_out(
    model: nn.Module, batch: Batch, loss: Loss, *, autocast: torch.dtype | None = None
) -> dict[str, Tensor]:
    """The loss's parts on a batch, without graph or gradients."""
    outputs = [forward(model, micro_batch, autocast) for micro_batch in batch.micro_batches]
    return _loss(in_item_order(outputs, batch), batch, loss)


def forward(model: nn.Module, micro_batch: MicroBatch, autocast: torch.dtype | None = None) -> Embeddings:
    """Moves one micro-batch to the model's device and embeds it."""
    device = device_of(model)
    with nullcontext() if autocast is None else torch.autocast(device.type, autocast):
        return model(micro_batch.to(device, non_blocking=True))


def in_item_order(outputs: Sequence[Embeddings], batch: Batch) -> Embeddings:
    """One Embeddings (N, ...) out of one per micro-batch, row i being item i."""
    planned = torch.cat([micro_batch.indices for micro_batch in batch.micro_batches])
    assert planned.numel() == batch.num_items, "every item stands in exactly one micro-batch"
    return Embeddings.concatenate(outputs)[torch.argsort(planned).to(outputs[0].values.device)]


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's indices, keys and targets on ``device``; its micro-batches stay where they are."""
    return replace(
        batch,
        keys_N=batch.keys_N.to(device),
        columns_BC=batch.columns_BC.to(device),
        targets={name: target.to(device) for name, target in batch.targets.items()},
    )


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters live."""
    return next(model.parameters()).device


@dataclass(frozen=True)
class RandomState:
    """State of the CPU's random number generator and of the device's."""

    cpu: Tensor
    device: torch.device
    accelerator: Tensor | None

    @staticmethod
    def of(device: torch.device) -> RandomState:
        state = None
        if device.type != "cpu":
            state = torch.get_device_module(device).get_rng_state(device)
        return RandomState(torch.get_rng_state(), device, state)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            torch.get_device_module(self.device).set_rng_state(self.accelerator, self.device)


def reduction(model: nn.Module, sync: bool) -> AbstractContextManager[None]:
    """Whether backward passes inside reduce gradients over the ranks."""
    if isinstance(model, DistributedDataParallel) and not sync:
        return _no_sync(model)
    return nullcontext()


@contextmanager
def _no_sync(model: DistributedDataParallel) -> Iterator[None]:
    with model.no_sync():
        yield


def _loss_and_gradients(
    outputs: Sequence[Embeddings], batch: Batch, loss: Loss, scale: float | Tensor
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The detached parts, and the scaled loss's gradient at each micro-batch's vectors."""
    leaves = [Embeddings(output.values.detach().requires_grad_(), output.mask) for output in outputs]
    with torch.enable_grad(), _uncast(outputs):
        parts = _loss(in_item_order(leaves, batch), batch, loss)
        total = torch.stack(list(parts.values())).sum()
        if total.requires_grad:
            (total * scale).backward()
    gradients = [
        torch.zeros_like(leaf.values) if leaf.values.grad is None else leaf.values.grad for leaf in leaves
    ]
    return {name: part.detach() for name, part in parts.items()}, gradients


def _loss(embeddings: Embeddings, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """The loss in float32, or in float64 for vectors that are; never under autocast."""
    values = embeddings.values
    with _uncast([embeddings]):
        full = Embeddings(values if values.dtype == torch.float64 else values.float(), embeddings.mask)
        return loss(full, on_device(batch, values.device))


def _uncast(outputs: Sequence[Embeddings]) -> AbstractContextManager[None]:
    """No autocast: it would run the loss, and the backward passes of a caller's context, in low precision."""
    return torch.autocast(outputs[0].values.device.type, enabled=False)


def _backward(outputs: Sequence[Embeddings], gradients: Sequence[Tensor]) -> None:
    """Sends the gradients into the graphs of ``outputs``, in one backward pass."""
    roots = [(output.values, gradient) for output, gradient in zip(outputs, gradients, strict=True)]
    roots = [(values, gradient) for values, gradient in roots if values.requires_grad]
    if roots:
        with _uncast(outputs):
            torch.autograd.backward([values for values, _ in roots], [gradient for _, gradient in roots])
