"""Retrieval evaluation of an encoder: encode once, report every Matryoshka dimension.

Shape letters: Q queries, K ranks kept, J pairs of a query and a document relevant to it, H of them found.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sightline.errors import ConfigError, DataError
from sightline.evaluation.metrics import (
    Hits,
    Judgments,
    Qrels,
    Result,
    best_possible,
    merge_results,
    parse_metric,
    score_hits,
)
from sightline.evaluation.recorded import RecordedEvaluator
from sightline.evaluation.results import (
    DEFAULT_METRICS,
    SHOWN,
    RetrievalResult,
    check_relevant,
    query_text,
    with_primary,
)
from sightline.evaluation.sharing import Search, encode_share, gather_vectors, shared_search
from sightline.types import Embeddings

if TYPE_CHECKING:
    from sightline.training.distributed import Ranks

_QUERIES_AT_ONCE = 1024
_PAIRS_AT_ONCE = 4096


class RetrievalEncoder(Protocol):
    """What the evaluator needs of a model; `sightline.models.encoder.Encoder` is one."""

    similarity_fn_name: str

    def encode_query(self, inputs: Sequence[Any], **options: Any) -> Embeddings:
        """One vector per query, in order."""
        ...

    def encode_document(self, inputs: Sequence[Any], **options: Any) -> Embeddings:
        """One vector per document, in order."""
        ...


class RetrievalEvaluator(RecordedEvaluator):
    """Encode queries and corpus once, search exactly, and score against what is relevant.

    Call it with an encoder: ``evaluator(encoder)`` returns a flat dict of means,
    ``{"vdr_ndcg@10": 0.61, ..., "vdr_dim128_ndcg@10": 0.58, ...}`` with ``name="vdr"``. Names without a
    ``dim`` are the encoder's full width. Any number of documents may be relevant to a query.

    Args:
        queries: query id -> value (text, image, dict of modalities, whatever the encoder takes).
        corpus: document id -> value.
        relevant: query id -> relevant document ids, or {document id: gain}. Queries that are not in
            ``queries`` are ignored.
        dims: Matryoshka dimensions to report besides the full width, all from the same encoding.
        name: put in front of every metric name and in the files' names.
        metrics: see `sightline.evaluation.metrics.METRICS`.
        primary: the metric that decides which model is best.
        depth: ranks that metrics without a cutoff ("map") look at, trec_eval's 1,000 by default.
        keep: documents kept per query in the result, to be reranked, say.
        query_options, document_options: keyword arguments for ``encode_query`` and ``encode_document``,
            e.g. ``{"prompt": "Instruct: ..."}``.
        block_scores: see `search_top_k`.

    Attributes:
        primary_metric: name of the deciding metric in the returned dict.
        greater_is_better: True, as for every metric here.
        last: the `RetrievalResult` of the last call, with per-query scores.

    Raises:
        DataError: see `sightline.evaluation.results.check_relevant`.
        ConfigError: an unknown metric, or a depth below 10.
    """

    greater_is_better = True

    kind = "retrieval"

    def __init__(
        self,
        queries: Mapping[str, Any],
        corpus: Mapping[str, Any],
        relevant: Qrels,
        *,
        dims: Sequence[int] | None = None,
        name: str = "",
        metrics: Sequence[str] = DEFAULT_METRICS,
        primary: str = "ndcg@10",
        depth: int = 1000,
        keep: int = SHOWN,
        query_options: Mapping[str, Any] | None = None,
        document_options: Mapping[str, Any] | None = None,
        block_scores: int = 2**24,
    ) -> None:
        self.relevant = check_relevant(queries, corpus, relevant)
        self.queries = dict(queries)
        # By id descending: then the search's rule for ties is trec_eval's, without moving vectors later.
        self.corpus = {docid: corpus[docid] for docid in sorted(corpus, reverse=True)}
        self.dims = tuple(dims or ())
        self.name = name
        self.metrics = with_primary(metrics, primary)
        self.primary = primary
        self.keep = keep
        self.depth = max(keep, _depth(self.metrics, depth))
        self.query_options = dict(query_options or {})
        self.document_options = dict(document_options or {})
        self.block_scores = block_scores
        self.last: RetrievalResult | None = None

    def __call__(
        self,
        encoder: RetrievalEncoder,
        *,
        output_dir: str | Path | None = None,
        epoch: float | None = None,
        steps: int | None = None,
        ranks: Ranks | None = None,
    ) -> dict[str, float]:
        """Evaluate ``encoder``; with ``ranks``, on all of them together, and each returns the same.

        With ``output_dir``, ``retrieval_<name>.json`` there gets the whole result, and
        ``retrieval_<name>_history.jsonl`` one more line of means with epoch and step.
        """
        return self.tell(self.evaluate(encoder, ranks), output_dir, epoch, steps)

    def evaluate(self, encoder: RetrievalEncoder, ranks: Ranks | None = None) -> RetrievalResult:
        """As calling, with everything that was found; also kept as `last`."""
        started = time.perf_counter()
        own = encode_share(
            encoder.encode_query, list(self.queries.values()), self.query_options, ranks, "queries"
        )
        queries = gather_vectors(own, ranks)
        # Before the corpus is encoded, which may take hours.
        if self.dims and not 1 <= min(self.dims) <= max(self.dims) <= queries.dim:
            raise ConfigError(f"dims {list(self.dims)} must lie in the model's {queries.dim} dimensions")
        queries_done = time.perf_counter()
        values = list(self.corpus.values())
        documents = encode_share(encoder.encode_document, values, self.document_options, ranks, "documents")
        documents_done = time.perf_counter()
        dims = tuple(dict.fromkeys((queries.dim, *self.dims)))
        similarity = encoder.similarity_fn_name
        search = shared_search(
            queries,
            documents,
            len(values),
            ranks,
            depth=self.depth,
            dims=dims,
            similarity=similarity,
            block_scores=self.block_scores,
        )
        self.last = _score(
            self.queries,
            list(self.corpus),
            self.relevant,
            search,
            full=queries.dim,
            dims=self.dims,
            metrics=self.metrics,
            primary=self.primary,
            keep=self.keep,
        )
        self.last.facts["similarity"] = similarity
        self.last.facts["embedding dimension"] = queries.dim
        self.last.facts["seconds"] = {
            "encode queries": round(queries_done - started, 3),
            "encode corpus": round(documents_done - queries_done, 3),
            "search": round(time.perf_counter() - documents_done, 3),
        }
        return self.last


def score_embeddings(
    queries: Mapping[str, Any],
    query_embeddings: Embeddings,
    document_ids: Sequence[str],
    document_embeddings: Embeddings,
    relevant: Qrels,
    *,
    dims: Sequence[int] = (),
    similarity: str = "cosine",
    metrics: Sequence[str] = DEFAULT_METRICS,
    primary: str = "ndcg@10",
    depth: int = 1000,
    block_scores: int = 2**24,
) -> RetrievalResult:
    """Search and score vectors that are already there, one per query and document in order.

    Arguments as of `RetrievalEvaluator`; ``similarity`` as ``Encoder.similarity_fn_name``.

    Raises:
        DataError: see `check_relevant` and `search_top_k`; ids that repeat or don't match the vectors.
        ConfigError: an unknown metric or similarity, or a dimension beyond the vectors' width.
    """
    if len(document_ids) != len(document_embeddings) or len(queries) != len(query_embeddings):
        raise DataError(
            f"{len(queries)} queries with {len(query_embeddings)} vectors and {len(document_ids)} documents "
            f"with {len(document_embeddings)} vectors: each needs exactly one"
        )
    position = {docid: number for number, docid in enumerate(document_ids)}
    if len(position) != len(document_ids):
        raise DataError(f"{len(document_ids) - len(position)} document ids occur more than once")
    gains = check_relevant(queries, position, relevant)
    ids = sorted(document_ids, reverse=True)
    if ids != list(document_ids):
        document_embeddings = document_embeddings[[position[docid] for docid in ids]]
        position = {docid: number for number, docid in enumerate(ids)}
    metrics = with_primary(metrics, primary)
    full, depth = document_embeddings.dim, _depth(metrics, depth)
    search = shared_search(
        query_embeddings,
        document_embeddings,
        len(ids),
        None,
        depth=depth,
        dims=tuple(dict.fromkeys((full, *dims))),
        similarity=similarity,
        block_scores=block_scores,
    )
    result = _score(queries, ids, gains, search, full=full, dims=dims, metrics=metrics, primary=primary)
    result.facts.update({"similarity": similarity, "embedding dimension": full})
    return result


def _score(
    queries: Mapping[str, Any],
    ids: Sequence[str],
    relevant: dict[str, dict[str, float]],
    search: Search,
    *,
    full: int,
    dims: Sequence[int],
    metrics: Sequence[str],
    primary: str,
    keep: int = SHOWN,
) -> RetrievalResult:
    """Searches, and scores what is found.

    Args:
        queries: id -> value.
        ids: document ids, descending.
        relevant: query id -> document id -> gain.
        search: finds the best documents at the full width and at each of ``dims``.
        full: the full width.
        dims, metrics, primary, keep: as of `RetrievalEvaluator`.
    """
    position = {docid: number for number, docid in enumerate(ids)}
    parts: dict[int, list[Result]] = {dim: [] for dim in dict.fromkeys((full, *dims))}
    top: dict[str, list[tuple[str, float]]] = {}
    first_rank: dict[str, int | None] = {}
    qids = list(queries)
    relevant_at = [_relevant_places(relevant[qid], position) for qid in qids]
    for start in range(0, len(qids), _QUERIES_AT_ONCE):
        block = qids[start : start + _QUERIES_AT_ONCE]
        found = search(start, start + len(block))
        ideal, relevant_Q = best_possible(relevant[qid] for qid in block)
        for dim, best in found.items():
            hits = _hits(best.indices.numpy(), relevant_at[start : start + len(block)])
            retrieved_Q = np.full(len(block), best.indices.shape[1])
            parts[dim].append(score_hits(block, Judgments(hits, ideal, relevant_Q, retrieved_Q), metrics))
            if dim == full:
                # From the last to the first, so that the first stays.
                ranks = dict(zip(hits.list_H[::-1].tolist(), hits.rank_H[::-1].tolist()))
                first_rank |= {qid: ranks.get(number) for number, qid in enumerate(block)}
        rows = zip(found[full].indices[:, :keep].tolist(), found[full].scores[:, :keep].tolist())
        for qid, (row, values) in zip(block, rows):
            top[qid] = [(ids[number], value) for number, value in zip(row, values)]
    merged = {dim: merge_results(pieces) for dim, pieces in parts.items()}
    return RetrievalResult(
        scores=merged[full],
        by_dim={dim: merged[dim] for dim in dims},
        primary=primary,
        top=top,
        first_rank=first_rank,
        queries={qid: query_text(value) for qid, value in queries.items()},
        relevant=relevant,
        corpus_size=len(ids),
    )


def _relevant_places(
    judged: Mapping[str, float], position: Mapping[str, int]
) -> tuple[list[int], list[float]]:
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


def _depth(metrics: Sequence[str], depth: int) -> int:
    """Ranks that ``metrics`` need: the largest cutoff, or ``depth`` where one has none."""
    if depth < SHOWN:
        raise ConfigError(f"depth is {depth}: it must be at least {SHOWN}")
    return max([SHOWN, *(parse_metric(metric)[1] or depth for metric in metrics)])
