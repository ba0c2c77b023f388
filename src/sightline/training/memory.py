"""What forward passes take of memory, and how much memory there is.

A forward pass leaves its *graph* behind, the tensors that autograd saves for the backward pass, and needs
*working* memory while it runs. Both are measured on a few real micro-batches and follow, for others of their
kind, a curve: something fixed, something per position, and, where attention writes out its scores, something
per position and position it looks at.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sightline.models.free_memory import free_bytes
from sightline.training.distributed import ranks_here
from sightline.training.random_state import RandomState
from sightline.training.step import device_of, forward
from sightline.types import Embeddings, MicroBatch


@dataclass(frozen=True)
class Measured:
    """One forward pass, weights and inputs aside, in bytes.

    Attributes:
        graph: what stays until the backward pass, the output with it.
        working: the most that was alive at once without a graph.
        vectors: size of the output.
    """

    graph: int
    working: int
    vectors: int


def measure(model: nn.Module, micro_batch: MicroBatch, autocast: torch.dtype | None = None) -> Measured:
    """Embeds a micro-batch without and with a graph. Leaves gradients and the random state as they were."""
    device = device_of(model)
    state = RandomState.of(device)
    # What a compiled model takes is less; compiling for these few shapes would take minutes.
    with torch.compiler.set_stance("force_eager"):
        meter: Callable[..., tuple[Embeddings, int, int]]
        meter = _on_cuda if device.type == "cuda" else _counted
        with torch.no_grad():
            _, _, working = meter(model, micro_batch, autocast)
        with torch.enable_grad():
            output, graph, _ = meter(model, micro_batch, autocast)
    state.restore()
    vectors = output.values.numel() * output.values.element_size()
    return Measured(graph if output.values.requires_grad else 0, working, vectors)


def _on_cuda(
    model: nn.Module, micro_batch: MicroBatch, autocast: torch.dtype | None
) -> tuple[Embeddings, int, int]:
    """The output, what is held after the pass, and the most that was held during it."""
    device = device_of(model)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    output = forward(model, micro_batch, autocast)
    after, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    return output, after - before, peak - before


def _counted(
    model: nn.Module, micro_batch: MicroBatch, autocast: torch.dtype | None
) -> tuple[Embeddings, int, int]:
    """As `_on_cuda`, where the allocator keeps no books."""
    known = [*model.parameters(), *model.buffers(), *micro_batch.features.values()]
    with LiveBytes(known) as live:
        output = forward(model, micro_batch, autocast)
    return output, live.now, live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operators inside have made and that are still alive.

    Attributes:
        now: those alive.
        peak: the most there were.
    """

    def __init__(self, known: Sequence[Any] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        # Held, so that no new tensor takes the address of one that is gone.
        self._known = [tensor.untyped_storage() for tensor in known if isinstance(tensor, Tensor)]
        self._sizes: dict[int, int] = dict.fromkeys((storage._cdata for storage in self._known), 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place not in self._sizes:
            self._sizes[place] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._remove, place)

    def _remove(self, place: int) -> None:
        self.now -= self._sizes.pop(place)


@dataclass(frozen=True)
class Curve:
    """Bytes of a micro-batch: ``fixed + positions * (per_position + per_square * length)``."""

    fixed: float = 0.0
    per_position: float = 0.0
    per_square: float = 0.0

    def at(self, count: int, items: int) -> float:
        """For ``count`` positions in ``items`` rows."""
        return self.fixed + count * (self.per_position + self.per_square * count / items)

    @staticmethod
    def through(points: Sequence[tuple[int, int, int]]) -> Curve:
        """The curve through up to three points (positions, items, bytes).

        The first is some items, the second more of the same length, the third shorter ones. What is missing
        counts as zero; so does what would come out negative.
        """
        first, *more = points
        if not more or more[0][0] == first[0]:
            return Curve(0.0, first[2] / first[0])
        second = more[0]
        slope = max(0.0, (second[2] - first[2]) / (second[0] - first[0]))
        fixed = max(0.0, first[2] - slope * first[0])
        length = first[0] / first[1]
        if len(more) == 1:
            return Curve(fixed, slope)
        count, items, size = more[1]
        short, flatter = count / items, (size - fixed) / count
        square = min(slope / length, max(0.0, (slope - flatter) / (length - short)))
        return Curve(fixed, slope - square * length, square)


@dataclass(frozen=True)
class Footprint:
    """What micro-batches of one kind take.

    Attributes:
        graph: bytes that stay until the backward pass.
        working: bytes needed while a pass without graph runs.
        length: positions of the longest item measured.
    """

    graph: Curve
    working: Curve
    length: float

    @staticmethod
    def of(probes: Sequence[tuple[MicroBatch, Measured]]) -> Footprint:
        """Out of measurements, in the order `Curve.through` wants."""
        sizes = [(positions(micro_batch), len(micro_batch), found) for micro_batch, found in probes]
        return Footprint(
            Curve.through([(count, items, found.graph) for count, items, found in sizes]),
            Curve.through([(count, items, found.working) for count, items, found in sizes]),
            max(count / items for count, items, _ in sizes),
        )

    def graph_bytes(self, micro_batch: MicroBatch) -> float:
        return self.graph.at(positions(micro_batch), len(micro_batch))

    def working_bytes(self, micro_batch: MicroBatch) -> float:
        return self.working.at(positions(micro_batch), len(micro_batch))


def fitting(sizes: Sequence[float], room: float) -> int:
    """How many leading sizes fit into the room together."""
    used = 0.0
    for number, size in enumerate(sizes):
        used += size
        if used > room:
            return number
    return len(sizes)


def positions(micro_batch: MicroBatch) -> int:
    """Padded tokens, and vision patches at a quarter each."""
    return max(1, micro_batch.padded_tokens + micro_batch.cost.patches // 4)


def used_bytes(device: torch.device) -> int:
    """What this process holds now: of the accelerator's memory, or resident in the machine's."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    return _status("VmRSS")


def peak_bytes(device: torch.device) -> int:
    """The most this process has held: on a GPU since its books were last opened, else since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return _status("VmHWM")


def resident_bytes() -> int:
    """What this process holds of the machine's memory now."""
    return _status("VmRSS")


def available_bytes(device: torch.device) -> int:
    """Memory that may still be used: the accelerator's, or the machine's within the control group's limit.

    Several ranks on one machine share its memory evenly.
    """
    free = free_bytes(device)
    return free if device.type == "cuda" else free // ranks_here()


def _status(name: str) -> int:
    """A memory figure of this process from /proc; elsewhere the highest resident size."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            for line in lines:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource
    import sys

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
