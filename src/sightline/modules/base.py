"""What every part of a model is: features in, features out, and the facts it is saved with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import nn


class Module(nn.Module, ABC):
    """One part of a model.

    A part reads some entries of the feature dict and writes others (``token_embeddings`` (N, T, D),
    ``sentence_embedding`` (N, D)), so that parts chain in any order a checkpoint lists.

    Attributes:
        kind: the name under which `checkpoint.dialects` knows the part.
    """

    kind: ClassVar[str]

    @abstractmethod
    def forward(self, features: dict[str, Any]) -> dict[str, Any]: ...

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The JSON facts the part is rebuilt from, under ST's names; weights are saved apart."""
        ...

    @property
    def output_dim(self) -> int | None:
        """Dimension of what the part writes, or None when it keeps the dimension it was given."""
        return None
