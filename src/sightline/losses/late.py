"""Score losses over MaxSim: value and gradient a few rows at a time, so that the token products never exist at once.

As `sightline.losses.blockwise` for vectors: the scores of a block of rows are computed, the term gives their values
and gradients, and these go back to the tokens that matched, along the matches of that block. A gradient goes to the
best match alone, as that of a maximum.

Memory: the gradient (N, T, D), the scores (l, R) of a block of rows with the matches behind them, and the products
of `maxsim.products_at_once`.

Shape letters::

    N  distinct items of the batch    T  positions    D  embedding dimension
    L  rows of a term's scores        R  columns      l  some consecutive rows      r  some consecutive columns
    S  tokens of the queries of a block               W  tokens of the documents of a block
    q  queries of a block             d  documents    P  names of parts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sightline.losses.base import ScoreTerm
from sightline.modules.maxsim import QUERY_TOKENS, Block, TokenVectors, block_matches, products_at_once

# Matches (4 bytes each) that are kept between a block's scores and its gradient.
_MATCHES = 2**26


@runtime_checkable
class DirectedTerm(Protocol):
    """A `ScoreTerm` that says which side asks; of any other the left items are the queries.

    MaxSim is a sum over the query's tokens, so it matters.
    """

    @property
    def left_asks(self) -> bool: ...


def token_parts(
    values_NTD: Tensor, mask_NT: Tensor, terms: Sequence[ScoreTerm], *, mean: bool = False
) -> dict[str, Tensor]:
    """Each part, a scalar, from token vectors that are compared by their products.

    Args:
        values_NTD: float32 or float64.
        mask_NT: which positions are tokens.
        terms: what is summed.
        mean: MeanMaxSim.
    """
    job = _Job(tuple(terms), tuple(dict.fromkeys(term.name for term in terms)), mean)
    if values_NTD.requires_grad and torch.is_grad_enabled():
        parts_P = _Parts.apply(values_NTD, mask_NT, job)
    else:
        with torch.no_grad():
            parts_P = job.run(values_NTD, mask_NT, None)[0]
    return dict(zip(job.names, parts_P.unbind(), strict=True))


class _Parts(torch.autograd.Function):
    """The parts (P,) with the gradient of their sum already computed."""

    @staticmethod
    def forward(ctx: Any, values_NTD: Tensor, mask_NT: Tensor, job: _Job) -> Tensor:
        ctx.save_for_backward(values_NTD, mask_NT)
        ctx.job = job
        parts_P, ctx.gradient_NTD = job.run(values_NTD, mask_NT, [1.0] * len(job.names))
        return parts_P

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scales_P: Tensor) -> tuple[Tensor, None, None]:
        # Handed out once, so that it can be scaled in place and become `grad` without a copy.
        gradient_NTD, ctx.gradient_NTD = ctx.gradient_NTD, None
        if gradient_NTD is not None and bool((scales_P == scales_P[0]).all()):
            return gradient_NTD.mul_(scales_P[0]), None, None
        del gradient_NTD
        values_NTD, mask_NT = ctx.saved_tensors
        return ctx.job.run(values_NTD, mask_NT, scales_P.tolist())[1], None, None


@dataclass(frozen=True)
class _Job:
    """What is computed, apart from the vectors."""

    terms: tuple[ScoreTerm, ...]
    names: tuple[str, ...]
    mean: bool

    def run(
        self, values_NTD: Tensor, mask_NT: Tensor, scales_P: Sequence[float] | None
    ) -> tuple[Tensor, Tensor | None]:
        """The parts (P,), and with ``scales_P`` the gradient of their sum times these factors."""
        parts_P = values_NTD.new_zeros(len(self.names))
        gradient_NTD = None if scales_P is None else torch.zeros_like(values_NTD)
        tokens = TokenVectors(values_NTD, mask_NT)
        with torch.autocast(values_NTD.device.type, enabled=False):
            for term in self.terms:
                number = self.names.index(term.name)
                factor = 1.0 if scales_P is None else scales_P[number]
                parts_P[number] += _Rows(term, tokens, self.mean, factor, gradient_NTD).value()
        return parts_P, gradient_NTD


class _Rows:
    """One term, block of rows by block of rows.

    Args:
        term: whose values are summed.
        tokens: of all items.
        mean: MeanMaxSim.
        factor: of the gradient.
        gradient_NTD: what the gradient is added to; None without one.
    """

    def __init__(
        self, term: ScoreTerm, tokens: TokenVectors, mean: bool, factor: float, gradient_NTD: Tensor | None
    ) -> None:
        self.term, self.tokens, self.mean = term, tokens, mean
        self.factor, self.gradient_NTD = factor, gradient_NTD
        self.left, self.right = term.left.tolist(), term.right.tolist()
        self.left_asks = term.left_asks if isinstance(term, DirectedTerm) else True

    def value(self) -> Tensor:
        """The weighted sum of the rows' values."""
        total = self.tokens.values_NTD.new_zeros(())
        begin = 0
        for some in self.tokens.blocks(self._row_tokens(), self.left):
            total += self._block(some, begin)
            begin += len(some)
        return total * self.term.weight

    def _row_tokens(self) -> int:
        """Tokens of the rows of a block: as many as fill a product, and not more matches than may be kept."""
        if self.left_asks:
            return max(1, min(QUERY_TOKENS, _MATCHES // max(1, len(self.right))))
        # Of documents in the rows there is a match for each token of each query.
        asking = sum(self.tokens.counts[item] for item in self.right)
        longest = max((self.tokens.counts[item] for item in self.left), default=1)
        return max(1, min(QUERY_TOKENS, longest * (_MATCHES // max(1, asking))))

    def _block(self, items: Sequence[int], begin: int) -> Tensor:
        left = self.tokens.block(items)
        device = left.values_nWD.device
        at_once = products_at_once(device) // max(1, left.real_nW.numel())
        chunks = list(self.tokens.blocks(at_once, self.right))
        scores_lR = left.values_nWD.new_empty(len(items), len(self.right))
        matches: list[Tensor] = []
        first = 0
        for chunk in chunks:
            right = self.tokens.block(chunk)
            queries, documents = self._sides(left, right)
            scores_qd, place_qSd = block_matches(queries, documents)
            if self.mean:
                scores_qd = scores_qd / self._lengths(queries)[:, None]
            scores_lR[:, first : first + len(chunk)] = scores_qd if self.left_asks else scores_qd.t()
            first += len(chunk)
            if self.gradient_NTD is not None:
                matches.append(place_qSd)
        scores_lR *= self.term.scale
        if self.gradient_NTD is None:
            return self.term.rows(scores_lR, begin, None).sum()
        slope_lR = torch.empty_like(scores_lR)
        value = self.term.rows(scores_lR, begin, slope_lR).sum()
        slope_lR *= self.factor * self.term.weight * self.term.scale
        gradient_lWD = torch.zeros_like(left.values_nWD)
        first = 0
        for chunk, place_qSd in zip(chunks, matches, strict=True):
            right = self.tokens.block(chunk)
            slope_lr = slope_lR[:, first : first + len(chunk)]
            first += len(chunk)
            to_left, to_right = self._send(left, right, slope_lr, place_qSd)
            gradient_lWD += to_left
            self.tokens.add(self.gradient_NTD, right, to_right)
        self.tokens.add(self.gradient_NTD, left, gradient_lWD)
        return value

    def _send(self, left: Block, right: Block, slope_lr: Tensor, place_qSd: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients at the tokens of both sides."""
        queries, documents = self._sides(left, right)
        slope_qd = slope_lr if self.left_asks else slope_lr.t()
        if self.mean:
            slope_qd = slope_qd / self._lengths(queries)[:, None]
        q, S, D = queries.values_nWD.shape
        d, W, _ = documents.values_nWD.shape
        # A document without tokens has a fixed score.
        slope_qd = slope_qd.masked_fill(~documents.real_nW.any(1), 0.0)
        if not W:
            return torch.zeros_like(left.values_nWD), torch.zeros_like(right.values_nWD)
        slope_qSd = slope_qd[:, None, :] * queries.real_nW[:, :, None]
        spread_qSdW = slope_qSd.new_zeros(q, S, d, W)
        spread_qSdW.scatter_(3, place_qSd.long()[..., None], slope_qSd[..., None])
        spread = spread_qSdW.view(q * S, d * W)
        to_queries = (spread @ documents.values_nWD.reshape(d * W, D)).view(q, S, D)
        to_documents = (spread.t() @ queries.values_nWD.reshape(q * S, D)).view(d, W, D)
        return (to_queries, to_documents) if self.left_asks else (to_documents, to_queries)

    def _sides(self, left: Block, right: Block) -> tuple[Block, Block]:
        """Queries and documents."""
        return (left, right) if self.left_asks else (right, left)

    def _lengths(self, queries: Block) -> Tensor:
        return queries.real_nW.sum(1).clamp_min(1).to(queries.values_nWD.dtype)
