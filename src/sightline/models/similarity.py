"""Similarity of two sets of vectors, or of token vectors: larger is more alike.

Shape letters: Q queries, N documents, P pairs, D dimension, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sightline.errors import ConfigError, InputError
from sightline.modules.maxsim import TokenVectors, maxsim, maxsim_pairs
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
# Of token vectors, and whether the best matches are averaged over the query's tokens.
TOKEN_SIMILARITIES: Mapping[str, bool] = {"maxsim": False, "meanmaxsim": True}


def similarity_name(name: str | None, *, multi_vector: bool) -> str:
    """The measure a model has: the one named, or the usual one of its kind.

    Raises:
        ConfigError: a measure that does not exist or is not for this kind of model.
    """
    known = tuple(TOKEN_SIMILARITIES if multi_vector else SIMILARITIES)
    if name is not None and name not in known:
        if name in (*SIMILARITIES, *TOKEN_SIMILARITIES):
            kind = "a vector per token" if multi_vector else "one vector per item"
            raise ConfigError(
                f"the similarity {name!r} is not for a model that gives {kind}; use {', '.join(known)}"
            )
        raise ConfigError(f"unknown similarity {name!r}; known: {', '.join(known)}")
    return name or known[0]


def similarity(name: str, first: Embeddings | Tensor, second: Embeddings | Tensor) -> Tensor:
    """Similarity (Q, N) of two sets by a measure of `SIMILARITIES` or `TOKEN_SIMILARITIES`.

    MaxSim is computed in blocks of bounded size; the first set are the queries.

    Args:
        name: of the measure.
        first: (Q, D); of token vectors (Q, T, D) with their mask, or a tensor whose padding is zero.
        second: (N, D) or (N, T, D).

    Raises:
        InputError: vectors of different dimensions, or token vectors where the measure compares one per item.
    """
    left, right = _values(name, first), _values(name, second)
    _check_width(left, right)
    if name in TOKEN_SIMILARITIES:
        queries, documents = TokenVectors(left, _mask(first)), TokenVectors(right, _mask(second))
        return maxsim(queries, documents, mean=TOKEN_SIMILARITIES[name])
    return SIMILARITIES[name](left, right)


def similarity_pairwise(name: str, first: Embeddings | Tensor, second: Embeddings | Tensor) -> Tensor:
    """Similarity (P,) of each vector with the one at its place in the other set; arguments as of `similarity`.

    Raises:
        InputError: as `similarity`, or sets of different sizes.
    """
    left, right = _values(name, first), _values(name, second)
    _check_width(left, right)
    if len(left) != len(right):
        raise InputError(f"pairs need sets of the same size, not {len(left)} and {len(right)}")
    if name in TOKEN_SIMILARITIES:
        masks = [
            values.ne(0).any(-1) if mask is None else mask
            for values, mask in ((left, _mask(first)), (right, _mask(second)))
        ]
        return maxsim_pairs(left, masks[0], right, masks[1], mean=TOKEN_SIMILARITIES[name])
    left, right = left.float(), right.float()
    if name == "cosine":
        left, right = normalize(left, dim=-1), normalize(right, dim=-1)
    if name in ("cosine", "dot"):
        return (left * right).sum(-1)
    return -(left - right).norm(p=2 if name == "euclidean" else 1, dim=-1)


def _values(name: str, given: Embeddings | Tensor) -> Tensor:
    values = given.values if isinstance(given, Embeddings) else torch.as_tensor(given)
    if (values.ndim == 3) != (name in TOKEN_SIMILARITIES):
        shape = "(items, tokens, dimension)" if name in TOKEN_SIMILARITIES else "(items, dimension)"
        raise InputError(f"{name} compares vectors of shape {shape}; these have shape {tuple(values.shape)}")
    return values


def _mask(given: Embeddings | Tensor) -> Tensor | None:
    return given.mask if isinstance(given, Embeddings) else None


def _check_width(left: Tensor, right: Tensor) -> None:
    if left.shape[-1] != right.shape[-1]:
        raise InputError(
            f"vectors of {left.shape[-1]} and of {right.shape[-1]} dimensions cannot be compared; truncate both alike"
        )
