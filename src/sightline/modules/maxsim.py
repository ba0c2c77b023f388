"""MaxSim, the score of late interaction, in blocks: the products of all tokens with all tokens never exist at once.

``score(q, d) = sum_s max_t <q_s, d_t>``: each token of a query counts with its best match among the document's
tokens (Khattab and Zaharia 2020, arXiv:2004.12832). MeanMaxSim divides by the number of the query's tokens.

Shape letters::

    N  items             T  positions, real and padded     D  dimension
    n  items of a block  W  tokens of the longest of them
    q  queries           S  their tokens                   d  documents        P  pairs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Score of a document without any token: below every other; as sentence-transformers has it.
EMPTY = -1e9
# Query tokens that are compared at once, and products held; those of a CPU stay in its cache.
QUERY_TOKENS = 1024
PRODUCTS, CPU_PRODUCTS = 2**26, 2**20


@dataclass(frozen=True)
class Block:
    """Token vectors of some items, padded to the longest of them.

    Attributes:
        items: numbers of the items.
        values_nWD: float32, or float64 for vectors that are.
        real_nW: which of them are tokens.
        place_nW: where they stand among the T positions; None where the first W.
    """

    items: Sequence[int]
    values_nWD: Tensor
    real_nW: Tensor
    place_nW: Tensor | None


class TokenVectors:
    """Token vectors of N items, read block by block with each item's real tokens first.

    Args:
        values_NTD: of any number type.
        mask_NT: which of the positions are tokens; by default those whose vectors are not zero.
    """

    def __init__(self, values_NTD: Tensor, mask_NT: Tensor | None = None) -> None:
        real_NT = values_NTD.ne(0).any(-1) if mask_NT is None else mask_NT.to(values_NTD.device).bool()
        self.values_NTD = values_NTD
        self.counts_N = real_NT.sum(1)
        self.counts: list[int] = self.counts_N.tolist()
        position_T = torch.arange(real_NT.shape[1], device=values_NTD.device)
        in_front = torch.equal(real_NT, position_T < self.counts_N[:, None])
        self._order_NT = None if in_front else (~real_NT).byte().argsort(dim=1, stable=True)

    def __len__(self) -> int:
        return len(self.counts)

    def block(self, items: Sequence[int], device: torch.device | None = None) -> Block:
        """The tokens of some items, moved to a device."""
        values_NTD, width = self.values_NTD, max((self.counts[item] for item in items), default=0)
        index: slice | Tensor = _index(items, values_NTD.device)
        place_nW = None
        if self._order_NT is None:
            values_nWD = (
                values_NTD[index, :width] if isinstance(index, slice) else values_NTD[:, :width][index]
            )
        else:
            place_nW = self._order_NT[index, :width]
            rows = torch.tensor(list(items), device=values_NTD.device)
            values_nWD = values_NTD[rows[:, None], place_nW]
        real_nW = torch.arange(width, device=values_NTD.device) < self.counts_N[index][:, None]
        kind = values_NTD.dtype if values_NTD.dtype == torch.float64 else torch.float32
        return Block(items, values_nWD.to(device, kind), real_nW.to(device), place_nW)

    def blocks(self, tokens: int, items: Sequence[int] | None = None) -> Iterator[Sequence[int]]:
        """Consecutive ones of ``items`` (all by default), together at most ``tokens`` positions, at least one."""
        items = range(len(self)) if items is None else items
        begin = width = 0
        for end, item in enumerate(items):
            width = max(width, self.counts[item])
            if end > begin and width * (end + 1 - begin) > tokens:
                yield items[begin:end]
                begin, width = end, self.counts[item]
        if begin < len(items):
            yield items[begin:]

    def add(self, total_NTD: Tensor, block: Block, values_nWD: Tensor) -> None:
        """Adds values of a block's tokens where they stand in ``total_NTD``; an item may stand in it twice."""
        rows = torch.tensor(list(block.items), device=total_NTD.device)
        if block.place_nW is None:
            total_NTD[:, : values_nWD.shape[1]].index_add_(0, rows, values_nWD)
        else:
            total_NTD.index_put_((rows[:, None], block.place_nW), values_nWD, accumulate=True)


def products_at_once(device: torch.device) -> int:
    """Products of tokens that are held at a time."""
    return CPU_PRODUCTS if device.type == "cpu" else PRODUCTS


def products(queries: Block, documents: Block) -> Tensor:
    """(q, S, d, W) products of all tokens, minus infinity where a document has none."""
    q, S, D = queries.values_nWD.shape
    d, W, _ = documents.values_nWD.shape
    found_qSdW = (queries.values_nWD.reshape(q * S, D) @ documents.values_nWD.reshape(d * W, D).t()).view(
        q, S, d, W
    )
    return found_qSdW.masked_fill_(~documents.real_nW, -torch.inf)


