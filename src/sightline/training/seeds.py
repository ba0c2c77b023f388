"""Seeds that depend on nothing but what they are for, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def mix(seed: int, number: int) -> int:
    """One 63-bit number out of two, so that seed 1 with number 0 is not seed 0 with number 1."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9) % (1 << 63)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the CPU's generators of Python, numpy and torch start from ``seed``; afterwards they go on as before."""
    python, arrays, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        torch.set_rng_state(tensors)
