"""Pages ranked by an encoder, for `sightline.documents.generation.filters.Margin`.

Shape letters: q queries of a block, N pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sightline.documents.generation.filters import Search
from sightline.types import Embeddings

if TYPE_CHECKING:
    from sightline.models.encoder import Encoder

_QUERIES = 64


def encoder_search(
    encoder: Encoder, pages: Mapping[str, Any], *, show_progress: bool | None = None
) -> Search:
    """Rank pages by the similarity of their vectors; the pages are embedded when first searched.

    Args:
        encoder: single-vector or late interaction.
        pages: page id -> what the encoder sees of it, as `Dataset.corpus` gives it.
        show_progress: a bar while embedding.
    """
    names = list(pages)
    embedded: list[Embeddings] = []

    def search(queries: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
        if not queries:
            return []
        if not embedded:
            embedded.append(encoder.encode_document(list(pages.values()), show_progress=show_progress))
        asked = encoder.encode_query(list(queries), show_progress=show_progress)
        found = []
        for start in range(0, len(queries), _QUERIES):
            block = asked[list(range(start, min(start + _QUERIES, len(queries))))]
            scores_qN = encoder.similarity(block, embedded[0])
            best = scores_qN.topk(min(k, len(names)), dim=1)
            for indices, scores in zip(best.indices.tolist(), best.values.tolist()):
                found.append([(names[index], score) for index, score in zip(indices, scores)])
        return found

    return search
