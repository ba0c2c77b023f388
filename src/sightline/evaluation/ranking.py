"""Blockwise exact top-k search, for several Matryoshka dimensions out of one pass; shards and their merging.

Shape letters::

    Q  queries      N  documents    D  embedding dim
    q  queries of a block           n  documents of a block
    K  results kept per query       C  candidates waiting to be merged, all queries of a block together

The score matrix (Q, N) never exists. Documents are read once, a block at a time, so they may lie in a memory-mapped
file, in float32 or float16. At any moment there is one block (q, n) of the scores, a few temporaries of that size,
and the best so far per query and dimension, so memory is bounded by

    6 * block_scores * 4 bytes  +  Q * K * len(dims) * 40 bytes

beyond the embeddings themselves: about 400 MB for the default block of 2**24 scores, whatever N is, and at K = 1000
with 7 dimensions 0.28 MB per query for the results (so `retrieval` asks for 1,024 queries at a time and keeps only
their metrics).

A prefix of the vectors has as similarity the sum of what its slices contribute (products, squared or
absolute differences), so the scores of 7 dimensions are accumulated slice by slice and cost one product of
the full width; cosine then divides by the norms of the prefix.

Ties go to the lower document index, for any block size and any division into shards. Callers that want trec_eval's
rule hand the documents over by id descending. torch's own top-k breaks ties arbitrarily, hence the repair in
`sightline.evaluation.best`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sightline.errors import ConfigError, DataError
from sightline.evaluation.best import Best, ordered

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

# Scores of a block that are worked on while they lie in the processor's cache, and queries they belong to.
_CACHED_SCORES = 2**20
_QUERIES = 1024
# Documents read at once.
_READ = 2**13


class StoredVectors(Protocol):
    """Vectors kept in some form of their own, decoded a block at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Tensor:
        """(n, D) floats of these rows, on the CPU."""
        ...


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
    documents_ND: Tensor | np.ndarray | StoredVectors,
    k: int,
    *,
    dims: Sequence[int] | None = None,
    similarity: str = "cosine",
    block_scores: int = 2**24,
    device: torch.device | str | None = None,
    first_index: int = 0,
) -> dict[int, TopK]:
    """The ``k`` most similar documents of each query, for each of ``dims``.

    One shard of the documents is searched by handing over its vectors and ``first_index``; `merge_shards` puts the
    shards' answers together.

    Args:
        queries_QD: float vectors on any device.
        documents_ND: float vectors on any device; an array, which may be memory-mapped; or vectors that are decoded
            a block at a time. All are compared in float32.
        k: results per query; fewer come back where there are fewer documents.
        dims: prefix lengths, by default the full width only. Cosine renormalises every prefix.
        similarity: one of `SIMILARITIES`, as ``Encoder.similarity_fn_name`` says.
        block_scores: scores held at once (see the module's memory bound).
        device: where to compare; by default where the documents are.
        first_index: index of the first document, where these are a part of more.

    Returns:
        dimension -> `TopK`, in the order of ``dims``.

    Raises:
        ConfigError: an unknown similarity, or a dimension outside 1..D.
        DataError: no documents, differing widths, or vectors that are not finite.
    """
    import torch

    dims = tuple(dims) if dims is not None else (int(documents_ND.shape[-1]),)
    _check(queries_QD, documents_ND, k, dims, similarity)
    if device is None:
        device = documents_ND.device if isinstance(documents_ND, torch.Tensor) else "cpu"
    ascending = sorted(set(dims))
    block_queries = min(len(queries_QD), _QUERIES, block_scores)
    # Sums and scores of a block; used again for the next one, which is faster than asking for new memory.
    buffers: list[Tensor] = []
    blocks = [
        _QueryBlock(piece.to(device, torch.float32), ascending, similarity, k, block_scores, buffers)
        for piece in queries_QD.split(block_queries)
    ]
    start = 0
    while start < len(documents_ND):
        # What is known after the first block has to keep most others out.
        size = min(max(1024, 16 * k) if start == 0 else _READ, max(1, block_scores // block_queries))
        documents_nD = _read(documents_ND, start, size).to(device, torch.float32)
        # A sum of finite numbers may overflow, so this only says where to look.
        if not bool(torch.isfinite(documents_nD.sum())):
            _check_finite("documents", documents_ND)
        slices = [_Slice(documents_nD[:, a:b], similarity) for a, b in zip([0, *ascending], ascending)]
        for block in blocks:
            block.add(slices, start + first_index)
        start += size
    found = {dim: [block.best(number) for block in blocks] for number, dim in enumerate(ascending)}
    return {
        dim: TopK(
            torch.cat([one.scores for one in found[dim]]), torch.cat([one.indices for one in found[dim]])
        )
        for dim in dims
    }


def merge_shards(shards: Sequence[Mapping[int, TopK]], k: int) -> dict[int, TopK]:
    """The ``k`` best of what `search_top_k` found in each shard of the documents, for each dimension.

    The answer is that of one search over all documents, ties included, in whatever order the shards come.

    Args:
        shards: one answer per shard for the same queries and dimensions, searched with at least this ``k`` and
            with the shard's ``first_index``.
        k: results per query.

    Raises:
        DataError: no shard, or shards of differing dimensions or numbers of queries.
    """
    import torch

    if not shards:
        raise DataError("there are no shards to merge")
    if any(tuple(shard) != tuple(shards[0]) for shard in shards):
        raise DataError(f"the shards have different dimensions: {[list(shard) for shard in shards]}")
    merged = {}
    for dim in shards[0]:
        parts = [shard[dim] for shard in shards]
        if len({len(part.scores) for part in parts}) > 1:
            raise DataError(
                f"the shards answer {[len(part.scores) for part in parts]} queries: they must agree"
            )
        scores, indices = ordered(
            torch.cat([part.scores for part in parts], 1), torch.cat([part.indices for part in parts], 1)
        )
        merged[dim] = TopK(scores[:, :k].contiguous(), indices[:, :k].contiguous())
    return merged


def _read(vectors: Tensor | np.ndarray | StoredVectors, start: int, count: int) -> Tensor:
    """A part of the documents as a tensor; of an array a copy, because a mapped one may not be written to."""
    import torch

    part = vectors[start : start + count]
    return part if isinstance(part, torch.Tensor) else torch.from_numpy(part.astype("float32"))


def _check(
    queries_QD: Tensor,
    documents_ND: Tensor | np.ndarray | StoredVectors,
    k: int,
    dims: Sequence[int],
    similarity: str,
) -> None:
    if similarity not in SIMILARITIES:
        raise ConfigError(f"unknown similarity '{similarity}': use one of {', '.join(SIMILARITIES)}")
    if k < 1:
        raise ConfigError(f"k is {k}: ask for at least one result")
    for what, vectors in (("queries", queries_QD), ("documents", documents_ND)):
        shape = tuple(vectors.shape)
        if len(shape) != 2:
            raise DataError(f"the {what} need one vector each, shape (count, dimension); these are {shape}")
        if len(vectors) == 0:
            raise DataError(f"there are no {what} to search")
    _check_finite("queries", queries_QD)
    width = int(documents_ND.shape[1])
    if queries_QD.shape[1] != width:
        raise DataError(f"queries have {queries_QD.shape[1]} dimensions but documents {width}")
    if not dims or min(dims) < 1 or max(dims) > width:
        raise ConfigError(f"dims {list(dims)} must be between 1 and the embedding's {width} dimensions")


def _check_finite(what: str, vectors: Tensor | np.ndarray | StoredVectors) -> None:
    import torch

    # In pieces, because isfinite makes copies of its argument.
    pieces = (_read(vectors, start, _READ) for start in range(0, len(vectors), _READ))
    finite = torch.cat([torch.isfinite(piece).all(dim=1) for piece in pieces])
    if not bool(finite.all()):
        bad = torch.nonzero(~finite).flatten()
        first = int(bad[0])
        raise DataError(f"{len(bad)} of the {what} have vectors that are not finite, first number {first}")


class _Slice:
    """A slice of the dimensions of some documents, with their part of the squared lengths."""

    def __init__(self, values_nS: Tensor, similarity: str) -> None:
        self.values_nS = values_nS
        self.square_n = values_nS.square().sum(1) if similarity in ("cosine", "euclidean") else None


class _QueryBlock:
    """Some queries with the best documents so far at each dimension."""

    def __init__(
        self,
        queries_qD: Tensor,
        dims: Sequence[int],
        similarity: str,
        k: int,
        block_scores: int,
        buffers: list[Tensor],
    ) -> None:
        self.similarity = similarity
        self.slices = [_Slice(queries_qD[:, a:b], similarity) for a, b in zip([0, *dims], dims)]
        self.kept = [Best(k) for _ in dims]
        self.buffers = buffers
        at_once = _CACHED_SCORES if queries_qD.device.type == "cpu" else block_scores
        self.documents = max(1, min(at_once, block_scores) // len(queries_qD))

    def add(self, slices: Sequence[_Slice], start: int) -> None:
        """Compares with documents, the first of which has index ``start``."""
        count = len(slices[0].values_nS)
        begin = 0
        while begin < count:
            # The very first documents go through a top-k, which wants all of them at once.
            end = count if self.kept[0].last_q1 is None else min(begin + self.documents, count)
            for best, scores_qn in zip(self.kept, self._prefix_scores(slices, slice(begin, end))):
                best.add(scores_qn, start + begin)
            begin = end

    def best(self, number: int) -> TopK:
        scores_qk, indices_qk = self.kept[number].merged()
        return TopK(scores_qk.cpu(), indices_qk.cpu())

    def _prefix_scores(self, slices: Sequence[_Slice], part: slice) -> Iterator[Tensor]:
        """Yield scores_qn for ascending dimensions; each slice of the vectors is read once."""
        import torch

        from sightline.modules.cpu import add_product

        shape = (len(self.slices[0].values_nS), part.stop - part.start)
        if not self.buffers or self.buffers[0].shape != shape:
            self.buffers[:] = [slices[0].values_nS.new_empty(shape) for _ in range(2)]
        sums_qn, scores_qn = self.buffers
        sums_qn.zero_()
        square_q, square_n = sums_qn.new_zeros(shape[0]), sums_qn.new_zeros(shape[1])
        for query, document in zip(self.slices, slices, strict=True):
            values_nS = document.values_nS[part]
            if self.similarity == "manhattan":
                sums_qn += torch.cdist(query.values_nS, values_nS, p=1)
                yield torch.neg(sums_qn, out=scores_qn)
                continue
            add_product(sums_qn, query.values_nS, values_nS)
            if query.square_n is None or document.square_n is None:
                yield scores_qn.copy_(sums_qn)
                continue
            square_q += query.square_n
            square_n += document.square_n[part]
            if self.similarity == "cosine":
                torch.mul(sums_qn, _inverse_length(square_n), out=scores_qn)
                yield scores_qn.mul_(_inverse_length(square_q)[:, None])
            else:
                torch.mul(sums_qn, -2, out=scores_qn)
                yield scores_qn.add_(square_q[:, None]).add_(square_n).clamp_min_(0).sqrt_().neg_()


def _inverse_length(square_n: Tensor) -> Tensor:
    # The floor keeps a zero vector at similarity 0, as torch.nn.functional.normalize does.
    return square_n.sqrt().clamp_min_(1e-12).reciprocal_()
