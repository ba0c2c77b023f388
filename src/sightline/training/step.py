"""One training step: embed the planned micro-batches, compute the loss, send its gradients back.

The step is the only caller of the model in training. It keeps the graphs of the first micro-batches and
embeds the others a second time, as gradient caching does (Gao et al. 2021, arXiv:2101.06983):

1. embed every micro-batch, the kept ones with their graph, the others without, remembering the state of the
   random number generators before each of those;
2. compute the loss on the vectors of all items, cut off from the model, and its gradient at each vector; with
   several ranks, on the vectors of all ranks (`sightline.training.gathering`);
3. send that gradient into the kept graphs; then embed each other micro-batch again, with graph and under its
   remembered random state, so that dropout draws the masks it drew before, and send its gradient in;
4. with several ranks, add up the weights' gradients of all of them, once per optimizer step.

With every graph kept this is one plain forward and backward pass; with none it needs the memory of one
micro-batch. The gradients are the same.

Shape letters::

    N  distinct items of the batch     n  items of one micro-batch     D  embedding dimension     T  tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sightline.errors import ConfigError
from sightline.losses.base import Loss
from sightline.models.devices import computing_in
from sightline.training.bad_batches import NotFiniteError, check_finite
from sightline.training.distributed import ALONE, Ranks
from sightline.training.frozen import FrozenVectors
from sightline.training.gathering import WholeBatch, as_asked, gather_batch, loss_and_gradient, on_device
from sightline.training.random_state import RandomState
from sightline.training.transport import ahead
from sightline.training.weights import add_gradients, whole_weights
from sightline.types import Batch, Embeddings, MicroBatch


@dataclass(frozen=True)
class Step:
    """How a batch becomes gradients.

    Args:
        kept: how many of the leading micro-batches keep their graphs. None keeps all (a plain step), 0 none
            (gradient caching).
        autocast: type the model computes in, e.g. ``torch.bfloat16``; None for its weights'. The loss is
            always computed in float32.
        ranks: the processes that train together. The loss compares the items of all of them.
        frozen: runs what is frozen of the model, once per item and without graph.
    """

    kept: int | None = None
    autocast: torch.dtype | None = None
    ranks: Ranks = ALONE
    frozen: FrozenVectors | None = None

    def __post_init__(self) -> None:
        if self.kept is not None and self.kept < 0:
            raise ConfigError(f"a step cannot keep {self.kept} graphs; give 0 or more, or None for all")

    def run(
        self, model: nn.Module, batch: Batch, loss: Loss, *, scale: float | Tensor = 1.0, sync: bool = True
    ) -> dict[str, Tensor]:
        """Adds the gradient of ``scale * sum(parts)`` to the parameters' ``grad``.

        Args:
            model: maps a `MicroBatch` to `Embeddings`, or to scores (n, L); sharded by FSDP2 or not, but in no DDP
                wrapper.
            batch: this rank's, on the CPU; one micro-batch at a time is moved to the model's device.
            loss: what is minimised.
            scale: factor of the gradients, e.g. one over the accumulated batches; the returned parts are
                without it. The same on every rank.
            sync: add up the gradients of all ranks, of this batch and of those before it that were not.

        Returns:
            The loss's parts over all ranks, detached, on the model's device; none if no rank has rows.

        Raises:
            NotFiniteError: the loss is not, on any rank; no gradient has been added.
            PeerError: another rank failed. Gradients may have been added on this one.
            LostRankError: another rank is gone.
        """
        ranks, device = self.ranks, device_of(model)
        whole_weights(model)
        whole = gather_batch(batch, ranks)
        parts: dict[str, Tensor] = {}
        try:
            if whole.batch.num_rows:
                parts = self._accumulate(model, batch, whole, loss, scale, device)
        except NotFiniteError:
            if sync:
                add_gradients(model, ranks)  # those of the batches before it
            raise
        if sync:
            add_gradients(model, ranks)
        return parts

    def _accumulate(
        self,
        model: nn.Module,
        batch: Batch,
        whole: WholeBatch,
        loss: Loss,
        scale: float | Tensor,
        device: torch.device,
    ) -> dict[str, Tensor]:
        """Adds this rank's part of the gradient to its own parameters."""
        micro_batches = wanted(batch)
        kept = len(micro_batches) if self.kept is None else min(self.kept, len(micro_batches))

        outputs: list[Embeddings] = []
        states: dict[int, RandomState] = {}
        with self.ranks.together("embedding"):
            for number, micro_batch in enumerate(ahead(micro_batches, device)):
                if self.frozen is not None and self.frozen.covers(micro_batch, self.autocast):
                    outputs.append(self.frozen.embed(batch, micro_batch, self.autocast))
                    continue
                with torch.set_grad_enabled(number < kept):
                    if number >= kept:
                        states[number] = RandomState.of(device)
                    outputs.append(self._embed(model, batch, micro_batch))
        after = RandomState.of(device)

        cut = [Embeddings(output.values.detach(), output.mask) for output in outputs]
        own = in_item_order(cut, batch) if cut else None
        parts, gradient = loss_and_gradient(own, whole, loss, scale=scale, ranks=self.ranks, device=device)
        check_finite(parts)
        del own, cut

        with self.ranks.together("sending gradients back"):
            # One micro-batch after the other, so that gradients add up in the same order for every split and
            # no bit depends on how many graphs memory allowed.
            second = ahead([micro_batches[number] for number in states], device)
            for number, micro_batch in enumerate(micro_batches):
                output = outputs[number]
                if number in states:
                    again = next(second)
                    states[number].restore()
                    with torch.enable_grad():
                        output = self._embed(model, batch, again)
                _backward(output, gradient[micro_batch.indices.to(device)])
                outputs[number] = Embeddings(output.values.detach())  # its graph is spent
        after.restore()
        return parts

    def _embed(self, model: nn.Module, batch: Batch, micro_batch: MicroBatch) -> Embeddings:
        """The vectors of a micro-batch; what is frozen of the model runs without graph, and once per item."""
        if self.frozen is not None and self.frozen.begins(micro_batch, self.autocast):
            return self.frozen.embed(batch, micro_batch, self.autocast)
        return forward(model, micro_batch, self.autocast)


