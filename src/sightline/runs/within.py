"""Search within the document a question is about, for collections whose questions only make sense there.

"What does the table on costs say?" has one right page in its document and none in the collection. Such
questions are scored against the pages of their own document; the vectors are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sightline.evaluation.rows import BASELINE, Row
from sightline.runs.evaluate import evaluator_for

if TYPE_CHECKING:
    from sightline.documents.dataset import Dataset, Fields
    from sightline.models.encoder import Encoder


def bm25_row_within(dataset: Dataset, split: str | None) -> Row:
    """BM25 over the text layer, each question against the pages of its document.

    Term weights come from the whole split, as an index over the collection would have them.
    """
    from sightline.evaluation.bm25 import BM25
    from sightline.evaluation.results import result_of_run

    corpus = dataset.corpus("text", split)
    queries, own = dataset.queries(split), _own_pages(dataset, split)
    run = BM25(corpus).run(queries, k=len(corpus))
    kept = {key: {page: score for page, score in run[key].items() if page in own[key]} for key in queries}
    return Row(BASELINE, "text", result_of_run(queries, kept, dataset.relevant(split), corpus=corpus))


def encoder_row_within(
    encoder: Encoder,
    dataset: Dataset,
    fields: Fields,
    split: str | None,
    *,
    name: str,
    dims: Sequence[int] | None = None,
) -> Row:
    """`encoder` on each question against the pages of its document; every dimension from one encoding."""
    from sightline.evaluation.results import result_of_run

    evaluator = evaluator_for(dataset, fields, split, dims=dims)
    own = _own_pages(dataset, split)
    queries = encoder.encode_query(list(evaluator.queries.values()))
    pages = encoder.encode_document(list(evaluator.corpus.values()))
    row_of = {page: row for row, page in enumerate(evaluator.corpus)}

    def run(dim: int) -> dict[str, dict[str, float]]:
        found = {}
        for number, key in enumerate(evaluator.queries):
            ids = sorted(own[key])
            scores = encoder.similarity(
                queries[number].truncate(dim), pages[[row_of[page] for page in ids]].truncate(dim)
            )
            found[key] = dict(zip(ids, scores[0].tolist(), strict=True))
        return found

    relevant = dataset.relevant(split)
    results = {
        dim: result_of_run(evaluator.queries, run(dim), relevant, corpus=row_of)
        for dim in dict.fromkeys((queries.dim, *evaluator.dims))
    }
    by_dim = {dim: results[dim].scores for dim in evaluator.dims}
    return Row(name, fields, dataclasses.replace(results[queries.dim], by_dim=by_dim))


def _own_pages(dataset: Dataset, split: str | None) -> Mapping[str, frozenset[str]]:
    """Question id -> the pages of the document it is about."""
    pages: dict[str, set[str]] = {}
    for page in dataset.pages:
        pages.setdefault(page.document, set()).add(page.page_id)
    return {item.id: frozenset(pages[item.document]) for item in dataset.questions(split)}
