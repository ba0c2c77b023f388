"""The best documents of each query, kept while blocks of scores go by; ties go to the lower document index.

Once K documents of a query are known, a later one matters only if it scores above the last of them. So only the first
block goes through a top-k; of the others the largest score per group of documents is compared with that, and what is
left, a few per cent, is merged now and then.

Shape letters::

    q  queries      n  documents of a block      K  results kept per query
    C  candidates waiting to be merged, all queries together      G  groups of consecutive documents
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Documents whose largest score is compared with the last of the best.
_GROUP = 32


class Best:
    """The K best documents of some queries at one dimension, and candidates that may be among them."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.scores_qK: Tensor | None = None
        self.indices_qK: Tensor | None = None
        # The score a document has to beat; -inf while fewer than K are known.
        self.last_q1: Tensor | None = None
        # Query, score and index of each candidate; of equal score and query, lower indices come first.
        self.waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, scores_qn: Tensor, start: int) -> None:
        """Takes documents whose indices follow all before, the first of them ``start``."""
        if self.last_q1 is None:
            scores_qk, indices_qk = _best(scores_qn, min(self.k, scores_qn.shape[1]), start)
            self._keep(scores_qk, indices_qk)
            return
        rows_C, places_C = _above(scores_qn, self.last_q1)
        if len(rows_C) > scores_qn.numel() // 4 and scores_qn.shape[1] > self.k:
            best_qk, indices_qk = _best(scores_qn, self.k, start)
            rows_C, places_C = (best_qk > self.last_q1).nonzero(as_tuple=True)
            self.waiting.append((rows_C, best_qk[rows_C, places_C], indices_qk[rows_C, places_C]))
        elif len(rows_C):
            self.waiting.append((rows_C, scores_qn[rows_C, places_C], places_C + start))
        if sum(len(rows_C) for rows_C, _, _ in self.waiting) > len(scores_qn) * self.k // 2:
            self.merged()

    def merged(self) -> tuple[Tensor, Tensor]:
        """(scores_qK, indices_qK) in their final order."""
        import torch

        assert self.scores_qK is not None
        assert self.indices_qK is not None
        if not self.waiting:
            return self.scores_qK, self.indices_qK
        count, kept = self.scores_qK.shape
        number_q = torch.arange(count, device=self.scores_qK.device)
        rows_C = torch.cat([number_q.repeat_interleave(kept), *(rows for rows, _, _ in self.waiting)])
        scores_C = torch.cat([self.scores_qK.flatten(), *(scores for _, scores, _ in self.waiting)])
        indices_C = torch.cat([self.indices_qK.flatten(), *(indices for _, _, indices in self.waiting)])
        self.waiting = []
        order_C = torch.sort((rows_C << 32) + _descending(scores_C), stable=True).indices
        size_q = torch.bincount(rows_C, minlength=count)
        # While fewer than K are known every document is a candidate, so all queries have equally many.
        now = min(self.k, int(size_q.min()))
        first_q = size_q.cumsum(0) - size_q
        order_qK = order_C[first_q[:, None] + torch.arange(now, device=first_q.device)]
        self._keep(scores_C[order_qK], indices_C[order_qK])
        return self.scores_qK, self.indices_qK

    def _keep(self, scores_qK: Tensor, indices_qK: Tensor) -> None:
        self.scores_qK, self.indices_qK = scores_qK, indices_qK
        last_q1 = scores_qK[:, -1:].clone()
        self.last_q1 = last_q1 if scores_qK.shape[1] == self.k else last_q1.fill_(-float("inf"))


def _above(scores_qn: Tensor, last_q1: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of all scores above their row's ``last_q1``; within a row, columns ascend."""
    import torch

    width = scores_qn.shape[1]
    whole = width // _GROUP * _GROUP
    groups_qGn = scores_qn[:, :whole].unflatten(1, (whole // _GROUP, _GROUP))
    rows_G, groups_G = torch.nonzero(groups_qGn.amax(2) > last_q1, as_tuple=True)
    which_C, inside_C = torch.nonzero(groups_qGn[rows_G, groups_G] > last_q1[rows_G], as_tuple=True)
    rows_C, places_C = rows_G[which_C], groups_G[which_C] * _GROUP + inside_C
    if whole < width:
        rest_rows_C, rest_C = torch.nonzero(scores_qn[:, whole:] > last_q1, as_tuple=True)
        rows_C, places_C = torch.cat([rows_C, rest_rows_C]), torch.cat([places_C, rest_C + whole])
    return rows_C, places_C


def _descending(scores: Tensor) -> Tensor:
    """Whole numbers from 0 to 2**32 - 1 in the opposite order of float32 scores, equal where they are equal."""
    import torch

    # 0 is added because minus zero equals zero, but not in its bits.
    bits = (scores + 0.0).view(torch.int32).long()
    return torch.where(bits < 0, bits + 2**32, 2**31 - 1 - bits)


def _best(scores_qn: Tensor, k: int, start_n: int) -> tuple[Tensor, Tensor]:
    """The k best of a block in their final order: (scores_qk, document indices_qk)."""
    import torch

    scores_qk, indices_qk = torch.topk(scores_qn, k, dim=1, sorted=False)
    last_q1 = scores_qk.amin(dim=1, keepdim=True)
    crowded = ((scores_qn >= last_q1).sum(dim=1) > k).nonzero().flatten()
    if len(crowded):
        # More documents tie at the last place than fit: take the lowest indices among them. One row at a
        # time, so that a block full of ties (blank pages) does not double the memory.
        for row in crowded.tolist():
            above = (scores_qn[row] > last_q1[row]).nonzero().flatten()
            tied = (scores_qn[row] == last_q1[row]).nonzero().flatten()
            indices_qk[row] = torch.cat([above, tied[: k - len(above)]])
        scores_qk = scores_qn.gather(1, indices_qk)
    return ordered(scores_qk, indices_qk + start_n)


def ordered(scores_qk: Tensor, indices_qk: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted by score descending, then index ascending: two stable sorts, the lesser key first."""
    by_index = indices_qk.argsort(dim=1)
    scores_qk, indices_qk = scores_qk.gather(1, by_index), indices_qk.gather(1, by_index)
    by_score = scores_qk.argsort(dim=1, descending=True, stable=True)
    return scores_qk.gather(1, by_score), indices_qk.gather(1, by_score)
