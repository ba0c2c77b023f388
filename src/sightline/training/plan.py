"""The memory plan: how large micro-batches are, how many keep their graphs, and what that will take."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers.training_args import OptimizerNames

from sightline.errors import ConfigError, TrainingError
from sightline.losses.blockwise import block_bytes
from sightline.models.out_of_memory import is_out_of_memory
from sightline.training.arguments import TrainingArguments
from sightline.training.kinds import kind
from sightline.training.limits import Limits, parse_bytes
from sightline.training.memory import (
    Footprint,
    Measured,
    available_bytes,
    fitting,
    measure,
    positions,
    used_bytes,
)
from sightline.training.samples import Sample
from sightline.training.step import device_of
from sightline.training.weights import is_sharded
from sightline.types import Batch, Features, MicroBatch

logger = logging.getLogger(__name__)

# Positions per micro-batch where memory is no limit: on a CPU what stays in its cache, on a GPU what fills it.
CPU_TOKENS, GPU_TOKENS = 2_048, 32_768
# No budget is chosen below this; memory that does not last for it lasts for little.
LEAST_TOKENS = 64
# A micro-batch's graph takes at most this share of the room: the rest of the room is for those that are kept. So do
# the vectors of what is frozen.
LARGEST_SHARE = 0.25
# Share of free memory that is used. A GPU's allocator fails in time; a machine without memory ends processes.
CPU_SHARE, GPU_SHARE = 0.7, 0.9
# Share of a budget that is planned for: allocators lose some to gaps.
BUDGET_SHARE = 0.9
# A backward pass holds gradients beside the tensors of the layer it is in, as many again as the forward pass.
BACKWARD = 2.0
# Positions a probe has at least; what is counted, not timed, can be small.
PROBE = 128
# The vectors, a copy of them in float32, their gradient, and its parts by micro-batch.
COPIES_OF_VECTORS = 4
# Scores, their mask and what the loss makes of them; it works in blocks of bounded size.
BYTES_PER_SCORE = 32
# Values an optimizer keeps per trainable weight; AdamW's two where the name is not listed.
OPTIMIZER_VALUES = {
    "sgd": 0.0, "adafactor": 0.1, "lion_32bit": 1.0, "adamw_bnb_8bit": 0.5, "adamw_8bit": 0.5,
    "paged_adamw_8bit": 0.5, "lion_8bit": 0.25, "paged_lion_8bit": 0.25,
}  # fmt: skip

Collate = Callable[[Sequence[Features], Sequence[int]], MicroBatch]


@dataclass(frozen=True)
class Account:
    """Where the memory goes, in bytes.

    Attributes:
        allowed: what the process may take in all.
        base: what it takes besides graphs and working tensors: weights, their gradients, the optimizer's
            values, the loss's own, the batches that wait, and the vectors kept of what is frozen.
    """

    allowed: float
    base: float

    @property
    def room(self) -> float:
        """For graphs and working tensors."""
        return self.allowed - self.base


class MemoryPlan:
    """Chooses the token budget before the first step, and for each batch how many graphs to keep.

    Args:
        args: the run's.
        limits: of micro-batches; the plan sets the token budget where the run leaves it open.
        ranks: how many processes hold a part of the optimizer's values each, where the weights are sharded.

    Attributes:
        footprints: what micro-batches take, by `kind`.
        room: bytes for graphs and working tensors; None before anything is known.
    """

    def __init__(self, args: TrainingArguments, limits: Limits, ranks: int = 1) -> None:
        self.args = args
        self.limits = limits
        self.ranks = ranks
        self.footprints: dict[str, Footprint] = {}
        self.account: Account | None = None
        self.room: float | None = None
        self._vector_bytes = 0.0
        self._waiting = 0.0

    def prepare(
        self, model: nn.Module, collate: Collate, samples: Sequence[Sample], items_per_batch: int
    ) -> None:
        """Measures the samples and sets the token budget, if the run leaves it open.

        Args:
            model: on its device, in training mode, in no wrapper; with its weights gathered where they are sharded.
            collate: the model's.
            samples: of `take_samples`.
            items_per_batch: items of a batch at most.

        Raises:
            TrainingError: not even one of the costliest items fits into memory.
            ConfigError: `memory_budget` is less than weights and optimizer take.
        """
        by_kind: dict[str, list[Sample]] = {}
        for sample in samples:
            by_kind.setdefault(kind(collate([sample.features], [0])), []).append(sample)
        for name, some in by_kind.items():
            self.footprints[name] = Footprint.of(self._probes(model, collate, some))
        device = device_of(model)
        workers = self.args.dataloader_num_workers or 0
        ahead = workers * (self.args.dataloader_prefetch_factor or 2)
        if device.type == "cpu":
            batch = _mean_bytes(samples) * items_per_batch
            self._waiting = batch + min(batch * ahead, parse_bytes(self.args.feed_bytes, "feed_bytes"))
        self._open_account(model, items_per_batch)
        if self.limits.token_budget is None and self.limits.max_items is None:
            self.limits.set(self._token_budget(device), None)

    def set_aside(self, wanted: int) -> int:
        """Takes room for what is held besides graphs, after `prepare`; how many bytes, a share of the room at most."""
        assert self.account is not None
        given = round(min(wanted, LARGEST_SHARE * max(0.0, self.account.room)))
        self.account = replace(self.account, base=self.account.base + given)
        self.room = max(0.0, self.account.room)
        return given

    def kept(self, model: nn.Module, batch: Batch) -> int:
        """How many leading micro-batches of the batch keep their graphs."""
        micro_batches = list(batch.micro_batches)
        if self.args.step_mode != "auto":
            return len(micro_batches) if self.args.step_mode == "direct" else 0
        for one in sorted(micro_batches, key=positions, reverse=True):
            if kind(one) not in self.footprints:
                self.footprints[kind(one)] = Footprint.of([(one, self._measured(model, one))])
        if self.room is None:
            self._open_account(model, batch.num_items)
        assert self.room is not None
        room = self.room - self._working(micro_batches)
        return fitting([self._graph(one) for one in micro_batches], room)

    def peak(self, batch: Batch, kept: int) -> float:
        """Expected highest memory of the process during the batch, in bytes."""
        micro_batches = list(batch.micro_batches)
        if self.account is None or any(kind(one) not in self.footprints for one in micro_batches):
            return float("nan")
        graphs = [self._graph(one) for one in micro_batches]
        return self.account.base + self._working(micro_batches) + max(sum(graphs[:kept]), *graphs[kept:], 0.0)

    def is_within(self, batch: Batch) -> bool:
        """Whether every micro-batch keeps the limits as they are now."""
        tokens, items = self.limits.token_budget, self.limits.max_items
        return all(
            len(one) == 1
            or ((tokens is None or positions(one) <= tokens) and (items is None or len(one) <= items))
            for one in batch.micro_batches
        )

    def shrink(self, batch: Batch, kept: int) -> None:
        """Halves what the batch took, which was too much: the room for graphs, and the limits."""
        micro_batches = list(batch.micro_batches)
        if self.room is not None:
            self.room = min(self.room, sum(self._graph(one) for one in micro_batches[:kept])) / 2
        self.shrink_limits(batch)

    def shrink_limits(self, batch: Batch) -> None:
        """Halves what one micro-batch of the batch took at most."""
        micro_batches = list(batch.micro_batches)
        tokens = max(positions(one) for one in micro_batches)
        items = max(len(one) for one in micro_batches)
        budget = min(tokens, self.limits.token_budget or tokens)
        most = self.limits.max_items
        self.limits.set(max(1, budget // 2), None if most is None else max(1, min(most, items) // 2))

    @property
    def encoding_tokens(self) -> int | None:
        """Tokens per pass for encoding beside the training, where measuring has shown less memory than usual."""
        tokens = self.limits.token_budget
        usual = CPU_TOKENS if self.args.device.type == "cpu" else GPU_TOKENS
        short = self.account is not None and tokens is not None and tokens < usual
        return tokens if short else None

    def line(self, batch: Batch, kept: int) -> str:
        """The plan for a batch in one line."""
        count = len(batch.micro_batches)
        limits = self.limits
        most = "" if limits.token_budget is None else f" of up to {limits.token_budget:,} tokens"
        most = f" of up to {limits.max_items:,} items" if limits.max_items is not None else most
        if self.account is None:
            memory = "memory not measured"
        else:
            memory = (
                f"expected peak {self.peak(batch, kept) / 1e9:.2f} GB of {self.account.allowed / 1e9:.2f} GB"
            )
        return (
            f"Memory plan: {batch.num_items:,} items per step in {count:,} micro-batches{most}; "
            f"{kept:,} kept, {count - kept:,} embedded twice; {memory}"
        )

    def state(self) -> dict[str, Any]:
        """What decides which items share a micro-batch, for a checkpoint."""
        return {"token_budget": self.limits.token_budget, "max_items": self.limits.max_items}

    def _graph(self, micro_batch: MicroBatch) -> float:
        return self.footprints[kind(micro_batch)].graph_bytes(micro_batch)

    def _working(self, micro_batches: Sequence[MicroBatch]) -> float:
        return BACKWARD * max(
            (self.footprints[kind(one)].working_bytes(one) for one in micro_batches), default=0.0
        )

    def _probes(
        self, model: nn.Module, collate: Collate, samples: Sequence[Sample]
    ) -> list[tuple[MicroBatch, Measured]]:
        """Some of the costliest item, twice as many, and some of one at most half as long."""
        ordered = sorted(samples, key=lambda sample: -sample.features.cost.total)
        longest = ordered[0]
        length = positions(collate([longest.features], [0]))
        count = -(-PROBE // length)
        wanted = [(longest, 1), (longest, count), (longest, 2 * count)]
        shorter = [one for one in ordered if 2 * positions(collate([one.features], [0])) <= length]
        if shorter:
            wanted.append((shorter[0], -(-PROBE // positions(collate([shorter[0].features], [0])))))
        probes = []
        for number, (sample, copies) in enumerate(wanted):
            if number == 0 and count == 1:
                continue
            micro_batch = collate([sample.features] * copies, range(copies))
            try:
                probes.append((micro_batch, self._measured(model, micro_batch)))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not probes:
                    raise TrainingError(
                        f"{sample} does not fit into memory: one forward pass over it alone needs more than "
                        "there is; shorten or shrink it, or lower the model's length or pixel limit"
                    ) from None
                break
        return probes[1:] if count > 1 and len(probes) > 1 else probes

    def _measured(self, model: nn.Module, micro_batch: MicroBatch) -> Measured:
        found = measure(model, micro_batch, self.args.autocast)
        self._vector_bytes = max(self._vector_bytes, found.vectors / len(micro_batch))
        return found

    def _open_account(self, model: nn.Module, items: int) -> None:
        device, args = device_of(model), self.args
        used = used_bytes(device)
        share = CPU_SHARE if device.type == "cpu" else GPU_SHARE
        if args.memory_budget_bytes is None:
            allowed = used + share * available_bytes(device)
        else:
            allowed = BUDGET_SHARE * args.memory_budget_bytes
        trainable = [weight for weight in model.parameters() if weight.requires_grad]
        weights = sum(weight.numel() * weight.element_size() for weight in trainable)
        gradients = 1 + (args.gradient_accumulation_steps > 1)
        values = OPTIMIZER_VALUES.get(OptimizerNames(args.optim).value, 2.0)
        training = weights * (gradients + values / (self.ranks if is_sharded(model) else 1))
        scores = min(block_bytes(device), BYTES_PER_SCORE * items * items)
        loss = COPIES_OF_VECTORS * items * self._vector_bytes + scores
        base = used + training + loss + self._waiting
        self.account = Account(allowed, base)
        self.room = max(0.0, self.account.room)
        if self.account.room <= 0:
            message = (
                f"weights, gradients, optimizer and loss take about {base / 1e9:.2f} GB, "
                f"of {allowed / 1e9:.2f} GB that may be used"
            )
            if args.memory_budget is not None:
                raise ConfigError(f"memory_budget={args.memory_budget!r} is too small: {message}")
            logger.warning("Memory is short: %s", message)

    def _token_budget(self, device: torch.device) -> int:
        """The largest power of two, up to what suits the device, whose graph leaves room for others."""
        budget = CPU_TOKENS if device.type == "cpu" else GPU_TOKENS
        room = (self.room or 0.0) * LARGEST_SHARE
        while budget > LEAST_TOKENS and any(
            self._needs(one, budget) > room for one in self.footprints.values()
        ):
            budget //= 2
        return budget

    @staticmethod
    def _needs(footprint: Footprint, tokens: int) -> float:
        items = max(1, round(tokens / footprint.length))
        return footprint.graph.at(tokens, items) + BACKWARD * footprint.working.at(tokens, items)


def _mean_bytes(samples: Sequence[Sample]) -> float:
    """Size of a typical item's features."""
    sizes = [sum(value.nbytes for value in one.features.values.values()) for one in samples if one.typical]
    return sum(sizes) / len(sizes) if sizes else 0.0
