"""Several processes that train one model: who they are, what they agree on, how their tensors meet.

Each process (rank) holds the whole model and a share of every batch. Nothing here hooks into autograd: every
collective is a plain call at a fixed place of the step, so all ranks issue the same collectives in the same order
whatever each of them computes in between. A rank may have more micro-batches than another, keep other graphs, use
other parts of the model (a router's image tower), or have no rows at all. The price is that the reduction of the
gradients does not overlap with the last backward pass, as that of `DistributedDataParallel` does; it happens once
per optimizer step, in buckets.

Small facts (sizes, indices, failures) travel between the CPUs over gloo, also where the tensors travel over NCCL.
gloo notices at once when the process at the other end is gone, so a rank that dies ends the others with a
`TrainingError` instead of leaving them in an NCCL call that never returns.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sightline.errors import TrainingError
from sightline.models.out_of_memory import is_out_of_memory

Value = TypeVar("Value")

# How long a rank waits for the others. They differ by what a checkpoint or an evaluation takes on one of them.
TIMEOUT = timedelta(minutes=30)
BUCKET_BYTES = 64 * 2**20


class LostRankError(TrainingError):
    """A rank does not answer: its process ended, or the network between the machines is down."""


class PeerError(TrainingError):
    """Another rank could not finish what all ranks do together; this one is as it was before.

    Attributes:
        rank: the rank that failed.
        out_of_memory: it ran out of memory, so that a smaller step may succeed.
    """

    def __init__(self, message: str, *, rank: int, out_of_memory: bool) -> None:
        super().__init__(message)
        self.rank = rank
        self.out_of_memory = out_of_memory


def _leave() -> None:
    """Joins the threads of the process groups; the interpreter's end does not wait for them, and may abort."""
    if dist.is_initialized():
        dist.destroy_process_group()


@dataclass(frozen=True)
class _Failure:
    """What the other ranks are told of an error."""

    what: str
    reason: str
    out_of_memory: bool


