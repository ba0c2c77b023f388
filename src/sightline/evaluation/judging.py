"""Scores what a search found, given as indices into the documents.

Shape letters: Q queries, K ranks kept, J pairs of a query and a document relevant to it, H of them found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sightline.evaluation.metrics import Hits, Judgments, Result, best_possible, score_hits

_PAIRS_AT_ONCE = 4096


class Judge:
    """Knows what is relevant to each query.

    Args:
        ids: document ids in the order of the indices.
        relevant: query id -> document id -> gain.
        metrics: what to compute.
    """

    def __init__(
        self, ids: Sequence[str], relevant: Mapping[str, Mapping[str, float]], metrics: Sequence[str]
    ) -> None:
        position = {docid: number for number, docid in enumerate(ids)}
        self.relevant = relevant
        self.metrics = metrics
        self._places = {qid: _places(judged, position) for qid, judged in relevant.items()}

    def scores(self, qids: Sequence[str], found_QK: np.ndarray) -> tuple[Result, Hits]:
        """Metrics of some queries, and where the relevant documents stand among those found.

        Args:
            qids: the queries.
            found_QK: indices of what was found for each, best first.
        """
        hits = _hits(found_QK, [self._places[qid] for qid in qids])
        ideal, relevant_Q = best_possible(self.relevant[qid] for qid in qids)
        retrieved_Q = np.full(len(qids), found_QK.shape[1])
        return score_hits(qids, Judgments(hits, ideal, relevant_Q, retrieved_Q), self.metrics), hits


def _places(judged: Mapping[str, float], position: Mapping[str, int]) -> tuple[list[int], list[float]]:
    """Indices and gains of the relevant documents of one query."""
    known = {position[docid]: gain for docid, gain in judged.items() if gain > 0}
    return list(known), list(known.values())


def _hits(found_QK: np.ndarray, relevant_at: Sequence[tuple[list[int], list[float]]]) -> Hits:
    """Where the relevant documents of each query stand among those found."""
    query_J = np.repeat(np.arange(len(relevant_at)), [len(places) for places, _ in relevant_at])
    place_J = np.array([place for places, _ in relevant_at for place in places], dtype=np.int64)
    gain_J = np.array([gain for _, gains in relevant_at for gain in gains])
    pairs, ranks = [], []
    # Compared in pieces, for queries with thousands of relevant documents.
    for start in range(0, len(place_J), _PAIRS_AT_ONCE):
        piece = slice(start, start + _PAIRS_AT_ONCE)
        number, rank = np.nonzero(found_QK[query_J[piece]] == place_J[piece, None])
        pairs.append(number + start)
        ranks.append(rank + 1)
    pair_H, rank_H = np.concatenate(pairs), np.concatenate(ranks)
    order_H = np.lexsort((rank_H, query_J[pair_H]))
    pair_H, rank_H = pair_H[order_H], rank_H[order_H]
    return Hits(query_J[pair_H], rank_H, gain_J[pair_H])
