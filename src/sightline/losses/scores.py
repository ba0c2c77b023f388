"""Scores of queries and documents, by one vector per item or by MaxSim over the vectors of its tokens.

Shape letters::

    B  rows of the batch     P  rows whose cells are there     n  documents per query
    N  distinct items        D  embedding dimension            T  tokens
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from sightline.errors import ConfigError
from sightline.losses.base import ScoreTerm
from sightline.losses.blockwise import prefix_parts
from sightline.losses.columns import chosen_rows, single_vectors, whole_rows
from sightline.losses.late import token_parts
from sightline.losses.similarity import MAXSIMS, Similarity, at_least_float32
from sightline.modules.maxsim import maxsim_pairs
from sightline.types import Batch, Embeddings


def score_parts(
    embeddings: Embeddings, terms: Sequence[ScoreTerm], similarity: Similarity, *, loss: str
) -> dict[str, Tensor]:
    """Each part of a `ScoreLoss`, a scalar.

    Args:
        embeddings: (N, D), or (N, T, D) with a mask.
        terms: what is summed.
        similarity: how vectors are compared; of token vectors the best matches are summed.
        loss: its name, for the message.

    Raises:
        ConfigError: MaxSim of one vector per item.
    """
    if embeddings.mask is None:
        _check_single(similarity, loss)
        parts = prefix_parts(single_vectors(embeddings), terms, [embeddings.dim], similarity=similarity)
        return {name: part_K[0] for name, part_K in parts.items()}
    values_NTD, mean = comparable_tokens(embeddings, similarity)
    return token_parts(values_NTD, embeddings.mask, terms, mean=mean)


def document_scores(
    embeddings: Embeddings, batch: Batch, similarity: Similarity, *, loss: str
) -> tuple[Tensor, Tensor]:
    """(P, n) scores of each row's documents for its query, the first column; and (P,) the rows' numbers.

    Args:
        embeddings, similarity, loss: as of `score_parts`.
        batch: a query and two documents or more per row; rows with an absent cell are left out.

    Raises:
        ConfigError: fewer columns; MaxSim of one vector per item.
    """
    columns = max(batch.columns_BC.shape[1], 3)
    if embeddings.mask is None:
        _check_single(similarity, loss)
        vectors, rows_P = whole_rows(embeddings, batch, loss=loss, columns=columns)
        queries, documents = vectors[0], vectors[1:]
        if similarity == "cosine":
            return cosine_similarity(queries, documents, dim=-1).t(), rows_P
        return torch.einsum("pd,npd->pn", queries, documents), rows_P
    cells_PC, rows_P = chosen_rows(batch, loss=loss, columns=columns)
    values_NTD, mean = comparable_tokens(embeddings, similarity)
    mask_NT = embeddings.mask.bool()
    query_mask_PT = mask_NT[cells_PC[:, 0]]
    # Queries are short: what is padding behind all of them is not compared.
    ends = query_mask_PT.any(0).nonzero()
    longest = int(ends[-1]) + 1 if len(ends) else 0
    query_PSD, query_mask_PS = values_NTD[cells_PC[:, 0], :longest], query_mask_PT[:, :longest]
    scores = [
        maxsim_pairs(query_PSD, query_mask_PS, values_NTD[column_P], mask_NT[column_P], mean=mean)
        for column_P in cells_PC[:, 1:].unbind(1)
    ]
    return torch.stack(scores, 1), rows_P


def comparable_tokens(embeddings: Embeddings, similarity: Similarity) -> tuple[Tensor, bool]:
    """Token vectors whose products are their similarities, and whether scores are means over the query's tokens."""
    values_NTD = at_least_float32(embeddings.values)
    return normalize(values_NTD, dim=-1) if similarity == "cosine" else values_NTD, similarity == "meanmaxsim"


def _check_single(similarity: Similarity, loss: str) -> None:
    if similarity in MAXSIMS:
        raise ConfigError(
            f"{loss} has the similarity {similarity!r}, which compares token vectors, but the model gives one vector "
            'per item; use "cosine" or "dot"'
        )
