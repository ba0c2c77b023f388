"""Exact search of vectors that do not lie in memory, block by block, and scores of given pairs.

Shape letters: Q queries, K results per query, P pairs of a query and a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sightline.evaluation.ranking import TopK, merge_shards, search_top_k
from sightline.evaluation.token_search import search_tokens
from sightline.types import Embeddings

if TYPE_CHECKING:
    import torch

    from sightline.models.vector_store import Vectors
    from sightline.training.distributed import Ranks

# Bytes of document vectors in memory at a time.
BLOCK_BYTES = 2**25
# Scores of the search's working blocks, which take six times four bytes each.
BLOCK_SCORES = 2**22


def search_stored(
    queries: Embeddings,
    documents: Vectors,
    k: int,
    *,
    rows: np.ndarray | None = None,
    similarity: str,
    device: torch.device | str | None = None,
    block_bytes: int = BLOCK_BYTES,
    ranks: Ranks | None = None,
) -> TopK:
    """The ``k`` most similar documents of each query; memory does not grow with the number of documents.

    Args:
        queries: Q vectors, or token vectors.
        documents: of the same kind.
        k: results per query; fewer come back where there are fewer documents.
        rows: numbers of the documents to be searched, all by default; results are places in it.
        similarity: ``Encoder.similarity_fn_name``. Ties go to the lower place.
        device: where to compare.
        block_bytes: of document vectors that are read at a time.
        ranks: processes that share the blocks; all of them search for the same, and get what one would find alone,
            to the last bit.

    Raises:
        PeerError: another rank failed in it.
        DataError, ConfigError: as `search_top_k` and `search_tokens`.
    """
    rows = np.arange(len(documents.tokens_n)) if rows is None else rows
    pieces = list(blocks(documents, rows, block_bytes))
    if ranks is None:
        best = _best_of(pieces, queries, documents, rows, k, similarity, device)
    else:
        with ranks.together("searching"):
            mine = pieces[ranks.share(len(pieces))]
            best = _best_of(mine, queries, documents, rows, k, similarity, device)
        shards = [one for one in ranks.exchange(best, "merging what was found") if one is not None]
        best = merge_shards([{0: one} for one in shards], k)[0] if shards else None
    if best is None:
        import torch

        none = torch.zeros(len(queries), 0)
        return TopK(none, none.long())
    return best


def _best_of(
    pieces: Sequence[tuple[int, int]],
    queries: Embeddings,
    documents: Vectors,
    rows: np.ndarray,
    k: int,
    similarity: str,
    device: torch.device | str | None,
) -> TopK | None:
    """The best documents of some stretches of ``rows``; None for no stretch."""
    best: TopK | None = None
    for start, stop in pieces:
        found = _search(queries, documents.take(rows[start:stop]), k, similarity, device, start)
        best = found if best is None else merge_shards([{0: best}, {0: found}], k)[0]
    return best


def pair_scores(
    queries: Embeddings,
    documents: Vectors,
    query_P: np.ndarray,
    document_P: np.ndarray,
    *,
    similarity: str,
    block_bytes: int = BLOCK_BYTES,
) -> np.ndarray:
    """(P,) float32 similarity of each query with the document at its place; arguments as of `search_stored`."""
    from sightline.models.similarity import similarity_pairwise

    found = [np.zeros(0, np.float32)]
    for start, stop in blocks(documents, document_P, block_bytes):
        left = queries[query_P[start:stop]]
        scores = similarity_pairwise(similarity, left, documents.take(document_P[start:stop]))
        found.append(scores.float().cpu().numpy())
    return np.concatenate(found)


def blocks(vectors: Vectors, rows: np.ndarray, block_bytes: int) -> Iterator[tuple[int, int]]:
    """First place in ``rows`` and the one after the last of stretches of at most so many bytes, padding included."""
    budget = max(1, block_bytes // (4 * vectors.dim)) if len(rows) else 1
    tokens = vectors.tokens_n[rows]
    if not vectors.multi_vector:
        for start in range(0, len(rows), budget):
            yield start, min(start + budget, len(rows))
        return
    start = longest = 0
    for number, count in enumerate(tokens.tolist()):
        longest = max(longest, count)
        if number > start and longest * (number + 1 - start) > budget:
            yield start, number
            start, longest = number, count
    if start < len(rows):
        yield start, len(rows)


def _search(
    queries: Embeddings,
    documents: Embeddings,
    k: int,
    similarity: str,
    device: torch.device | str | None,
    first: int,
) -> TopK:
    if documents.mask is None:
        found = search_top_k(
            queries.values, documents.values, k, similarity=similarity, device=device, first_index=first,
            block_scores=BLOCK_SCORES,
        )  # fmt: skip
    else:
        found = search_tokens(
            queries, documents, k, similarity=similarity, device=device, first_index=first,
            block_scores=BLOCK_SCORES,
        )  # fmt: skip
    return next(iter(found.values()))
