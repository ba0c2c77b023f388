"""Who may be compared with whom: exclusions built from the identity of contents.

Shape letters::

    N  distinct items of the batch        Q  rows of a softmax: one query with its target each
    M  candidates a query is scored against
    P  pairs of a query's content and a content that answers it
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def distinct(items: Tensor) -> Tensor:
    """The item indices that occur in ``items`` (any shape), each once, ascending; absent cells (-1) left out.

    An item that stands in several cells is one candidate, so it is never its own negative.
    """
    return torch.unique(items[items >= 0])


def positions(items: Tensor, within: Tensor) -> Tensor:
    """Where each of ``items`` stands in the ascending list ``within`` that contains it."""
    return torch.searchsorted(within, items.contiguous())


@dataclass(frozen=True)
class Exclusions:
    """Which candidates may not serve a row as negatives; made by `exclusions`, looked up for some rows at a time.

    Contents are equal to few others, so the mask (Q, M) is almost all True: instead of it, each row leads to its
    query's content, that to the contents that answer it, and those to the candidates that have them.

    Attributes:
        target_Q: position of each row's target among the candidates.
        counts: per row, how many candidates have a content that answers its query; 1 is the target alone.
        query_Q: number of each row's query content.
        pairs_begin: per query content, its first pair; one more entry closes the last.
        candidates_begin, candidates_end: per pair, its range in ``by_content_M``.
        by_content_M: candidate positions, those of equal content side by side.
    """

    target_Q: Tensor
    counts: tuple[int, ...]
    query_Q: Tensor
    pairs_begin: Tensor
    candidates_begin: Tensor
    candidates_end: Tensor
    by_content_M: Tensor

    def of_rows(self, begin: int, end: int) -> tuple[Tensor, Tensor] | None:
        """Row (counted from ``begin``) and candidate position of every excluded pair; None if there is none."""
        crowded = [row for row in range(begin, end) if self.counts[row] > 1]
        if not crowded:
            return None
        row = torch.tensor(crowded, device=self.query_Q.device)
        query = self.query_Q[row]
        row, pair = _spread(row, self.pairs_begin[query], self.pairs_begin[query + 1])
        row, place = _spread(row, self.candidates_begin[pair], self.candidates_end[pair])
        candidate = self.by_content_M[place]
        other = candidate != self.target_Q[row]
        return row[other] - begin, candidate[other]


def exclusions(
    query_Q: Tensor, target_Q: Tensor, candidate_M: Tensor, keys_N: Tensor, rows: slice = slice(None)
) -> Exclusions:
    """Who is not a negative of whom, by content, so that the same page behind another prompt is still the same:

    - the row's own query as a candidate,
    - every content that is the target of a row with the same query (a second right answer, and the row's own
      target once more).

    The row's target itself is never excluded. Memory and time grow with Q + M, not with their product.

    Args:
        query_Q: item index of each row's query.
        target_Q: item index of each row's target, an element of ``candidate_M``.
        candidate_M: distinct item indices, ascending.
        keys_N: content key of each item.
        rows: the rows to look up; all rows' answers count.
    """
    contents, number_N = torch.unique(keys_N, return_inverse=True)
    by_content_M = torch.argsort(number_N[candidate_M], stable=True)
    sorted_M = number_N[candidate_M][by_content_M]

    query_number_Q = number_N[query_Q]
    answers = torch.cat([number_N[target_Q], query_number_Q])
    # A pair of numbers as one: both are below the number of contents, whose square is far below 2**63.
    pairs = torch.unique(torch.cat([query_number_Q, query_number_Q]) * len(contents) + answers)
    pair_query, pair_answer = pairs // len(contents), pairs % len(contents)
    candidates_begin = torch.searchsorted(sorted_M, pair_answer)
    candidates_end = torch.searchsorted(sorted_M, pair_answer, right=True)
    every = torch.arange(len(contents) + 1, device=keys_N.device)
    pairs_begin = torch.searchsorted(pair_query, every)

    total = torch.cat([pairs.new_zeros(1), (candidates_end - candidates_begin).cumsum(0)])
    own_Q = query_number_Q[rows]
    counts = total[pairs_begin[own_Q + 1]] - total[pairs_begin[own_Q]]
    return Exclusions(
        positions(target_Q[rows], candidate_M),
        tuple(counts.tolist()),
        own_Q,
        pairs_begin,
        candidates_begin,
        candidates_end,
        by_content_M,
    )


def _spread(row: Tensor, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Each row once per number of its range begin..end, and these numbers."""
    length = end - begin
    before = length.cumsum(0) - length
    number = torch.arange(int(length.sum()), device=row.device)
    return row.repeat_interleave(length), number + (begin - before).repeat_interleave(length)
