"""Retrieval evaluation of an encoder: encode once, report every Matryoshka dimension.

Shape letters: Q queries, K ranks kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sightline.errors import ConfigError, DataError
from sightline.evaluation.judging import Judge
from sightline.evaluation.lazy import in_order, values_of
from sightline.evaluation.metrics import Qrels, Result, merge_results, parse_metric
from sightline.evaluation.recorded import RecordedEvaluator
from sightline.evaluation.results import (
    DEFAULT_METRICS,
    SHOWN,
    Facets,
    RetrievalResult,
    check_relevant,
    query_text,
    with_primary,
)
from sightline.evaluation.sharing import Search, encode_share, gather_vectors, shared_search
from sightline.evaluation.storage import Cell, Cost, Storage
from sightline.inputs.named import NamedItems
from sightline.types import Embeddings

if TYPE_CHECKING:
    from sightline.training.check import Asked
    from sightline.training.distributed import Ranks

_QUERIES_AT_ONCE = 1024


class RetrievalEncoder(Protocol):
    """What the evaluator needs of a model; `sightline.models.encoder.Encoder` is one."""

    similarity_fn_name: str

    def encode_query(self, inputs: Sequence[Any], **options: Any) -> Embeddings:
        """One vector per query, in order."""
        ...

    def encode_document(self, inputs: Sequence[Any], **options: Any) -> Embeddings:
        """One vector per document, in order."""
        ...


@dataclass(frozen=True)
class Encoded:
    """Vectors that everything else is computed from.

    Attributes:
        queries: one per query, in the evaluator's order.
        documents: one per document, in the evaluator's order; with ranks those of this one, None for none.
        similarity: the model's.
        seconds: what encoding took, by part.
    """

    queries: Embeddings
    documents: Embeddings | None
    similarity: str
    seconds: dict[str, float]


class RetrievalEvaluator(RecordedEvaluator):
    """Encode queries and corpus once, search exactly, and score against what is relevant.

    Call it with an encoder: ``evaluator(encoder)`` returns a flat dict of means,
    ``{"vdr_ndcg@10": 0.61, ..., "vdr_dim128_ndcg@10": 0.58, ...}`` with ``name="vdr"``. Names without a
    ``dim`` are the encoder's full width. Any number of documents may be relevant to a query.

    Args:
        queries: query id -> value (text, image, dict of modalities, whatever the encoder takes).
        corpus: document id -> value; of a mapping that is no dict each value is read when its turn comes, and not
            kept.
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
        facets: what the queries are told apart by; handed on to the result.

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
        facets: Facets | None = None,
    ) -> None:
        self.relevant = check_relevant(queries, corpus, relevant)
        self.queries = in_order(queries, list(queries))
        # By id descending: then the search's rule for ties is trec_eval's, without moving vectors later.
        self.corpus = in_order(corpus, sorted(corpus, reverse=True))
        self.dims = tuple(dims or ())
        self.name = name
        self.metrics = with_primary(metrics, primary)
        self.primary = primary
        self.keep = keep
        self.depth = max(keep, _depth(self.metrics, depth))
        self.query_options = dict(query_options or {})
        self.document_options = dict(document_options or {})
        self.block_scores = block_scores
        self.facets = facets or {}
        self.last: RetrievalResult | None = None

    def check(self, model: Any) -> None:
        """Whether it can measure a model; `check_inputs` says whether the model takes queries and documents.

        Raises:
            ConfigError: the model is a reranker, has fewer dimensions than are to be reported, or no prompt of a name
                in the options.
        """
        from sightline.models.encoder import Encoder
        from sightline.models.reranker import Reranker

        if isinstance(model, Reranker):
            raise ConfigError(
                "RetrievalEvaluator compares vectors, and a Reranker has none; use RerankingEvaluator"
            )
        if isinstance(model, Encoder):
            self._check_dims(model.truncate_dim or model.embedding_dim)
            self.asked(model)

    def asked(self, model: Any) -> list[Asked]:
        """Queries and documents by id, of an `Encoder`; see `RecordedEvaluator.asked`."""
        from sightline.models.encoder import Encoder
        from sightline.training.check import Asked

        if not isinstance(model, Encoder):
            return []
        sides = (
            ("query", self.queries, self.query_options),
            ("document", self.corpus, self.document_options),
        )
        return [
            Asked(
                NamedItems(role, values, model.modalities),
                role,
                model.prompt_for(role, options.get("prompt"), options.get("prompt_name")),
            )
            for role, values, options in sides
        ]

    def _check_dims(self, width: int) -> None:
        if self.dims and not 1 <= min(self.dims) <= max(self.dims) <= width:
            raise ConfigError(f"dims {list(self.dims)} must lie in the model's {width} dimensions")

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
        return self.score(self.encode(encoder, ranks), ranks)

    def encode(self, encoder: RetrievalEncoder, ranks: Ranks | None = None) -> Encoded:
        """The vectors of all queries, and of this rank's documents."""
        started = time.perf_counter()
        asked, pages = _inputs("query", self.queries, encoder), _inputs("document", self.corpus, encoder)
        own = encode_share(encoder.encode_query, asked, self.query_options, ranks, "queries")
        queries = gather_vectors(own, ranks)
        self._check_dims(queries.dim)  # before the corpus is encoded, which may take hours
        queries_done = time.perf_counter()
        documents = encode_share(encoder.encode_document, pages, self.document_options, ranks, "documents")
        seconds = {
            "encode queries": round(queries_done - started, 3),
            "encode corpus": round(time.perf_counter() - queries_done, 3),
        }
        return Encoded(queries, documents, encoder.similarity_fn_name, seconds)

    def score(self, encoded: Encoded, ranks: Ranks | None = None) -> RetrievalResult:
        """Searches vectors and scores what is found; also kept as `last`."""
        started = time.perf_counter()
        full, similarity = encoded.queries.dim, encoded.similarity
        search = shared_search(
            encoded.queries,
            encoded.documents,
            len(self.corpus),
            ranks,
            depth=self.depth,
            dims=tuple(dict.fromkeys((full, *self.dims))),
            similarity=similarity,
            block_scores=self.block_scores,
        )
        found = _score(
            self.queries,
            list(self.corpus),
            self.relevant,
            search,
            full=full,
            dims=self.dims,
            metrics=self.metrics,
            primary=self.primary,
            keep=self.keep,
        )
        found.facts["similarity"] = similarity
        found.facts["embedding dimension"] = full
        found.facts["seconds"] = {**encoded.seconds, "search": round(time.perf_counter() - started, 3)}
        cost = _cost(encoded)
        cells = tuple(
            Cell(Storage(dim), scores, replace(cost, bytes_per_page=cost.bytes_per_page * dim / full))
            for dim, scores in found.by_dim.items()
            if cost is not None
        )
        self.last = replace(found, facets=self.facets, cost=cost, cells=cells)
        return self.last