@dataclass(frozen=True, eq=False)
class Ranks:
    """The processes that train together, as one of them sees them. One process alone is `ALONE`.

    Every method but the properties is a collective: all ranks call it, in the same order.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
        control: group of the CPUs, for small values.
    """

    rank: int = 0
    size: int = 1
    control: Any = None

    @staticmethod
    def of_process(timeout: timedelta = TIMEOUT) -> Ranks:
        """The ranks of torch's default process group; `ALONE` where there is none.

        Args:
            timeout: how long a rank waits for the others before it gives up.
        """
        if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
            return ALONE
        with _talking(dist.get_rank(), dist.get_world_size(), "meeting the other ranks"):
            control = dist.new_group(backend="gloo", timeout=timeout)
        atexit.unregister(_leave)
        atexit.register(_leave)
        return Ranks(dist.get_rank(), dist.get_world_size(), control)

    @staticmethod
    def of_launch(timeout: timedelta = TIMEOUT) -> Ranks:
        """The processes that torchrun started, for work that sends no tensors between devices; `ALONE` without it.

        Args:
            timeout: as of `of_process`.

        Raises:
            LostRankError: the others do not come.
        """
        size = int(os.environ.get("WORLD_SIZE", 1))
        if size > 1 and not dist.is_initialized():
            with _talking(int(os.environ["RANK"]), size, "meeting the other ranks"):
                dist.init_process_group("gloo", timeout=timeout)
        return Ranks.of_process(timeout)

    @property
    def is_main(self) -> bool:
        """This process is the one that writes files and talks to people."""
        return self.rank == 0

    def exchange(self, value: Value, what: str = "exchanging sizes") -> list[Value]:
        """The value of each rank, on every rank. For small picklable values; tensors on the CPU.

        Raises:
            LostRankError: a rank does not answer.
        """
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _talking(self.rank, self.size, what):
            dist.all_gather_object(values, value, group=self.control)
        return values

    def agree(self, failed: bool) -> bool:
        """True on every rank if it is on any.

        Raises:
            LostRankError: a rank does not answer.
        """
        return any(self.exchange(failed, "agreeing on a failure"))

    def from_main(self, make: Callable[[], Value], what: str = "waiting for rank 0") -> Value:
        """What ``make`` returns on rank 0, where alone it is called; its error, too, reaches every rank.

        Raises:
            PeerError: ``make`` failed (on rank 0: its own error).
            LostRankError: a rank does not answer.
        """
        if self.size == 1:
            return make()
        made: list[Value] = []
        with self.together(what):
            if self.is_main:
                made.append(make())
        return self.exchange(made[0] if made else None, what)[0]  # type: ignore[return-value]

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Something each rank does for itself, after which either all go on or none.

        A rank that fails raises its own error, the others a `PeerError` in the same place, so that all of them
        can undo the step and try again, or end with the reason instead of waiting for a rank that is gone.

        Args:
            what: for the messages, e.g. "embedding".

        Raises:
            PeerError: another rank failed.
            LostRankError: a rank does not answer.
        """
        if self.size == 1:
            yield
            return
        try:
            yield
        except (LostRankError, PeerError):
            raise  # the others know, or cannot be told
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            self.exchange(_Failure(what, reason, is_out_of_memory(error)), what)
            raise
        failures = self.exchange(None, what)
        for rank, failure in enumerate(failures):
            if isinstance(failure, _Failure):
                raise PeerError(
                    f"rank {rank} of {self.size} failed while {failure.what}: {failure.reason}",
                    rank=rank,
                    out_of_memory=all(f is None or f.out_of_memory for f in failures),
                )

    def gather(self, values: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        """The tensor of each rank, on every rank; all of one dtype.

        Args:
            values: this rank's.
            shapes: of each rank's tensor, as many dimensions each (see `exchange`).

        Raises:
            PeerError: another rank has no memory for them.
            LostRankError: a rank does not answer.
        """
        if self.size == 1:
            return [values]
        with self.together("making room for the vectors of all ranks"):
            padded = values.new_zeros([max(sizes) for sizes in zip(*shapes, strict=True)])
            padded[_corner(shapes[self.rank])] = values
            pieces = [torch.empty_like(padded) for _ in range(self.size)]
        with _talking(self.rank, self.size, "gathering vectors"):
            dist.all_gather(pieces, padded, group=self._group(padded))
        return [piece[_corner(shape)] for piece, shape in zip(pieces, shapes, strict=True)]

    def add(self, tensors: Sequence[Tensor], what: str = "adding gradients") -> None:
        """Each tensor becomes its sum over the ranks, in place; same shapes and dtypes on every rank.

        Tensors of one dtype share buckets of `BUCKET_BYTES`, so that hundreds of small ones cost few messages.

        Raises:
            LostRankError: a rank does not answer.
        """
        if self.size == 1:
            return
        with _talking(self.rank, self.size, what):
            for bucket in buckets(tensors):
                with _flat(bucket) as flat:
                    dist.all_reduce(flat, group=self._group(flat))

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes rank 0's, in place.

        Raises:
            LostRankError: a rank does not answer.
        """
        if self.size == 1:
            return
        with torch.no_grad(), _talking(self.rank, self.size, "receiving the weights of rank 0"):
            for bucket in buckets([tensor.detach() for tensor in tensors]):
                with _flat(bucket) as flat:
                    dist.broadcast(flat, src=0, group=self._group(flat))

    def _group(self, tensor: Tensor) -> Any:
        """The default group is the devices'; it need not know how to send what lies on the CPU."""
        return self.control if tensor.device.type == "cpu" else None

    def share(self, count: int) -> slice:
        """This rank's part of ``count`` things in order: as even as can be, the first ranks one more."""
        return share(count, self.rank, self.size)


ALONE = Ranks()


def share(count: int, rank: int, size: int) -> slice:
    """Where the part of ``rank`` lies among ``count`` things split over ``size`` ranks in order."""
    each, more = divmod(count, size)
    begin = rank * each + min(rank, more)
    return slice(begin, begin + each + (rank < more))


def buckets(tensors: Sequence[Tensor], limit: int = BUCKET_BYTES) -> Iterator[list[Tensor]]:
    """Tensors of one dtype and device together, up to ``limit`` bytes (or one that is larger), in order."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in kinds.values():
        bucket: list[Tensor] = []
        filled = 0
        for tensor in alike:
            if bucket and filled + tensor.nbytes > limit:
                yield bucket
                bucket, filled = [], 0
            bucket.append(tensor)
            filled += tensor.nbytes
        yield bucket


def ranks_here() -> int:
    """How many of the processes that torchrun started share this machine; 1 without torchrun."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


@contextmanager
def _flat(bucket: Sequence[Tensor]) -> Iterator[Tensor]:
    """The tensors as one; what becomes of it is put back into them."""
    if len(bucket) == 1 and bucket[0].is_contiguous():
        yield bucket[0]
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    yield flat
    for tensor, piece in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(piece.view_as(tensor))


def _corner(shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in shape)


@contextmanager
def _talking(rank: int, size: int, what: str) -> Iterator[None]:
    """Collectives; what torch raises where another process is gone becomes a message for people."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise LostRankError(
            f"rank {rank} of {size} lost another rank while {what}: its process ended or stopped answering. "
            f"What went wrong stands in that rank's output. ({reason})"
        ) from error
