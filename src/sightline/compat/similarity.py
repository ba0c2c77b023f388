"""ST's similarity functions over ours."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from sightline.models.similarity import similarity


class SimilarityFunction(StrEnum):
    """How a model compares vectors."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


def cos_sim(a: Any, b: Any) -> Tensor:
    """Cosine similarity (len(a), len(b)) of vectors (N, D), or (D,) for one."""
    return similarity("cosine", _rows(a), _rows(b))


def dot_score(a: Any, b: Any) -> Tensor:
    """Dot product (len(a), len(b)) of vectors (N, D), or (D,) for one."""
    return similarity("dot", _rows(a), _rows(b))


def _rows(vectors: Any) -> Tensor:
    found = torch.as_tensor(vectors)
    return found.unsqueeze(0) if found.ndim == 1 else found
