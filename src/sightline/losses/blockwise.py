"""Value and gradient of score losses in row blocks: the score matrix never exists, for any number of prefixes.

Shape letters::

    N  distinct items of the batch    D  embedding dimension       K  Matryoshka prefixes, ascending
    L  rows of a term's scores        R  columns of its scores     P  names of parts
    b  rows of a block                l  rows of it that are worked on while they lie in the cache
    n  items whose vectors are gathered at once

The cosine of row i and column j cut at prefix k is ``dot_k[i, j] / (|x_i|_k |y_j|_k)``, and ``dot_k`` is the sum of
what the slices of the dimensions up to k contribute. With ``W_k`` the loss's derivative at ``dot_k``, slice s of the
gradient is::

    for x_i:  sum_j (W_s + W_{s+1} + ... + W_K)[i, j] y_j  -  x_i sum_{k >= s} sum_j W_k[i, j] dot_k[i, j] / |x_i|_k**2

and the same for y_j with rows and columns exchanged. So the sums over the longer prefixes are taken before the
products, and all K prefixes together cost three products over the dimensions (one for the scores, two for the
gradients), as a single one does. What is left per prefix is elementwise.

The gradient is computed along with the value, with every part counted once, as training does; a backward pass
that weighs parts differently computes it again.

Memory: the gradient (N, D), about `block_bytes` for the blocks, and 12 K (L + R) bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sightline.losses.base import GroupedTerm, ScoreTerm
from sightline.losses.similarity import at_least_float32, prefix_inverse_norms
from sightline.modules.cpu import add_product, product

# Below this many rows the matrix products slow down, above it they gain nothing.
_ROWS = 1024
# Scores that are worked on while they lie in the processor's cache.
_CACHED_SCORES = 2**19


def block_bytes(device: torch.device) -> int:
    """Memory for the blocks of scores; an accelerator needs larger ones to be busy."""
    return 2**27 if device.type == "cpu" else 2**30


def prefix_parts(
    values_ND: Tensor,
    terms: Sequence[ScoreTerm],
    dims: Sequence[int],
    *,
    similarity: str,
    weights: Sequence[float] | None = None,
    memory: int | None = None,
) -> dict[str, Tensor]:
    """Each part as (K,), one value per dim in the order of ``dims``.

    Args:
        values_ND: vectors of any length; below float32 they are compared in float32. A vector whose prefix is
            zero has cosine 0 with everything and gets no gradient from it.
        terms: what is summed, see `ScoreTerm`.
        dims: distinct prefix lengths, each between 1 and D.
        similarity: "cosine" (every prefix brought to unit length) or "dot".
        weights: one factor per dim, 1 by default.
        memory: bytes for the blocks of scores, by default `block_bytes`.
    """
    values_ND = at_least_float32(values_ND)
    order = sorted(range(len(dims)), key=dims.__getitem__)
    ends = [dims[number] for number in order]
    job = _Job(
        terms=tuple(terms),
        names=tuple(dict.fromkeys(term.name for term in terms)),
        slices=tuple(zip([0, *ends], ends, strict=False)),
        cosine=similarity == "cosine",
        memory=block_bytes(values_ND.device) if memory is None else memory,
    )
    factors = [1.0] * len(dims) if weights is None else list(weights)
    weights_K = [factors[number] for number in order]
    if values_ND.requires_grad and torch.is_grad_enabled():
        parts_KP = _Parts.apply(values_ND, job, weights_K)
    else:
        with torch.no_grad():
            parts_KP = job.run(values_ND, weights_K, None)[0]
    back = sorted(range(len(dims)), key=order.__getitem__)
    return {name: parts_KP[back, number] for number, name in enumerate(job.names)}


class _Parts(torch.autograd.Function):
    """The parts (K, P) with the gradient of their sum already computed."""

    @staticmethod
    def forward(ctx: Any, values_ND: Tensor, job: _Job, weights_K: list[float]) -> Tensor:
        ctx.save_for_backward(values_ND)
        ctx.job, ctx.weights_K = job, weights_K
        parts_KP, ctx.gradient_ND = job.run(values_ND, weights_K, [[1.0] * len(job.names)] * len(weights_K))
        return parts_KP

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scales_KP: Tensor) -> tuple[Tensor, None, None]:
        first = scales_KP[0, 0]
        # Handed out once, so that it can be scaled in place and become `grad` without a copy.
        gradient_ND, ctx.gradient_ND = ctx.gradient_ND, None
        if gradient_ND is not None and bool((scales_KP == first).all()):
            return gradient_ND.mul_(first), None, None
        del gradient_ND
        (values_ND,) = ctx.saved_tensors
        return ctx.job.run(values_ND, ctx.weights_K, scales_KP.tolist())[1], None, None


@dataclass(frozen=True)
class _Job:
    """What is computed, apart from the vectors."""

    terms: tuple[ScoreTerm, ...]
    names: tuple[str, ...]
    slices: tuple[tuple[int, int], ...]
    cosine: bool
    memory: int

    def run(
        self, values_ND: Tensor, weights_K: Sequence[float], scales_KP: Sequence[Sequence[float]] | None
    ) -> tuple[Tensor, Tensor | None]:
        """The weighted parts (K, P), and with ``scales_KP`` the gradient of their sum times these factors."""
        parts_KP = values_ND.new_zeros(len(self.slices), len(self.names))
        gradient_ND = None if scales_KP is None else torch.zeros_like(values_ND)
        with torch.autocast(values_ND.device.type, enabled=False):
            inverse_KN = prefix_inverse_norms(values_ND, self.slices) if self.cosine else None
            for term in self.terms:
                part = self.names.index(term.name)
                factors_K = list(weights_K)
                if scales_KP is not None:
                    factors_K = [w * row[part] for w, row in zip(weights_K, scales_KP, strict=True)]
                blocks = _Blocks(
                    term, self.slices, factors_K, values_ND, inverse_KN, gradient_ND, self.memory
                )
                parts_KP[:, part] += blocks.run()
        return parts_KP * parts_KP.new_tensor(weights_K)[:, None], gradient_ND


class _Blocks:
    """One term, block of rows by block of rows; adds to ``gradient_ND`` unless that is None."""

    def __init__(
        self,
        term: ScoreTerm,
        slices: Sequence[tuple[int, int]],
        factors_K: Sequence[float],
        values_ND: Tensor,
        inverse_KN: Tensor | None,
        gradient_ND: Tensor | None,
        memory: int,
    ) -> None:
        self.term, self.slices, self.factors_K = term, slices, factors_K
        self.width = slices[-1][1]
        # Dimensions beyond the longest prefix have no part in anything.
        self.values_ND = values_ND[:, : self.width]
        self.gradient_ND = None if gradient_ND is None else gradient_ND[:, : self.width]
        self.left, self.right = term.left, term.right
        prefixes, columns = len(slices), len(term.right)
        self.left_KL = None if inverse_KN is None else inverse_KN[:, term.left]
        self.right_KR = None if inverse_KN is None else inverse_KN[:, term.right]

        stored = 0 if gradient_ND is None else prefixes
        row_bytes = max(1, columns * values_ND.element_size())
        if values_ND.device.type == "cpu":
            # A block holds the dots and the derivatives of each prefix; what is worked on is small.
            rows_b, rows_l = (
                min(_ROWS, memory // (row_bytes * (1 + stored))),
                _CACHED_SCORES // max(1, columns),
            )
        else:
            rows_b = rows_l = memory // (row_bytes * (3 + stored))
        group = term.group if isinstance(term, GroupedTerm) else 1
        self.rows_b = max(1, min(rows_b, len(term.left)) // group) * group
        self.rows_l = max(1, min(rows_l, self.rows_b) // group) * group
        self.dots_bR = values_ND.new_empty(self.rows_b, columns)
        self.weights_KbR = values_ND.new_empty(stored, self.rows_b, columns)
        self.scores_lR = values_ND.new_empty(self.rows_l, columns)
        self.products_lR = values_ND.new_empty(self.rows_l if stored else 0, columns)
        # Sum over the rows of derivative times dot, per prefix and column.
        self.dotted_KR = values_ND.new_zeros(prefixes, columns)
        # Buffers that are filled again and again: on a CPU new memory costs more than what is written into it.
        self.columns_n = max(1, min(columns, memory // 8 // (self.width * values_ND.element_size())))
        # What is worked on at once has no gaps: derivatives of some columns are copied.
        copied = stored and self.columns_n < columns
        self.weights_bn = values_ND.new_empty(self.rows_b if copied else 0, self.columns_n)
        self.gradient_Dn = values_ND.new_empty(self.width if stored else 0, self.columns_n)
        # The right's vectors, slice after slice; then their gradient.
        self.vectors = values_ND.new_empty(self.columns_n * self.width)

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Columns of the scores whose vectors are gathered at once, and their items."""
        for begin in range(0, len(self.right), self.columns_n):
            columns = slice(begin, min(begin + self.columns_n, len(self.right)))
            yield columns, self.right[columns]

    def _gathered(self, items: Tensor, k: int) -> Tensor:
        """(n, S) slice ``k`` of the items' vectors, until `_right_gradient` is called."""
        (first, last), count = self.slices[k], len(items)
        buffer_nS = self.vectors[first * count : last * count].view(count, last - first)
        return torch.index_select(self.values_ND[:, first:last], 0, items, out=buffer_nS)

    def _right_gradient(self, count: int) -> Tensor:
        """(n, D) to be filled, where the gathered vectors were."""
        return self.vectors[: count * self.width].view(count, self.width)

    def run(self) -> Tensor:
        """(K,) the term's values, without the weights of the dims."""
        parts_K = self.values_ND.new_zeros(len(self.slices))
        for begin in range(0, len(self.left), self.rows_b):
            end = min(begin + self.rows_b, len(self.left))
            left_bD = self.values_ND[self.left[begin:end]]
            dots_bR = self.dots_bR[: end - begin]
            dotted_Kb = left_bD.new_zeros(len(self.slices), end - begin)
            for k, (first, last) in enumerate(self.slices):
                if k == 0:
                    dots_bR.zero_()
                left_bS = left_bD[:, first:last].contiguous()
                for columns, items in self._chunks():
                    add_product(dots_bR[:, columns], left_bS, self._gathered(items, k))
                for start in range(begin, end, self.rows_l):
                    stop = min(start + self.rows_l, end)
                    parts_K[k] += self._rows(k, start, stop, begin, dotted_Kb)
            if self.gradient_ND is not None:
                self._send(left_bD, begin, end, dotted_Kb)
        if self.gradient_ND is not None and self.right_KR is not None:
            self._subtract_right_norms(self.right_KR)
        return parts_K * self.term.weight

    def _rows(self, k: int, start: int, stop: int, begin: int, dotted_Kb: Tensor) -> Tensor:
        """The value of some rows at prefix ``k``; their derivatives at the dots go to ``weights_KbR``."""
        count, inside = stop - start, slice(start - begin, stop - begin)
        dots_lR, scores_lR = self.dots_bR[inside], self.scores_lR[:count]
        scale = self.term.scale
        if self.left_KL is None or self.right_KR is None:
            torch.mul(dots_lR, scale, out=scores_lR)
        else:
            torch.mul(dots_lR, self.right_KR[k], out=scores_lR)
            scores_lR.mul_(self.left_KL[k, start:stop, None] * scale)
        if self.gradient_ND is None:
            return self.term.rows(scores_lR, start, None).sum()
        weights_lR = self.weights_KbR[k, inside]
        values_l = self.term.rows(scores_lR, start, weights_lR)
        factor = self.factors_K[k] * self.term.weight * scale
        if self.left_KL is None or self.right_KR is None:
            weights_lR.mul_(factor)
        else:
            weights_lR.mul_(self.right_KR[k]).mul_(self.left_KL[k, start:stop, None] * factor)
            products_lR = torch.mul(weights_lR, dots_lR, out=self.products_lR[:count])
            torch.sum(products_lR, 1, out=dotted_Kb[k, inside])
            self.dotted_KR[k] += products_lR.sum(0)
        return values_l.sum()

    def _send(self, left_bD: Tensor, begin: int, end: int, dotted_Kb: Tensor) -> None:
        """Adds the gradient of a block of rows to both sides; that of the right's lengths is left for the end."""
        assert self.gradient_ND is not None
        weights_KbR = self.weights_KbR[:, : end - begin]
        for start in range(0, end - begin, self.rows_l):
            inside = slice(start, min(start + self.rows_l, end - begin))
            for k in range(len(self.slices) - 2, -1, -1):
                weights_KbR[k, inside] += weights_KbR[k + 1, inside]
        gradient_bD = torch.zeros_like(left_bD)
        left_Db = left_bD.t().contiguous()
        for columns, items in self._chunks():
            # Its transpose, because a product's left side must not be transposed: that is the smaller one here.
            gradient_Dn = self.gradient_Dn[:, : len(items)]
            for k, (first, last) in enumerate(self.slices):
                weights_bn = weights_KbR[k, :, columns]
                if not weights_bn.is_contiguous():
                    weights_bn = self.weights_bn[: end - begin, : len(items)].copy_(weights_bn)
                add_product(gradient_bD[:, first:last], weights_bn, self._gathered(items, k).t())
                gradient_Dn[first:last] = product(left_Db[first:last], weights_bn.t(), None)
            gradient_nD = self._right_gradient(len(items)).copy_(gradient_Dn.t())
            self.gradient_ND.index_add_(0, items, gradient_nD)
        if self.left_KL is not None:
            along_Kb = _along(dotted_Kb, self.left_KL[:, begin:end])
            for along_b, (first, last) in zip(along_Kb, self.slices, strict=True):
                gradient_bD[:, first:last].addcmul_(left_bD[:, first:last], along_b[:, None], value=-1)
        self.gradient_ND.index_add_(0, self.left[begin:end], gradient_bD)

    def _subtract_right_norms(self, right_KR: Tensor) -> None:
        assert self.gradient_ND is not None
        for columns, items in self._chunks():
            right_nD = torch.index_select(self.values_ND, 0, items, out=self._right_gradient(len(items)))
            along_Kn = _along(self.dotted_KR[:, columns], right_KR[:, columns])
            for along_n, (first, last) in zip(along_Kn, self.slices, strict=True):
                right_nD[:, first:last].mul_(along_n[:, None])
            self.gradient_ND.index_add_(0, items, right_nD, alpha=-1)


def _along(dotted_Kn: Tensor, inverse_Kn: Tensor) -> Tensor:
    """(K, n) how much of each slice goes along the vectors themselves, which their lengths undo."""
    return (dotted_Kn * inverse_Kn.square()).flip(0).cumsum(0).flip(0)
