"""Similarity of two sets of vectors: larger is more alike.

Shape letters: Q queries, N documents, D dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sightline.errors import InputError
from sightline.types import Embeddings


def cosine(first_QD: Tensor, second_ND: Tensor) -> Tensor:
    """Cosine similarity (Q, N)."""
    return normalize(first_QD.float(), dim=-1) @ normalize(second_ND.float(), dim=-1).T


def dot(first_QD: Tensor, second_ND: Tensor) -> Tensor:
    """Dot product (Q, N)."""
    return first_QD.float() @ second_ND.float().T


def euclidean(first_QD: Tensor, second_ND: Tensor) -> Tensor:
    """Negative Euclidean distance (Q, N)."""
    return -torch.cdist(first_QD.float(), second_ND.float(), p=2)


def manhattan(first_QD: Tensor, second_ND: Tensor) -> Tensor:
    """Negative Manhattan distance (Q, N)."""
    return -torch.cdist(first_QD.float(), second_ND.float(), p=1)


SIMILARITIES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine,
    "dot": dot,
    "euclidean": euclidean,
    "manhattan": manhattan,
}


def similarity(name: str, first: Embeddings | Tensor, second: Embeddings | Tensor) -> Tensor:
    """Similarity (Q, N) of two sets of vectors by a measure of `SIMILARITIES`.

    Raises:
        InputError: vectors of different dimensions.
    """
    left, right = (
        one.values if isinstance(one, Embeddings) else torch.as_tensor(one) for one in (first, second)
    )
    if left.shape[-1] != right.shape[-1]:
        raise InputError(
            f"vectors of {left.shape[-1]} and of {right.shape[-1]} dimensions cannot be compared; truncate both alike"
        )
    return SIMILARITIES[name](left, right)
