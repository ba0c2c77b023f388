"""How many micro-batches may keep their graphs.

A graph is the tensors that autograd saves for the backward pass. They are counted on one real micro-batch of
each kind; what a whole batch would need follows from its padded positions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sightline.training.step import RandomState, device_of, forward, reduction
from sightline.types import Batch, MicroBatch

# Share of the free memory that graphs may take; the rest is for temporary buffers and what others do.
GRAPH_SHARE = 0.5
# AdamW keeps two values per trainable weight, and the gradient is a third.
BYTES_PER_WEIGHT_IN_TRAINING = 3


class GraphBudget:
    """How much memory graphs may take, and what a position of each kind of micro-batch takes of it.

    Measures on first sight: a vision tower's patch and a text tower's token differ by a factor of ten.
    """

    def __init__(self, share: float = GRAPH_SHARE, autocast: torch.dtype | None = None) -> None:
        self.share = share
        self.autocast = autocast
        self.bytes_free: float | None = None
        self.bytes_per_position: dict[str, float] = {}

    def kept(self, model: nn.Module, batch: Batch) -> int:
        """How many leading micro-batches of the batch keep their graphs.

        One that is embedded a second time needs room for its graph too, so unless all fit, room for the
        largest of the rest is left.
        """
        micro_batches = list(batch.micro_batches)
        if self.bytes_free is None:
            trainable = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
            free = available_bytes(device_of(model)) - trainable * BYTES_PER_WEIGHT_IN_TRAINING
            self.bytes_free = max(0.0, free * self.share)
        for micro_batch in sorted(micro_batches, key=positions, reverse=True):
            if kind(micro_batch) not in self.bytes_per_position:
                saved = graph_bytes(model, micro_batch, self.autocast)
                self.bytes_per_position[kind(micro_batch)] = saved / positions(micro_batch)
        sizes = [positions(one) * self.bytes_per_position[kind(one)] for one in micro_batches]
        return fitting(sizes, self.bytes_free)


def fitting(sizes: Sequence[float], room: float) -> int:
    """How many leading sizes fit beside the largest of the rest; all of them if they fit together."""
    if sum(sizes) <= room:
        return len(sizes)
    used = 0.0
    for number, size in enumerate(sizes):
        used += size
        if used + max(sizes[number + 1 :], default=0.0) > room:
            return number
    return len(sizes)


def graph_bytes(model: nn.Module, micro_batch: MicroBatch, autocast: torch.dtype | None = None) -> int:
    """Bytes that autograd saves in one forward pass, weights aside. Leaves the random state as it was."""
    device = device_of(model)
    state = RandomState.of(device)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        reduction(model, False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        output = forward(model, micro_batch, autocast)
    total = sum(saved.values())
    del output
    state.restore()
    return total


def kind(micro_batch: MicroBatch) -> str:
    """Micro-batches of one kind take the same way through the model."""
    facts = {name: value for name, value in micro_batch.features.items() if isinstance(value, str)}
    return repr(sorted(facts.items()))


def positions(micro_batch: MicroBatch) -> int:
    """Padded tokens, and vision patches at a quarter each."""
    return max(1, micro_batch.padded_tokens + micro_batch.cost.patches // 4)


def available_bytes(device: torch.device) -> int:
    """Memory that may still be used: the accelerator's, or the machine's within the control group's limit."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_machine_bytes(), _group_bytes())


def _machine_bytes() -> int:
    """MemAvailable on Linux, half of the physical memory where that file does not exist."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _group_bytes() -> int:
    """What the control group (version 2, then 1) still allows; everything where there is no limit."""
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            with open(limit_file, encoding="ascii") as limit, open(used_file, encoding="ascii") as used:
                text = limit.read().strip()
                if text != "max":
                    return max(0, int(text) - int(used.read()))
        except OSError:
            continue
    return 1 << 62
