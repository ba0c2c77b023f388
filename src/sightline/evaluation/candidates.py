"""What a reranker is to order: a query, its documents, and what is known of them.

Shape letters: K documents of one query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sightline.errors import DataError
from sightline.evaluation.metrics import Qrels, Run, rank_documents
from sightline.evaluation.results import check_relevant
from sightline.inputs.parse import parse


@dataclass(frozen=True)
class Candidates:
    """One query and the documents that a reranker scores for it.

    Attributes:
        qid: the query's id.
        query: its value.
        documents: values of those to be scored, in the order given.
        gains_K: gain of each document in the order given, of those to be scored and of those behind them.
        judged: gain of every document that counts.
        before_K: gains in the order before reranking; None without such an order.
        judged_before: as ``judged``, for that order.
        ids: of the documents of ``gains_K``, where they have some.
    """

    qid: str
    query: Any
    documents: list[Any]
    gains_K: np.ndarray
    judged: Mapping[str, float]
    before_K: np.ndarray | None = None
    judged_before: Mapping[str, float] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)


def candidates_of_run(
    queries: Mapping[str, Any],
    corpus: Mapping[str, Any],
    relevant: Qrels | None,
    run: Run,
    *,
    depth: int,
) -> list[Candidates]:
    """What a retriever found, the first ``depth`` documents of each query to be scored.

    Args:
        queries: query id -> value.
        corpus: document id -> value.
        relevant: query id -> relevant documents; None where nothing is measured.
        run: query id -> {document id: score}; a query may be missing.
        depth: documents to score per query.

    Raises:
        DataError: see `check_relevant`; a document of the run that is not in the corpus.
    """
    judged = {} if relevant is None else check_relevant(queries, corpus, relevant)
    found = []
    for qid, query in queries.items():
        ids = rank_documents(run.get(qid, {}), qid)
        unknown = next((docid for docid in ids if docid not in corpus), None)
        if unknown is not None:
            raise DataError(f"query '{qid}': the run's document '{unknown}' is not in the corpus")
        gains = judged.get(qid, {})
        gains_K = np.array([gains.get(docid, 0.0) for docid in ids])
        documents = [corpus[docid] for docid in ids[:depth]]
        found.append(Candidates(qid, query, documents, gains_K, gains, gains_K, gains, ids))
    return found


def candidates_of_samples(
    samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]], *, rerank_positives: bool
) -> list[Candidates]:
    """From samples as sentence-transformers' CrossEncoderRerankingEvaluator takes them.

    Right documents stand behind wrong ones wherever their order is free: reranking leaves equal scores as they stand,
    and a tie should be no merit. A document that stands there twice counts once, at its first place; one that is both
    right and wrong is right.

    Args:
        samples: see `RerankingEvaluator`.
        rerank_positives: those that are not among a sample's documents too.

    Raises:
        DataError: no samples, or one that lacks something.
    """
    named = list(samples.items() if isinstance(samples, Mapping) else enumerate(samples))
    if not named:
        raise DataError("there are no samples to evaluate")
    return [_of_sample(str(name), sample, rerank_positives=rerank_positives) for name, sample in named]


def _of_sample(qid: str, sample: Mapping[str, Any], *, rerank_positives: bool) -> Candidates:
    for key in ("query", "positive"):
        if sample.get(key) is None:
            raise DataError(
                f"sample {qid}: no {key!r}; each needs 'query', 'positive', and 'negative' or 'documents'"
            )
    if (sample.get("negative") is None) == (sample.get("documents") is None):
        raise DataError(f"sample {qid}: exactly one of 'negative' and 'documents' is needed")
    query, right = sample["query"], _distinct(sample["positive"], f"sample {qid}, 'positive'")
    positives = list(right.values())
    if sample.get("documents") is None:
        wrong_ones = _distinct(sample["negative"], f"sample {qid}, 'negative'")
        negatives = [value for identity, value in wrong_ones.items() if identity not in right]
        gains_K = np.array([0.0] * len(negatives) + [1.0] * len(positives))
        return Candidates(qid, query, [*negatives, *positives], gains_K, _ones(len(positives)))
    found = _distinct(sample["documents"], f"sample {qid}, 'documents'")
    documents = list(found.values())
    gains = [1.0 if identity in right else 0.0 for identity in found]
    present = int(sum(gains))
    # Those the first search has not found come last, but are no help where it has found none.
    before = gains + [1.0] * (len(positives) - present) if present else gains
    judged_before = _ones(max(len(positives), present))
    if rerank_positives:
        wrong = [value for value, gain in zip(documents, gains, strict=True) if not gain]
        scored, gains_K = [*wrong, *positives], np.array([0.0] * len(wrong) + [1.0] * len(positives))
        judged = _ones(len(positives))
    else:
        scored, gains_K, judged = documents, np.array(gains), _ones(present)
    return Candidates(qid, query, scored, gains_K, judged, np.array(before), judged_before)


def _distinct(value: Any, source: str) -> dict[str, Any]:
    """Each of some documents once, at its first place, by what is equal for equal ones."""
    found: dict[str, Any] = {}
    for document in value if isinstance(value, (list, tuple)) else [value]:
        identity = document if isinstance(document, str) else parse(document, source=source).key
        found.setdefault(identity, document)
    return found


def _ones(count: int) -> dict[str, float]:
    return {str(number): 1.0 for number in range(count)}
