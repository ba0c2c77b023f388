"""Similarities between two lists of vectors, at full length and at Matryoshka prefixes.

Shape letters::

    L  left vectors     R  right vectors     D  embedding dimension     K  prefixes
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

Similarity = Literal["cosine", "dot"]
SIMILARITIES: tuple[Similarity, ...] = ("cosine", "dot")

# Squared length under which a vector counts as zero; sentence-transformers' eps of 1e-12, squared.
ZERO_SQUARED_NORM = 1e-24


def score_matrix(left_LD: Tensor, right_RD: Tensor, similarity: Similarity = "cosine") -> Tensor:
    """Similarities (L, R). A zero vector has cosine 0 with everything and gets no gradient.

    bfloat16 and float16 vectors are compared in float32: a softmax at temperature 0.05 multiplies every
    rounding error by twenty.
    """
    left_LD, right_RD = _at_least_float32(left_LD), _at_least_float32(right_RD)
    dots_LR = left_LD @ right_RD.T
    if similarity == "dot":
        return dots_LR
    left_L = inverse_norm(left_LD.square().sum(-1))
    right_R = inverse_norm(right_RD.square().sum(-1))
    return dots_LR * left_L[:, None] * right_R[None, :]


def prefix_cosines(left_LD: Tensor, right_RD: Tensor, dims: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """Yields ``(dim, cosine (L, R))`` of the vectors cut to each dim, in ascending order of ``dims``.

    The dot product of a prefix is the dot product of the prefix before it plus that of the block between
    them, and so is the squared norm; so all K prefixes together cost one product over the longest of them
    instead of K products. Gradients flow through both sums.

    Args:
        left_LD: (L, D) vectors of any length.
        right_RD: (R, D) vectors of any length.
        dims: distinct prefix lengths, each between 1 and D.
    """
    left_LD, right_RD = _at_least_float32(left_LD), _at_least_float32(right_RD)
    dots_LR = left_LD.new_zeros(())
    left_L = left_LD.new_zeros(())
    right_R = left_L
    begin = 0
    for end in sorted(dims):
        left_block, right_block = left_LD[:, begin:end], right_RD[:, begin:end]
        dots_LR = dots_LR + left_block @ right_block.T
        left_L = left_L + left_block.square().sum(-1)
        right_R = right_R + right_block.square().sum(-1)
        yield end, dots_LR * inverse_norm(left_L)[:, None] * inverse_norm(right_R)[None, :]
        begin = end


def inverse_norm(squared: Tensor) -> Tensor:
    """1 / sqrt(squared), and 0 with gradient 0 where ``squared`` is (almost) zero.

    Both branches of ``where`` are differentiated, so the root is taken of a safe value first: 0 times the
    infinite slope of the root at zero would be nan.
    """
    is_zero = squared <= ZERO_SQUARED_NORM
    return torch.where(is_zero, squared.new_zeros(()), torch.where(is_zero, 1.0, squared).rsqrt())


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
