"""Blockwise exact top-k search, for several Matryoshka dimensions out of one pass.

Shape letters::

    Q  queries      N  documents    D  embedding dim
    q  queries of a block           n  documents of a block
    K  results kept per query

The score matrix (Q, N) never exists. At any moment there is one block (q, n) of it, a few temporaries of
that size, and the K best so far per query and dimension, so memory is bounded by

    6 * block_scores * 4 bytes  +  Q * (K + min(K, n)) * len(dims) * 12 bytes

beyond the embeddings themselves: about 400 MB for the default block of 2**24 scores, whatever Q and N are,
and at K = 1000 with 7 dimensions 0.17 MB per query for the results (so `retrieval` asks for 1,024 queries
at a time and keeps only their metrics).

A prefix of the vectors has as similarity the sum of what its slices contribute (products, squared or
absolute differences), so the scores of 7 dimensions are accumulated slice by slice and cost one product of
the full width; cosine then divides by the norms of the prefix.

Ties go to the lower document index. Callers that want trec_eval's rule hand the documents over by id
descending. torch's own top-k breaks ties arbitrarily, hence the repair in `_best`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


@dataclass(frozen=True)
class TopK:
    """The K best documents per query, best first; on the CPU.

    Attributes:
        scores: (Q, K) float32 similarities, higher is better (distances are negated).
        indices: (Q, K) int64 document indices.
    """

    scores: Tensor
    indices: Tensor


def search_top_k(
    queries_QD: Tensor,
    documents_ND: Tensor,
    k: int,
    *,
    dims: Sequence[int] | None = None,
    similarity: str = "cosine",
    block_scores: int = 2**24,
    device: torch.device | str | None = None,
) -> dict[int, TopK]:
    """The ``k`` most similar documents of each query, for each of ``dims``.

    Args:
        queries_QD, documents_ND: float vectors on any device; compared in float32.
        k: results per query; fewer come back where there are fewer documents.
        dims: prefix lengths, by default the full width only. Cosine renormalises every prefix.
        similarity: one of `SIMILARITIES`, as ``Encoder.similarity_fn_name`` says.
        block_scores: scores held at once (see the module's memory bound).
        device: where to compare; by default where the documents are.

    Returns:
        dimension -> `TopK`, in the order of ``dims``.

    Raises:
        ConfigError: an unknown similarity, or a dimension outside 1..D.
        DataError: no documents, differing widths, or vectors that are not finite.
    """
    import torch

    dims = tuple(dims) if dims is not None else (int(documents_ND.shape[-1]),)
    _check(queries_QD, documents_ND, k, dims, similarity)
    device = documents_ND.device if device is None else torch.device(device)
    num_queries, num_documents = len(queries_QD), len(documents_ND)
    # Blocks as square as the budget allows read both sides least often.
    block_documents = min(num_documents, max(1, block_scores // max(1, min(num_queries, 1024))))
    block_queries = max(1, block_scores // block_documents)

    kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for start_n in range(0, num_documents, block_documents):
        documents_nD = documents_ND[start_n : start_n + block_documents].to(device, torch.float32)
        for start_q in range(0, num_queries, block_queries):
            queries_qD = queries_QD[start_q : start_q + block_queries].to(device, torch.float32)
            for dim, scores_qn in _prefix_scores(queries_qD, documents_nD, sorted(set(dims)), similarity):
                best = _best(scores_qn, min(k, scores_qn.shape[1]), start_n)
                before = kept.get((start_q, dim))
                kept[start_q, dim] = best if before is None else _merge(before, best, k)
    return {dim: _collect(kept, dim, range(0, num_queries, block_queries)) for dim in dims}


def _check(queries_QD: Tensor, documents_ND: Tensor, k: int, dims: Sequence[int], similarity: str) -> None:
    import torch

    if similarity not in SIMILARITIES:
        raise ConfigError(f"unknown similarity '{similarity}': use one of {', '.join(SIMILARITIES)}")
    if k < 1:
        raise ConfigError(f"k is {k}: ask for at least one result")
    for what, vectors in (("queries", queries_QD), ("documents", documents_ND)):
        if vectors.ndim != 2:
            shape = tuple(vectors.shape)
            raise DataError(f"the {what} need one vector each, shape (count, dimension); these are {shape}")
        if len(vectors) == 0:
            raise DataError(f"there are no {what} to search")
        # In pieces, because isfinite makes copies of its argument.
        finite = torch.cat([torch.isfinite(piece).all(dim=1) for piece in vectors.split(2**14)])
        if not bool(finite.all()):
            bad = torch.nonzero(~finite).flatten()
            first = int(bad[0])
            raise DataError(
                f"{len(bad)} of the {what} have vectors that are not finite, first number {first}"
            )
    width = int(documents_ND.shape[1])
    if queries_QD.shape[1] != width:
        raise DataError(f"queries have {queries_QD.shape[1]} dimensions but documents {width}")
    if not dims or min(dims) < 1 or max(dims) > width:
        raise ConfigError(f"dims {list(dims)} must be between 1 and the embedding's {width} dimensions")


def _prefix_scores(
    queries_qD: Tensor, documents_nD: Tensor, dims: Sequence[int], similarity: str
) -> Iterator[tuple[int, Tensor]]:
    """Yield (dim, scores_qn) for ascending ``dims``; each slice of the vectors is read once."""
    import torch

    shape = (len(queries_qD), len(documents_nD))
    sums_qn = torch.zeros(shape, dtype=torch.float32, device=documents_nD.device)
    square_q = torch.zeros(shape[0], 1, device=sums_qn.device)
    square_n = torch.zeros(1, shape[1], device=sums_qn.device)
    done = 0
    for dim in dims:
        slice_q, slice_n = queries_qD[:, done:dim], documents_nD[:, done:dim]
        done = dim
        if similarity == "manhattan":
            sums_qn += torch.cdist(slice_q, slice_n, p=1)
            yield dim, -sums_qn
            continue
        sums_qn.addmm_(slice_q, slice_n.T)
        square_q += slice_q.square().sum(1)[:, None]
        square_n += slice_n.square().sum(1)[None, :]
        if similarity == "dot":
            yield dim, sums_qn
        elif similarity == "cosine":
            # The floor keeps a zero vector at similarity 0, as torch.nn.functional.normalize does.
            yield dim, sums_qn / square_q.sqrt().clamp_min(1e-12) / square_n.sqrt().clamp_min(1e-12)
        else:
            yield dim, (sums_qn * -2).add_(square_q).add_(square_n).clamp_min_(0).sqrt_().neg_()


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
    return _ordered(scores_qk, indices_qk + start_n)


def _merge(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], k: int) -> tuple[Tensor, Tensor]:
    import torch

    scores, indices = _ordered(torch.cat([a[0], b[0]], dim=1), torch.cat([a[1], b[1]], dim=1))
    return scores[:, :k].contiguous(), indices[:, :k].contiguous()


def _ordered(scores_qk: Tensor, indices_qk: Tensor) -> tuple[Tensor, Tensor]:
    """Sorted by score descending, then index ascending: two stable sorts, the lesser key first."""
    by_index = indices_qk.argsort(dim=1)
    scores_qk, indices_qk = scores_qk.gather(1, by_index), indices_qk.gather(1, by_index)
    by_score = scores_qk.argsort(dim=1, descending=True, stable=True)
    return scores_qk.gather(1, by_score), indices_qk.gather(1, by_score)


def _collect(kept: dict[tuple[int, int], tuple[Tensor, Tensor]], dim: int, starts: Sequence[int]) -> TopK:
    import torch

    return TopK(
        torch.cat([kept[start, dim][0] for start in starts]).cpu(),
        torch.cat([kept[start, dim][1] for start in starts]).cpu(),
    )
