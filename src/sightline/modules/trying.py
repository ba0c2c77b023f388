"""Trying what a transformers model can do, on inputs made up for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from sightline.modules.flash import number_type_of
from sightline.modules.modes import evaluating
from sightline.modules.varlen_attention import HALF

# How models fail on inputs they were not made for, and kernels on machines they are not for.
FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError, ImportError)


@contextmanager
def trying(model: PreTrainedModel, *, half: bool = False) -> Iterator[None]:
    """Evaluation mode, no graph, and the number type of the weights or, where asked for, half precision.

    Args:
        model: put into evaluation mode, and back.
        half: what is tried computes in half precision only, as flash attention does. Weights in float32 then
            run under autocast, in the type of the context or else in bfloat16.
    """
    own, here = model.dtype, number_type_of(model)
    dtype = here if here in HALF else torch.bfloat16
    autocast = torch.autocast(model.device.type, dtype=dtype, enabled=half and own not in HALF)
    with evaluating(model), torch.inference_mode(), autocast:
        yield


def failure(error: Exception) -> str:
    """What went wrong in a trial, in one line.

    Raises:
        torch.OutOfMemoryError: it was a lack of memory, which says nothing about the model.
    """
    if isinstance(error, torch.OutOfMemoryError):
        raise error
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