def block_scores(queries: Block, documents: Block) -> Tensor:
    """(q, d) MaxSim."""
    q, d = len(queries.items), len(documents.items)
    if not documents.values_nWD.shape[1]:
        return queries.values_nWD.new_full((q, d), EMPTY)
    return summed(products(queries, documents).amax(3), queries, documents)


def block_matches(queries: Block, documents: Block) -> tuple[Tensor, Tensor]:
    """(q, d) MaxSim, and (q, S, d) which of a document's tokens matches best."""
    q, S, d = len(queries.items), queries.values_nWD.shape[1], len(documents.items)
    if not documents.values_nWD.shape[1]:
        values = queries.values_nWD
        return values.new_full((q, d), EMPTY), values.new_zeros(q, S, d, dtype=torch.int32)
    best_qSd, place_qSd = products(queries, documents).max(3)
    return summed(best_qSd, queries, documents), place_qSd.to(torch.int32)


def summed(best_qSd: Tensor, queries: Block, documents: Block) -> Tensor:
    """(q, d) sums over the queries' tokens."""
    scores_qd = best_qSd.masked_fill_(~queries.real_nW[:, :, None], 0.0).sum(1)
    return scores_qd.masked_fill_(~documents.real_nW.any(1), EMPTY)


def maxsim(
    queries: TokenVectors, documents: TokenVectors, *, mean: bool = False, device: torch.device | None = None
) -> Tensor:
    """MaxSim (Q, N) of every query with every document, without a graph.

    Memory beyond the vectors and the scores is that of `products_at_once`, or of one query with one document.

    Args:
        queries: token vectors of Q queries.
        documents: of N documents.
        mean: divide by the number of the query's tokens.
        device: where to compare; by default where the documents are.

    Returns:
        float32 (or float64) on the documents' device.
    """
    home = documents.values_NTD.device
    device = device or home
    rows = []
    # An evaluator runs under the autocast of training, which would round the products.
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for some in queries.blocks(QUERY_TOKENS):
            block = queries.block(some, device)
            tokens = products_at_once(device) // max(1, block.real_nW.numel())
            found = [torch.zeros(len(some), 0, device=home)]
            for more in documents.blocks(tokens):
                found.append(block_scores(block, documents.block(more, device)).to(home))
            scores_qN = torch.cat(found, 1)
            if mean:
                scores_qN /= queries.counts_N[list(some), None].clamp_min(1).to(home)
            rows.append(scores_qN)
    return torch.cat(rows) if rows else torch.zeros(0, len(documents), device=home)


def maxsim_pairs(
    query_PSD: Tensor,
    query_mask_PS: Tensor,
    document_PTD: Tensor,
    document_mask_PT: Tensor,
    *,
    mean: bool = False,
) -> Tensor:
    """(P,) MaxSim of each query with the document at its place, with a graph where the vectors have one.

    Which tokens match is found in blocks and without a graph; the graph holds one matching token per query token.
    """
    kind = query_PSD.dtype if query_PSD.dtype == torch.float64 else torch.float32
    query_PSD, document_PTD = query_PSD.to(kind), document_PTD.to(kind)
    query_mask_PS, document_mask_PT = query_mask_PS.bool(), document_mask_PT.bool()
    if not document_PTD.shape[1]:
        return query_PSD.new_full((len(query_PSD),), EMPTY)
    size = max(1, query_PSD.shape[1] * document_PTD.shape[1])
    at_once = max(1, products_at_once(query_PSD.device) // size)
    place = []
    with torch.no_grad():
        pieces = (one.split(at_once) for one in (query_PSD, document_PTD, document_mask_PT))
        for query_pSD, document_pTD, mask_pT in zip(*pieces, strict=True):
            found_pST = (query_pSD @ document_pTD.transpose(1, 2)).masked_fill_(~mask_pT[:, None], -torch.inf)
            place.append(found_pST.argmax(2))
    place_PS = torch.cat(place)
    match_PSD = document_PTD.gather(1, place_PS[..., None].expand(-1, -1, document_PTD.shape[2]))
    scores_P = ((query_PSD * match_PSD).sum(2) * query_mask_PS).sum(1)
    scores_P = scores_P.masked_fill(~document_mask_PT.any(1), EMPTY)
    return scores_P / query_mask_PS.sum(1).clamp_min(1) if mean else scores_P


def _index(items: Sequence[int], device: torch.device) -> slice | Tensor:
    if isinstance(items, range) and items.step == 1:
        return slice(items.start, items.stop)
    return torch.tensor(list(items), dtype=torch.long, device=device)
