"""ST's `mine_hard_negatives` over our mining."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from sightline.compat.models import inner_of
from sightline.compat.options import refuse
from sightline.documents.mining_columns import distinct, right_documents
from sightline.documents.mining_rules import Mined, MiningRules, Strategy
from sightline.documents.mining_search import Asked, ByVectors, Miner, Rescoring
from sightline.errors import ConfigError, DataError
from sightline.models.vector_store import GivenVectors
from sightline.training.rows import as_rows

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

Format = Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"]


def mine_hard_negatives(
    dataset: datasets.Dataset, model: Any, anchor_column_name: str | None = None,
    positive_column_name: str | None = None, corpus: Sequence[Any] | None = None, cross_encoder: Any = None,
    range_min: int = 0, range_max: int | None = None, max_score: float | None = None, min_score: float | None = None,
    absolute_margin: float | None = None, relative_margin: float | None = None, num_negatives: int = 3,
    sampling_strategy: Strategy = "top", query_prompt_name: str | None = None, query_prompt: str | None = None,
    corpus_prompt_name: str | None = None, corpus_prompt: str | None = None, include_positives: bool = False,
    output_format: Format = "triplet", output_scores: bool = False, batch_size: int = 32,
    faiss_batch_size: int = 16384, use_faiss: bool = False, use_multi_process: bool | Sequence[str] = False,
    verbose: bool = True, cache_folder: str | None = None, as_triplets: bool | None = None,
    margin: float | None = None,
) -> datasets.Dataset:  # fmt: skip
    """Pairs with documents that are near their anchor and no answer to it, as a dataset in one of ST's forms.

    Values may be of any modality; equal contents count once. The search is exact and its memory bounded, so that
    ``batch_size``, ``faiss_batch_size`` and ``use_faiss`` change nothing; draws of ``"random"`` are seeded.

    Args:
        dataset: pairs; by default its first two columns.
        model: finds candidates by the model's similarity of vectors of length 1, as there.
        corpus: candidates besides the positives.
        cross_encoder: scores them again, where there is a margin or a bound on the score.
        include_positives: positives take part in the ranking; only with the top, and without any filter.
        others: see `sightline.documents.mining_rules.MiningRules`.

    Raises:
        DataError: no rows, or no such column.
        ConfigError: an option that has no equal here, or that leaves nothing to choose from.
    """
    refuse(
        "mine_hard_negatives",
        use_multi_process=(bool(use_multi_process), "one process is enough: the search is in blocks"),
        cache_folder=(cache_folder is not None, "sightline.mine_columns(cache=...) keeps vectors by content and model"),
    )  # fmt: skip
    absolute_margin = margin if margin is not None else absolute_margin
    filters = (absolute_margin, relative_margin, max_score, min_score)
    if include_positives:
        if (range_min, range_max, sampling_strategy) != (0, None, "top") or any(
            one is not None for one in filters
        ):
            raise ConfigError(
                "mine_hard_negatives: include_positives gives the whole ranking; leave out range_min, range_max, "
                "margins, bounds of scores and sampling_strategy"
            )
        output_format = "n-tuple"
    elif as_triplets is not None:
        output_format = "triplet" if as_triplets else "n-tuple"
    if output_format not in get_args(Format):
        raise ConfigError(f"output_format is one of {', '.join(get_args(Format))}, not {output_format!r}")
    anchor, positive = _columns(dataset, anchor_column_name, positive_column_name)
    rows = as_rows(dataset.select_columns([anchor, positive]), name="the dataset")
    pairs = [row for _, row in (rows[number] for number in range(len(rows)))]
    queries, query_of = distinct([row[anchor] for row in pairs])
    documents, document_of = distinct([*(corpus or ()), *(row[positive] for row in pairs)])
    right = right_documents(query_of, document_of[len(document_of) - len(pairs) :], len(queries))
    if range_max is None:
        # A reranker may put the lower bound anywhere; without one it only ends the list.
        filtered = any(one is not None for one in (absolute_margin, relative_margin, max_score))
        filtered |= cross_encoder is not None and min_score is not None
        range_max = range_min + num_negatives * (10 if filtered else 1) + max(Counter(query_of).values())
    rules = MiningRules(
        num_negatives=num_negatives, range_min=range_min, range_max=range_max, absolute_margin=absolute_margin,
        relative_margin=relative_margin, max_score=max_score, min_score=min_score,
        sampling_strategy=sampling_strategy,
    )  # fmt: skip
    encoder = inner_of(model)
    vectors = ByVectors(
        GivenVectors(encoder.encode_query(queries, prompt=query_prompt, prompt_name=query_prompt_name, normalize=True)),
        GivenVectors(
            encoder.encode_document(documents, prompt=corpus_prompt, prompt_name=corpus_prompt_name, normalize=True)
        ),
        encoder.similarity_fn_name,
        encoder.device,
    )  # fmt: skip
    rescoring = None
    if cross_encoder is not None and any(one is not None for one in filters):
        rescoring = Rescoring(inner_of(cross_encoder), queries, documents)
    asked = Asked([str(number) for number in range(len(queries))], right, np.arange(len(documents)))
    found = [one for chunk in Miner(asked, rules, vectors, None, rescoring).run() for one in chunk]
    if include_positives:
        found = [_with_positives(one, num_negatives) for one in found]
    form = _Form(anchor, positive, queries, documents, output_scores)
    made = form.dataset(output_format, found, num_negatives, dataset.features)
    if verbose:
        _tell(found, num_negatives, len(made))
    return made


def _columns(dataset: Any, anchor: str | None, positive: str | None) -> tuple[str, str]:
    names = list(dataset.column_names)
    for wanted in (anchor, positive):
        if wanted is not None and wanted not in names:
            raise DataError(f"the dataset has no column {wanted!r}; it has {', '.join(names)}")
    if len(names) < 2:
        raise DataError(
            f"the dataset needs a column of anchors and one of positives; it has {', '.join(names)}"
        )
    return anchor or names[0], positive or names[1]


def _with_positives(mined: Mined, count: int) -> Mined:
    """The first of positives and negatives in one ranking, in the place of the negatives."""
    both = [
        *zip(mined.positives, mined.positive_scores, strict=True),
        *zip(mined.negatives, mined.scores, strict=True),
    ]
    first = sorted(both, key=lambda one: -one[1])[:count]
    ranks = tuple(range(1, len(first) + 1))
    numbers, scores = tuple(number for number, _ in first), tuple(score for _, score in first)
    return Mined(mined.positives, mined.positive_scores, numbers, scores, ranks, mined.dropped)


@dataclass(frozen=True)
class _Form:
    """What was mined, in ST's columns."""

    anchor: str
    positive: str
    queries: Sequence[Any]
    documents: Sequence[Any]
    scored: bool

    def dataset(self, form: Format, found: Sequence[Mined], count: int, features: Any) -> datasets.Dataset:
        import datasets

        query, document = features[self.anchor], features[self.positive]
        number, whole = datasets.Value("float64"), datasets.Value("int64")
        columns: dict[str, Any] = {self.anchor: query, self.positive: document}
        if form == "triplet":
            columns["negative"] = document
        elif form == "n-tuple":
            columns |= {f"negative_{place + 1}": document for place in range(count)}
        elif form == "labeled-list":
            columns[self.positive] = datasets.List(document)
        if form == "labeled-pair":
            columns |= {"score": number} if self.scored else {"label": whole}
        elif self.scored:
            columns["scores"] = datasets.List(number)
        elif form == "labeled-list":
            columns["labels"] = datasets.List(whole)
        forms: dict[Format, Callable[[tuple[int, Mined]], Iterator[tuple[Any, ...]]]] = {
            "triplet": self._triplets, "n-tuple": lambda one: self._tuples(one, count),
            "labeled-pair": self._labeled_pairs, "labeled-list": self._labeled_lists,
        }  # fmt: skip
        cells = [row for place, mined in enumerate(found) for row in forms[form]((place, mined))]
        filled = {name: [row[number] for row in cells] for number, name in enumerate(columns)}
        return datasets.Dataset.from_dict(filled, features=datasets.Features(columns))

    def _pairs(self, one: tuple[int, Mined]) -> Iterator[tuple[Any, Any, float, Mined]]:
        place, mined = one
        for number, score in zip(mined.positives, mined.positive_scores, strict=True):
            yield self.queries[place], self.documents[number], score, mined

    def _triplets(self, one: tuple[int, Mined]) -> Iterator[tuple[Any, ...]]:
        for query, right, score, mined in self._pairs(one):
            for number, other in zip(mined.negatives, mined.scores, strict=True):
                yield query, right, self.documents[number], [score, other]

    def _tuples(self, one: tuple[int, Mined], count: int) -> Iterator[tuple[Any, ...]]:
        for query, right, score, mined in self._pairs(one):
            if len(mined.negatives) == count:
                wrong = [self.documents[number] for number in mined.negatives]
                yield query, right, *wrong, [score, *mined.scores]

    def _labeled_pairs(self, one: tuple[int, Mined]) -> Iterator[tuple[Any, ...]]:
        for query, right, score, _ in self._pairs(one):
            yield query, right, score if self.scored else 1
        place, mined = one
        for number, other in zip(mined.negatives, mined.scores, strict=True):
            yield self.queries[place], self.documents[number], other if self.scored else 0

    def _labeled_lists(self, one: tuple[int, Mined]) -> Iterator[tuple[Any, ...]]:
        for query, right, score, mined in self._pairs(one):
            if mined.negatives:
                shown = [right, *(self.documents[number] for number in mined.negatives)]
                yield (
                    query,
                    shown,
                    [score, *mined.scores] if self.scored else [1] + [0] * len(mined.negatives),
                )


def _tell(found: Sequence[Mined], count: int, rows: int) -> None:
    dropped: Counter[str] = Counter()
    for one in found:
        dropped.update(one.dropped)
    short = sum(len(one.negatives) < count for one in found)
    logger.info(
        "mined %s negatives for %s queries, %s of them with fewer than %s; %s rows; left out: %s",
        f"{sum(len(one.negatives) for one in found):,}", f"{len(found):,}", f"{short:,}", count, f"{rows:,}",
        ", ".join(f"{reason} {number:,}" for reason, number in dropped.items()) or "nothing",
    )  # fmt: skip
