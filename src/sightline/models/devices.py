"""Where a model runs, and in which number type."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from sightline.errors import ConfigError


def default_device() -> str:
    """``cuda``, ``mps`` or ``cpu``, whichever the machine has first; of several GPUs the one torchrun meant."""
    if torch.cuda.is_available():
        mine = os.environ.get("LOCAL_RANK")
        return "cuda" if mine is None else f"cuda:{mine}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def usable_device(device: str | torch.device | None) -> torch.device:
    """``device``, or the default where it is None.

    Raises:
        ConfigError: there is no such device on this machine, or torch was built without it.
    """
    try:
        found = torch.device(device or default_device())
        torch.empty(0, device=found)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"device {str(device)!r} cannot be used on this machine ({reason}); "
            f"leave it out to use {default_device()!r}"
        ) from error
    return found


def floating_dtype(model: nn.Module) -> torch.dtype:
    """The number type of a model's weights; of a backbone in 4 or 8 bits, whose weights are whole numbers, that of the
    others."""
    return next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)


def number_type(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """The context in which a float32 model computes its matrix products in bfloat16, or one that changes nothing.

    Matrix products and attention take and give bfloat16; what they are added to (the residual stream), the layer
    norms and the pooling stay in float32, which keeps vectors within cosine 0.9999 of float32 (texts for which
    that does not do: `models.repetition`). Weights are converted once per context.

    Raises:
        ConfigError: the device does not compute in bfloat16.
    """
    if not bf16:
        return nullcontext()
    known = torch.amp.is_autocast_available(device.type)
    if not known or (device.type == "cuda" and not torch.cuda.is_bf16_supported()):
        raise ConfigError(f"the device {str(device)!r} does not compute in bfloat16; leave bf16 out")
    return torch.autocast(device.type, dtype=torch.bfloat16)


def computing_in(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """The context in which a model computes its matrix products in a type; None for that of its weights."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def float32(device: torch.device) -> AbstractContextManager[object]:
    """The context that leaves `number_type` for a while."""
    return torch.autocast(device.type, enabled=False)
