"""Exact top-k search by MaxSim, for models that give a vector per token.

Shape letters::

    Q  queries      N  documents      T  tokens      D  dimension
    q  queries of a block             n  documents of a block

Documents go by a block at a time, and their tokens within a block as `sightline.modules.maxsim` takes them, so memory
beyond the embeddings is a block of scores, that of the products held at once, and the best so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sightline.errors import ConfigError, DataError
from sightline.evaluation.best import Best
from sightline.evaluation.ranking import TopK
from sightline.types import Embeddings

if TYPE_CHECKING:
    import torch

SIMILARITIES = ("maxsim", "meanmaxsim")
_QUERIES = 1024
_DOCUMENTS = 2**13


def search_tokens(
    queries: Embeddings,
    documents: Embeddings,
    k: int,
    *,
    dims: Sequence[int] | None = None,
    similarity: str = "maxsim",
    block_scores: int = 2**24,
    device: torch.device | str | None = None,
    first_index: int = 0,
) -> dict[int, TopK]:
    """The ``k`` documents of highest MaxSim for each query; arguments and ties as of `ranking.search_top_k`.

    Args:
        queries: (Q, T, D) with a mask.
        documents: (N, T, D) with a mask.
        k: results per query; fewer come back where there are fewer documents.
        dims: prefix lengths, by default the full width only. The tokens of shorter ones are brought to unit length,
            as Matryoshka training does.
        similarity: one of `SIMILARITIES`.
        block_scores: scores held at once.
        device: where to compare; by default where the documents are.
        first_index: index of the first document.

    Raises:
        ConfigError: another similarity, or a dimension outside 1..D.
        DataError: no queries or documents, one vector per item, differing widths, vectors that are not finite.
    """
    import torch

    from sightline.modules.maxsim import TokenVectors, maxsim

    dims = tuple(dims) if dims is not None else (documents.dim,)
    _check(queries, documents, k, dims, similarity)
    place = documents.values.device if device is None else torch.device(device)
    size = max(1, min(_DOCUMENTS, block_scores // min(len(queries), _QUERIES)))
    found: dict[int, list[Best]] = {dim: [] for dim in dims}
    asked = {
        dim: [_cut(queries[start : start + _QUERIES], dim) for start in range(0, len(queries), _QUERIES)]
        for dim in dims
    }
    for dim in dims:
        found[dim] = [Best(k) for _ in asked[dim]]
    for start in range(0, len(documents), size):
        block = documents[start : start + size]
        _check_finite("documents", block)
        for dim in dims:
            cut = _cut(block, dim)
            tokens = TokenVectors(cut.values, cut.mask)
            for best, some in zip(found[dim], asked[dim], strict=True):
                scores_qn = maxsim(
                    TokenVectors(some.values, some.mask),
                    tokens,
                    mean=similarity == "meanmaxsim",
                    device=place,
                )
                best.add(scores_qn.float(), start + first_index)
    merged = {dim: [best.merged() for best in bests] for dim, bests in found.items()}
    return {
        dim: TopK(
            torch.cat([scores for scores, _ in merged[dim]]).cpu(),
            torch.cat([indices for _, indices in merged[dim]]).cpu(),
        )
        for dim in dims
    }


def _cut(embeddings: Embeddings, dim: int) -> Embeddings:
    return embeddings if dim == embeddings.dim else embeddings.truncate(dim, normalize=True)


def _check(queries: Embeddings, documents: Embeddings, k: int, dims: Sequence[int], similarity: str) -> None:
    if similarity not in SIMILARITIES:
        raise ConfigError(
            f"token vectors are not compared by {similarity!r}: use one of {', '.join(SIMILARITIES)}"
        )
    if k < 1:
        raise ConfigError(f"k is {k}: ask for at least one result")
    for what, given in (("queries", queries), ("documents", documents)):
        if given.mask is None:
            raise DataError(f"the {what} have one vector each, but MaxSim compares a vector per token")
        if len(given) == 0:
            raise DataError(f"there are no {what} to search")
    _check_finite("queries", queries)
    if queries.dim != documents.dim:
        raise DataError(f"queries have {queries.dim} dimensions but documents {documents.dim}")
    if not dims or min(dims) < 1 or max(dims) > documents.dim:
        raise ConfigError(
            f"dims {list(dims)} must be between 1 and the embedding's {documents.dim} dimensions"
        )


def _check_finite(what: str, embeddings: Embeddings) -> None:
    import torch

    finite = torch.isfinite(embeddings.values).all(-1).all(-1)
    if not bool(finite.all()):
        bad = torch.nonzero(~finite).flatten()
        raise DataError(
            f"{len(bad)} of the {what} have vectors that are not finite, first number {int(bad[0])}"
        )
