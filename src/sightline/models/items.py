"""What a person hands to `encode`, as items one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sightline.inputs.parse import parse
from sightline.types import Item


@dataclass(frozen=True)
class Items:
    """Items to be embedded, read once, one at a time: nothing is parsed before its turn.

    Attributes:
        stream: the items in order.
        count: how many there will be, or None for an iterable of unknown length.
    """

    stream: Iterator[Item]
    count: int | None


def items_of(inputs: Any, modalities: Sequence[str]) -> Items:
    """The items of one input or of an iterable of them.

    Args:
        inputs: as of `Encoder.encode`.
        modalities: what the model reads.

    Raises:
        InputError: a value of a sequence is missing; others are found when the stream reaches them.
    """
    values: Iterable[Any] = [inputs] if is_one(inputs) else inputs
    if isinstance(values, (list, tuple)):
        # A gap is the commonest mistake; better found now than after hours.
        for number, value in enumerate(values):
            if value is None or isinstance(value, float):
                parse(value, source=_source(number), modalities=modalities)
    return Items(_parsed(values, modalities), len(values) if isinstance(values, Sized) else None)


def _parsed(values: Iterable[Any], modalities: Sequence[str]) -> Iterator[Item]:
    for number, value in enumerate(values):
        if isinstance(value, Item):
            yield value
        else:
            yield parse(value, source=_source(number), modalities=modalities)


def _source(number: int) -> str:
    return f"input {number}"


def is_one(value: Any) -> bool:
    """Whether a value is one input rather than an iterable of them (a list, a dataset column, a generator)."""
    if isinstance(value, (str, bytes, Mapping, Path, Item)) or not isinstance(value, Iterable):
        return True
    if isinstance(value, Sequence):
        # Chat messages are one input.
        first = value[0] if len(value) else None
        return isinstance(first, dict) and {"role", "content"} <= set(first)
    return _is_array(value)


def _is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "OSU"  # an array of strings is a column of texts
    return isinstance(value, Tensor) or type(value).__module__.split(".")[0] in ("numpy", "PIL")
