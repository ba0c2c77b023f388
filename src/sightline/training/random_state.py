"""Work in the middle of training that must not change what training draws."""

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
