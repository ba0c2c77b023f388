"""Work in the middle of training that must not change what training draws."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


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


@contextmanager
def undisturbed(device: torch.device | None = None) -> Iterator[None]:
    """Whatever is drawn inside, the generators of Python, numpy and torch go on as if nothing had been.

    Args:
        device: its generator is kept too, beside the CPU's.
    """
    python, arrays = random.getstate(), np.random.get_state()
    tensors = RandomState.of(device or torch.device("cpu"))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        tensors.restore()
