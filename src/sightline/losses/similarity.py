"""Lengths of vectors and of their Matryoshka prefixes.

Shape letters::

    N  vectors     D  embedding dimension     K  prefixes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from sightline.errors import ConfigError

# "cosine" and "dot" compare vectors, of token vectors the best matches are summed; the others are for token vectors
# alone: their products, summed ("maxsim") or averaged ("meanmaxsim") over the tokens of the query.
Similarity = Literal["cosine", "dot", "maxsim", "meanmaxsim"]
SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot", "maxsim", "meanmaxsim")
MAXSIMS = ("maxsim", "meanmaxsim")


def check_similarity(similarity: str, loss: str) -> None:
    """Raises ConfigError for a name that is none of `SIMILARITIES`."""
    if similarity not in SIMILARITIES:
        raise ConfigError(f"{loss} knows the similarities {', '.join(SIMILARITIES)}, not {similarity!r}")


def compared_by(similarity: Similarity) -> Literal["tokens", "either"]:
    """What of a model a measure compares; see `sightline.losses.needs.Needs`."""
    return "tokens" if similarity in MAXSIMS else "either"


def check_temperature(temperature: float, loss: str) -> None:
    """Raises ConfigError for a temperature that is not above 0."""
    if not temperature > 0:
        raise ConfigError(f"{loss} needs a temperature above 0, not {temperature}")


# Squared length under which a vector counts as zero; sentence-transformers' eps of 1e-12, squared.
ZERO_SQUARED_NORM = 1e-24
# Vectors whose squares are held at once.
_ROWS = 4096


def at_least_float32(values: Tensor) -> Tensor:
    """float32 and float64 as they are, anything below in float32: a softmax at temperature 0.05 multiplies
    every rounding error by twenty."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def prefix_inverse_norms(values_ND: Tensor, slices: Sequence[tuple[int, int]]) -> Tensor:
    """(K, N) one over the length of each vector cut at the end of each slice; 0 where the prefix is zero.

    Args:
        values_ND: vectors of any length.
        slices: (begin, end) of consecutive pieces of the dimensions, from 0 on. The squared length of a prefix is
            that of the prefix before it plus that of the slice between them.
    """
    squared_KN = torch.stack(
        [
            torch.cat([piece[:, begin:end].square().sum(1) for piece in values_ND.split(_ROWS)])
            for begin, end in slices
        ]
    ).cumsum(0)
    return squared_KN.rsqrt().masked_fill_(squared_KN <= ZERO_SQUARED_NORM, 0.0)
