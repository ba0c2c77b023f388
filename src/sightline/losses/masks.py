"""Who may be compared with whom: masks built from the identity of contents.

Shape letters::

    N  distinct items of the batch        Q  rows of a softmax: one query with its target each
    M  candidates a query is scored against
"""

from __future__ import annotations

import torch
from torch import Tensor


def distinct(items: Tensor) -> Tensor:
    """The item indices that occur in ``items`` (any shape), each once, ascending; absent cells (-1) left out.

    An item that stands in several cells is one candidate, so it is never its own negative.
    """
    return torch.unique(items[items >= 0])


def positions(items: Tensor, within: Tensor) -> Tensor:
    """Where each of ``items`` stands in the ascending list ``within`` that contains it."""
    return torch.searchsorted(within, items)


def allowed_candidates(query_Q: Tensor, target_Q: Tensor, candidate_M: Tensor, keys_N: Tensor) -> Tensor:
    """(Q, M) bool: True where the candidate is the row's target or may serve it as a negative.

    Masked by content, not by item, so that the same page behind another prompt is still the same page:

    - the row's own query as a candidate,
    - every content that is the target of a row with the same query (a second right answer, and the row's own
      target once more).

    The row's target itself is always allowed.

    Args:
        query_Q: item index of each row's query.
        target_Q: item index of each row's target, an element of ``candidate_M``.
        candidate_M: distinct item indices, ascending.
        keys_N: content key of each item.
    """
    key_of_query, query_key_Q = torch.unique(keys_N[query_Q], return_inverse=True)
    key_of_candidate, candidate_key_M = torch.unique(keys_N[candidate_M], return_inverse=True)
    target_position_Q = positions(target_Q, candidate_M)
    is_answer = torch.zeros(
        len(key_of_query), len(key_of_candidate), dtype=torch.bool, device=candidate_M.device
    )
    is_answer[query_key_Q, candidate_key_M[target_position_Q]] = True
    blocked_QM = is_answer[query_key_Q][:, candidate_key_M]
    blocked_QM |= keys_N[query_Q][:, None] == keys_N[candidate_M][None, :]
    blocked_QM[torch.arange(len(query_Q), device=query_Q.device), target_position_Q] = False
    return ~blocked_QM