def _inputs(kind: str, values: Mapping[str, Any], encoder: RetrievalEncoder) -> Sequence[Any]:
    """What an encoder is given: ours items, which errors call by their ids, and others the values."""
    from sightline.models.encoder import Encoder

    if isinstance(encoder, Encoder):
        return NamedItems(kind, values, encoder.modalities)
    return values_of(values)


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
    judge = Judge(ids, relevant, metrics)
    parts: dict[int, list[Result]] = {dim: [] for dim in dict.fromkeys((full, *dims))}
    top: dict[str, list[tuple[str, float]]] = {}
    first_rank: dict[str, int | None] = {}
    qids = list(queries)
    for start in range(0, len(qids), _QUERIES_AT_ONCE):
        block = qids[start : start + _QUERIES_AT_ONCE]
        found = search(start, start + len(block))
        for dim, best in found.items():
            scores, hits = judge.scores(block, best.indices.numpy())
            parts[dim].append(scores)
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


def _cost(encoded: Encoded) -> Cost | None:
    """What float32 vectors of this rank's documents take on average; searching them is not timed."""
    documents = encoded.documents
    if documents is None:
        return None
    vectors = len(documents) if documents.mask is None else int(documents.mask.sum())
    return Cost(
        bytes_per_page=Storage(documents.dim).bytes_per_vector * vectors / len(documents),
        ms_per_page=1000 * encoded.seconds["encode corpus"] / len(documents),
        pages=len(documents),
    )


def _depth(metrics: Sequence[str], depth: int) -> int:
    """Ranks that ``metrics`` need: the largest cutoff, or ``depth`` where one has none."""
    if depth < SHOWN:
        raise ConfigError(f"depth is {depth}: it must be at least {SHOWN}")
    return max([SHOWN, *(parse_metric(metric)[1] or depth for metric in metrics)])
