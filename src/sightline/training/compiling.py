"""torch.compile for the layers of a model's backbones.

A transformer's layers share their code, so one of them is compiled and all run it; what stands around them (the
embedding of tokens, pooling, the step) stays as it is. Sizes are compiled as unknowns, so that one graph serves
micro-batches of every shape: graphs for fixed sizes, to which rows would have to be padded, were no faster
(``benchmarks/compile.py``).

Whether compiled layers are the faster ones depends on the model and the machine, so it is measured (`compare`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sightline.errors import ConfigError
from sightline.training.limits import Limits
from sightline.training.plan import Collate
from sightline.training.samples import Sample
from sightline.training.step import device_of, forward
from sightline.types import Features

# Rows that the layers are tried on have about so many tokens; how often they are; and what counts as faster.
TRIAL_TOKENS = 4_096
ROUNDS = 5
FASTER = 0.97

BACKEND = "inductor"
COMPILERS = ("g++", "clang++", "c++", "cl")


def compile_layers(
    model: nn.Module, *, device: torch.device, backend: str | None = None, mode: str | None = None
) -> int:
    """Compiles the repeated layers of a model in place; names and weights stay as they are.

    Args:
        model: an encoder or a reranker.
        device: where it runs.
        backend: torch.compile's; `BACKEND` by default.
        mode: torch.compile's.

    Returns:
        How many layers run compiled.

    Raises:
        ConfigError: there is nothing to compile, or nothing to compile with.
    """
    layers = list(repeated_layers(model))
    if not layers:
        raise ConfigError("torch_compile: the model has no repeated layers to compile; leave it out")
    backend = backend or BACKEND
    if device.type == "cpu" and backend == "inductor" and not _has_compiler():
        raise ConfigError(
            "torch_compile on the CPU needs a C++ compiler, and there is none; install g++, set CXX, or leave it out"
        )
    for layer in layers:
        layer.compile(dynamic=True, backend=backend, mode=mode)
    return len(layers)


def uncompile_layers(model: nn.Module) -> None:
    """Undoes `compile_layers`."""
    for layer in repeated_layers(model):
        layer._compiled_call_impl = None  # what `nn.Module.compile` set; it has no opposite


@dataclass(frozen=True)
class Comparison:
    """Seconds of a forward and backward pass, the least of some.

    Attributes:
        compiled: with compiled layers.
        plain: with the layers as they are.
    """

    compiled: float
    plain: float

    @property
    def helps(self) -> bool:
        """Whether compiled layers are faster by more than chance."""
        return self.compiled < FASTER * self.plain


def compare(work: Callable[[], None], *, clock: Callable[[], float] = time.perf_counter) -> Comparison:
    """Times a pass over a model with compiled layers, and with the same layers as they are, in turns.

    Args:
        work: the pass. Its first two calls, which compile, do not count.
        clock: tells seconds.
    """
    for _ in range(2):
        work()
    compiled, plain = [], []
    for _ in range(ROUNDS):
        with torch.compiler.set_stance("force_eager"):
            plain.append(_seconds(work, clock))
        compiled.append(_seconds(work, clock))
    return Comparison(min(compiled), min(plain))


def pass_over(
    model: nn.Module,
    collate: Collate,
    samples: Sequence[Sample],
    autocast: torch.dtype | None,
    limits: Limits,
) -> Callable[[], None]:
    """A forward and backward pass over some of the run's items; it leaves gradients and random state as they are.

    Args:
        model: on its device.
        collate: the model's.
        samples: of `take_samples`; those of the commonest group are repeated up to `TRIAL_TOKENS`.
        autocast: type the model computes in; None for its weights'.
        limits: of the run's micro-batches, which have been found to fit.
    """
    groups = [sample.features.group for sample in samples]
    group = max(groups, key=groups.count)
    some = [sample.features for sample in samples if sample.features.group == group]
    rows: list[Features] = []
    most = min(TRIAL_TOKENS, limits.token_budget or TRIAL_TOKENS)
    while len(rows) < (limits.max_items or TRIAL_TOKENS):
        longer = [*rows, some[len(rows) % len(some)]]
        if rows and len(longer) * max(one.cost.total for one in longer) > most:
            break
        rows = longer
    micro_batch, device = collate(rows, range(len(rows))), device_of(model)
    learnt = [one for one in model.parameters() if one.requires_grad]

    def work() -> None:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            values = forward(model, micro_batch, autocast).values
            if values.requires_grad:
                torch.autograd.grad(values.float().sum(), learnt, allow_unused=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return work


def _seconds(work: Callable[[], None], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def repeated_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The members of every list of modules of one class, outermost lists only."""
    for child in model.children():
        members = list(child) if isinstance(child, nn.ModuleList) else []
        if len(members) > 1 and len({type(one) for one in members}) == 1:
            yield from members
        else:
            yield from repeated_layers(child)


def _has_compiler() -> bool:
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else COMPILERS))
