"""Quality against size out of one encoding: Matryoshka dimensions, precisions, and a reranker behind each of them.

Shape letters: Q queries, K ranks kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from sightline.evaluation.judging import Judge
from sightline.evaluation.metrics import Result, merge_results
from sightline.evaluation.quantized import Index, index_of
from sightline.evaluation.storage import RESCORED, Cell, Cost, Storage, hardware
from sightline.evaluation.tandem import PairScores, rerank_order
from sightline.types import Embeddings

_QUERIES = 1024
_TIMED = 20
_TIMED_DEPTH = 100


@dataclass(frozen=True)
class Matrix:
    """Ways to keep the vectors of one encoding.

    Attributes:
        cells: in the order asked for.
        found: storage -> (Q, K) int32 indices of what was found, best first; only where it was asked for.
    """

    cells: list[Cell]
    found: dict[Storage, np.ndarray] = field(default_factory=dict)


def measure_matrix(
    qids: Sequence[str],
    queries: Embeddings,
    documents: Embeddings,
    judge: Judge,
    storages: Sequence[Storage],
    *,
    similarity: str,
    depth: int,
    known: Mapping[Storage, Result] | None = None,
    keep_found: bool = False,
    ms_per_page: float | None = None,
    rescored: int = RESCORED,
    tell: Callable[[str], None] | None = None,
) -> Matrix:
    """Searches the same vectors as each of ``storages`` keeps them.

    The search time is that of one question at a time for its best 100 pages, the median of 20 questions, with the
    question's vector there and the documents held as stored.

    Args:
        qids: query ids.
        queries: their vectors, in the same order.
        documents: vectors in the order of the judge's ids, whose order is that of ties.
        judge: scores what is found.
        storages: dimensions and precisions.
        similarity: as ``Encoder.similarity_fn_name``.
        depth: ranks searched.
        known: metrics that have been computed of the same search already.
        keep_found: keep what each storage finds, to be reranked.
        ms_per_page: what encoding took, for the cost.
        rescored: see `index_of`.
        tell: called with a line before each storage.

    Raises:
        ConfigError: see `index_of`.
    """
    cells, kept = [], {}
    for storage in storages:
        if tell is not None:
            tell(f"searching at {storage} ...")
        index = index_of(documents, storage, similarity, rescored=rescored)
        scores = (known or {}).get(storage)
        if scores is None or keep_found:
            found_QK = _search(index, queries, depth)
            scores = scores or _judged(judge, qids, found_QK)
            if keep_found:
                kept[storage] = found_QK
        cost = Cost(
            bytes_per_page=index.nbytes / len(documents),
            ms_per_page=ms_per_page,
            ms_per_query=time_per_query(lambda one, index=index: index.search(one, _TIMED_DEPTH), queries),  # type: ignore[misc]
            pages=len(documents),
            hardware=hardware(),
        )
        cells.append(Cell(storage, scores, cost))
    return Matrix(cells, kept)


def reranked_cells(
    matrix: Matrix,
    qids: Sequence[str],
    ids: Sequence[str],
    judge: Judge,
    scored: PairScores,
    depths: Sequence[int],
) -> list[Cell]:
    """Every cell of the matrix with its first pages in a reranker's order, a cell per depth.

    The time of a question is that of the search and of ``depth`` pairs, as long as a pair took on average among
    all that were scored.

    Args:
        matrix: with what was found.
        qids: query ids, in the order of what was found.
        ids: document ids, in the order of the indices.
        judge: scores the new orders.
        scored: the reranker's scores of every pair that is looked up.
        depths: pages to put into a new order.
    """
    number = {docid: place for place, docid in enumerate(ids)}
    cells = []
    for cell in matrix.cells:
        found_QK = matrix.found[cell.storage]
        for depth in depths:
            order = [
                [
                    number[docid]
                    for docid in rerank_order([ids[place] for place in row], scored.scores[qid], depth)
                ]
                for qid, row in zip(qids, found_QK.tolist(), strict=True)
            ]
            searched = cell.cost.ms_per_query or 0.0
            pairs = min(depth, found_QK.shape[1])
            cost = replace(cell.cost, ms_per_query=searched + pairs * scored.ms_per_pair)
            cells.append(Cell(cell.storage, _judged(judge, qids, np.array(order)), cost, depth))
    return cells


def wanted_pairs(matrix: Matrix, qids: Sequence[str], ids: Sequence[str], depth: int) -> dict[str, list[str]]:
    """Query -> the documents that any cell has among its first ``depth``, each once."""
    return {
        qid: [
            ids[place]
            for place in np.unique(
                np.concatenate([found_QK[row, :depth] for found_QK in matrix.found.values()])
            )
        ]
        for row, qid in enumerate(qids)
    }


def time_per_query(search: Callable[[Embeddings], object], queries: Embeddings) -> float:
    """Milliseconds of one search, the median over up to 20 queries asked one at a time."""
    places = np.linspace(0, len(queries) - 1, min(_TIMED, len(queries))).astype(int).tolist()
    search(queries[places[0]])  # the first call also makes what is used again
    seconds = []
    for place in places:
        one = queries[place]
        started = time.perf_counter()
        search(one)
        seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds)


def _search(index: Index, queries: Embeddings, depth: int) -> np.ndarray:
    """(Q, K) int32."""
    return np.concatenate(
        [
            index.search(queries[start : start + _QUERIES], depth).numpy().astype(np.int32)
            for start in range(0, len(queries), _QUERIES)
        ]
    )


def _judged(judge: Judge, qids: Sequence[str], found_QK: np.ndarray) -> Result:
    return merge_results(
        [
            judge.scores(qids[start : start + _QUERIES], found_QK[start : start + _QUERIES])[0]
            for start in range(0, len(qids), _QUERIES)
        ]
    )
