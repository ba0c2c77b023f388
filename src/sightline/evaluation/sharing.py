"""An evaluation that several ranks share: each encodes and searches a part of the documents.

Every rank ends with the same best documents of every query, those that one process finds, ties included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.evaluation.ranking import TopK, merge_shards, search_top_k
from sightline.evaluation.token_search import search_tokens
from sightline.types import Embeddings

if TYPE_CHECKING:
    from sightline.training.distributed import Ranks

# First query's number, and the one after the last -> dimension -> their best documents.
Search = Callable[[int, int], dict[int, TopK]]


def encode_share(
    encode: Callable[..., Embeddings],
    values: Sequence[Any],
    options: Mapping[str, Any],
    ranks: Ranks | None,
    what: str,
) -> Embeddings | None:
    """Vectors of this rank's part of the values (all of them without ``ranks``); None for no values.

    Args:
        encode: the encoder's method.
        values: queries or documents, the same on every rank.
        options: keyword arguments for ``encode``.
        ranks: who shares them.
        what: for messages.

    Raises:
        PeerError: another rank failed in it.
    """
    if ranks is None:
        return encode(values, **options)
    with ranks.together(f"encoding {what}"):
        mine = values[ranks.share(len(values))]
        return encode(mine, **options) if mine else None


def gather_vectors(own: Embeddings | None, ranks: Ranks | None) -> Embeddings:
    """The vectors of all ranks in order, on every rank and the CPU."""
    if ranks is None:
        assert own is not None
        return own
    mine = None
    if own is not None:
        mine = own.values.float().cpu().numpy(), None if own.mask is None else own.mask.cpu().numpy()
    told = ranks.exchange(mine, "gathering queries")
    import torch

    return Embeddings.concatenate(
        [
            Embeddings(torch.from_numpy(one[0]), None if one[1] is None else torch.from_numpy(one[1]))
            for one in told
            if one is not None
        ]
    )


def shared_search(
    queries: Embeddings,
    documents: Embeddings | None,
    count: int,
    ranks: Ranks | None,
    *,
    depth: int,
    **options: Any,
) -> Search:
    """A search of this rank's documents, and of those of the others.

    Args:
        queries: all of them.
        documents: of `encode_share`.
        count: documents of all ranks.
        ranks: who shares the documents; all of them call the search with the same queries.
        depth: documents to find per query.
        options: of `search_top_k`, or of `search_tokens` for token vectors.
    """

    def search(begin: int, end: int) -> dict[int, TopK]:
        first = 0 if ranks is None else ranks.share(count).start
        found = None
        if documents is not None and queries.mask is None and documents.mask is None:
            found = search_top_k(
                queries.values[begin:end], documents.values, depth, first_index=first, **options
            )
        elif documents is not None:
            found = search_tokens(queries[begin:end], documents, depth, first_index=first, **options)
        if ranks is None:
            assert found is not None
            return found
        shards = ranks.exchange(found, "merging what was found")
        return merge_shards([shard for shard in shards if shard is not None], depth)

    return search
