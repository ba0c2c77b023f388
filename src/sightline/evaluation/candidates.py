"""What a reranker is to order: a query, its documents, and what is known of them.

Shape letters: K documents of one query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, overload

import numpy as np

from sightline.errors import DataError
from sightline.evaluation.lazy import picked, values_of
from sightline.evaluation.metrics import Qrels, Run, rank_documents
from sightline.evaluation.results import check_relevant
from sightline.inputs.named import named_item
from sightline.inputs.pairs import parse_pair
from sightline.inputs.parse import parse
from sightline.types import Item


@dataclass(frozen=True)
class Candidates:
    """One query and the documents that a reranker scores for it.

    Attributes:
        qid: the query's id.
        asked: its value alone, which may be read only when it is asked for.
        documents: values of those to be scored, in the order given, likewise.
        gains_K: gain of each document in the order given, of those to be scored and of those behind them.
        judged: gain of every document that counts.
        before_K: gains in the order before reranking; None without such an order.
        judged_before: as ``judged``, for that order.
        ids: of the documents of ``gains_K``, where they have some.
        names: what messages call each of ``documents`` within its sample, where they have no ids.
    """

    qid: str
    asked: Sequence[Any]
    documents: Sequence[Any]
    gains_K: np.ndarray
    judged: Mapping[str, float]
    before_K: np.ndarray | None = None
    judged_before: Mapping[str, float] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def query(self) -> Any:
        """The query's value."""
        return self.asked[0]

    @property
    def query_name(self) -> str:
        """What messages call the query."""
        return f"sample {self.qid}, 'query'" if self.names else f"query {self.qid!r}"

    def document_name(self, place: int) -> str:
        """What messages call one of ``documents``, beside the query's name."""
        return self.names[place] if self.names else f"document {self.ids[place]!r}"


class CandidatePairs(Sequence[Item]):
    """Each query with each of its documents to be scored, parsed when it is asked for.

    Args:
        candidates: queries in order.
        modalities: what the model reads.

    Raises (where a pair is asked for):
        InputError, MediaError: as of `inputs.named.NamedItems`; names the query or the document.
    """

    def __init__(self, candidates: Sequence[Candidates], modalities: Sequence[Any]) -> None:
        self._candidates, self._modalities = candidates, modalities
        self._ends = np.cumsum([len(one.documents) for one in candidates], dtype=np.int64)
        self._query: tuple[int, Item] | None = None  # the last one: its documents follow each other

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, number: int) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...
    def __getitem__(self, number: int | slice) -> Item | list[Item]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        which = int(np.searchsorted(self._ends, number, side="right"))
        one = self._candidates[which]
        place = number - int(self._ends[which]) + len(one.documents)
        if self._query is None or self._query[0] != which:
            self._query = which, named_item(one.query, one.query_name, self._modalities)
        name = one.document_name(place)
        within = f"sample {one.qid}, {name}" if one.names else name
        document = named_item(one.documents[place], within, self._modalities)
        return parse_pair((self._query[1], document), source=f"{one.query_name} with {name}")


def once_each(candidates: Sequence[Candidates]) -> list[Candidates]:
    """The candidates, each document that has an id at its first place only; a query keeps one document at least."""
    met: set[str] = set()
    found = []
    for one in candidates:
        if one.names:
            found.append(one)
            continue
        scored = one.ids[: len(one.documents)]
        kept = [place for place, docid in enumerate(scored) if not place or docid not in met]
        met.update(scored)
        documents = picked(one.documents, kept)
        found.append(replace(one, documents=documents, ids=[scored[place] for place in kept]))
    return found


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
    for qid in queries:
        ids = rank_documents(run.get(qid, {}), qid)
        unknown = next((docid for docid in ids if docid not in corpus), None)
        if unknown is not None:
            raise DataError(f"query '{qid}': the run's document '{unknown}' is not in the corpus")
        gains = judged.get(qid, {})
        gains_K = np.array([gains.get(docid, 0.0) for docid in ids])
        asked, documents = values_of(queries, [qid]), values_of(corpus, ids[:depth])
        found.append(Candidates(qid, asked, documents, gains_K, gains, gains_K, gains, ids))
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
    query, right = sample["query"], _distinct(sample, "positive", qid)
    positives = list(right.values())
    if sample.get("documents") is None:
        wrong_ones = _distinct(sample, "negative", qid)
        negatives = [one for identity, one in wrong_ones.items() if identity not in right]
        gains_K = np.array([0.0] * len(negatives) + [1.0] * len(positives))
        scored = [*negatives, *positives]
        return Candidates(
            qid, [query], _values(scored), gains_K, _ones(len(positives)), names=[one.name for one in scored]
        )
    found = _distinct(sample, "documents", qid)
    documents = list(found.values())
    gains = [1.0 if identity in right else 0.0 for identity in found]
    present = int(sum(gains))
    # Those the first search has not found come last, but are no help where it has found none.
    before = gains + [1.0] * (len(positives) - present) if present else gains
    judged_before = _ones(max(len(positives), present))
    if rerank_positives:
        wrong = [one for one, gain in zip(documents, gains, strict=True) if not gain]
        scored, gains_K = [*wrong, *positives], np.array([0.0] * len(wrong) + [1.0] * len(positives))
        judged = _ones(len(positives))
    else:
        scored, gains_K, judged = documents, np.array(gains), _ones(present)
    names = [one.name for one in scored]
    return Candidates(
        qid, [query], _values(scored), gains_K, judged, np.array(before), judged_before, names=names
    )


class _Document(NamedTuple):
    """A document of a sample, and what messages call it there."""

    name: str
    value: Any


def _distinct(sample: Mapping[str, Any], key: str, qid: str) -> dict[str, _Document]:
    """Each of some documents once, at its first place, by what is equal for equal ones."""
    value = sample[key]
    several = isinstance(value, (list, tuple))
    found: dict[str, _Document] = {}
    for place, document in enumerate(value if several else [value]):
        name = f"'{key}[{place}]'" if several else f"'{key}'"
        identity = document
        if not isinstance(document, str):
            identity = parse(document, source=f"sample {qid}, {name}").key
        found.setdefault(identity, _Document(name, document))
    return found


def _values(documents: Sequence[_Document]) -> list[Any]:
    return [one.value for one in documents]


def _ones(count: int) -> dict[str, float]:
    return {str(number): 1.0 for number in range(count)}