@torch.no_grad()
def held_out(
    model: nn.Module, batch: Batch, loss: Loss, *, autocast: torch.dtype | None = None
) -> dict[str, Tensor]:
    """The loss's parts on a batch, without graph or gradients."""
    outputs = [forward(model, micro_batch, autocast) for micro_batch in wanted(batch)]
    return _loss(in_item_order(outputs, batch), batch, loss)


def forward(model: nn.Module, micro_batch: MicroBatch, autocast: torch.dtype | None = None) -> Embeddings:
    """Moves one micro-batch to the model's device and embeds it; of a reranker the scores (n, L) of its pairs."""
    device = device_of(model)
    with computing_in(device, autocast):
        output = model(micro_batch.to(device, non_blocking=True))
    return Embeddings(output) if isinstance(output, Tensor) else output


def wanted(batch: Batch) -> Sequence[MicroBatch]:
    """The batch's micro-batches, asking for all the vectors that the batch is to have."""
    if not batch.layers and not batch.projected:
        return batch.micro_batches
    return [
        replace(micro_batch, layers=batch.layers, projected=bool(batch.projected))
        for micro_batch in batch.micro_batches
    ]


def in_item_order(outputs: Sequence[Embeddings], batch: Batch) -> Embeddings:
    """One Embeddings (N, ...) out of one per micro-batch, row i being item i."""
    planned = torch.cat([micro_batch.indices for micro_batch in batch.micro_batches])
    assert planned.numel() == batch.num_items, "every item stands in exactly one micro-batch"
    return Embeddings.concatenate(outputs)[torch.argsort(planned).to(outputs[0].values.device)]


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters live."""
    return next(model.parameters()).device


def _loss(embeddings: Embeddings, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """The loss in float32, or in float64 for vectors that are; never under autocast."""
    values = embeddings.values
    with _uncast(values):
        full = values if values.dtype == torch.float64 else values.float()
        return loss(as_asked(full, embeddings.mask, batch), on_device(batch, values.device))


def _uncast(values: Tensor) -> AbstractContextManager[None]:
    """No autocast: it would run the loss, and the backward passes of a caller's context, in low precision."""
    return torch.autocast(values.device.type, enabled=False)


def _backward(output: Embeddings, gradient: Tensor) -> None:
    """Sends the gradient (n, D) or (n, T, D) into the graph of ``output``, which may have fewer tokens."""
    values = output.values
    if not values.requires_grad:
        return
    if values.ndim == 3:
        gradient = gradient[:, : values.shape[1]]
    with _uncast(values):
        values.backward(gradient.to(values.dtype))
