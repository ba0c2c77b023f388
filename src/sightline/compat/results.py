"""What ST's models return, out of what ours do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sightline.models.items import is_one
from sightline.models.reranker import is_one_pair
from sightline.types import Embeddings, Precision


def encoded(inputs: Any, found: Embeddings, *, precision: Precision, as_tensor: bool, as_array: bool) -> Any:
    """Vectors in ST's forms.

    Args:
        inputs: what was embedded.
        found: of it (N, D).
        precision: of `Embeddings.quantize`.
        as_tensor: a tensor (N, D).
        as_array: else an array (N, D); without either a list of tensors (D,).

    Returns:
        Of a single input only its vector, (D,).
    """
    values = found if precision == "float32" else found.quantize(precision)
    result = _form(values.values, values.numpy(), as_tensor=as_tensor, as_array=as_array)
    return result[0] if is_one(inputs) else result


def scored(inputs: Any, found: np.ndarray, *, as_tensor: bool, as_array: bool) -> Any:
    """Scores in ST's forms, as of `encoded`."""
    result = _form(torch.from_numpy(found), found, as_tensor=as_tensor, as_array=as_array)
    return result[0] if is_one_pair(inputs) else result


def _form(tensor: torch.Tensor, array: np.ndarray, *, as_tensor: bool, as_array: bool) -> Any:
    if as_tensor:
        return tensor
    return array if as_array else list(tensor)
