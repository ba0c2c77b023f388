"""torch.compile for the layers of a model's backbones.

A transformer's layers share their code, so one of them is compiled and all run it; what stands around them (the
embedding of tokens, pooling, the step) stays as it is. Sizes are compiled as unknowns, so that micro-batches of
other shapes do not compile again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import torch
from torch import nn

from sightline.errors import ConfigError

COMPILERS = ("g++", "clang++", "c++", "cl")


def compile_layers(
    model: nn.Module, *, device: torch.device, backend: str | None = None, mode: str | None = None
) -> int:
    """Compiles the repeated layers of a model in place; names and weights stay as they are.

    Args:
        model: an encoder or a reranker.
        device: where it runs.
        backend: torch.compile's; inductor by default.
        mode: torch.compile's.

    Returns:
        How many layers run compiled.

    Raises:
        ConfigError: there is nothing to compile, or nothing to compile with.
    """
    layers = list(repeated_layers(model))
    if not layers:
        raise ConfigError("torch_compile: the model has no repeated layers to compile; leave it out")
    if device.type == "cpu" and backend in (None, "inductor") and not _has_compiler():
        raise ConfigError(
            "torch_compile on the CPU needs a C++ compiler, and there is none; install g++, set CXX, or leave it out"
        )
    for layer in layers:
        layer.compile(dynamic=True, backend=backend or "inductor", mode=mode)
    return len(layers)


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
