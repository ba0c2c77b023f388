"""Random numbers that depend on nothing but what they are for, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from sightline.training.step import RandomState


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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, every generator of the CPU starts from ``seed``; afterwards they go on as before."""
    with undisturbed():
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        torch.random.default_generator.manual_seed(seed)
        yield
