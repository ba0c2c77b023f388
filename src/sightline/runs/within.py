"""Search within the document a question is about, for collections whose questions only make sense there.

"What does the table on costs say?" has one right page in its document and none in the collection. Such
questions are scored against the pages of their own document; the vectors are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sightline.errors import DataError
from sightline.evaluation.rows import BASELINE, Row
from sightline.runs.evaluate import evaluator_for

if TYPE_CHECKING:
    from sightline.evaluation.collection import Exam
    from sightline.models.encoder import Encoder


def bm25_row_within(exam: Exam) -> Row:
    """BM25 over the text layer, each question against the pages of its document.

    Term weights come from all pages searched, as an index over the collection would have them.
    """
    from sightline.evaluation.bm25 import BM25
    from sightline.evaluation.results import result_of_run

    own = own_pages(exam)
    run = BM25(exam.texts).run(exam.queries, k=len(exam.corpus))
    kept = {
        key: {page: score for page, score in run[key].items() if page in own[key]} for key in exam.queries
    }
    result = result_of_run(exam.queries, kept, exam.relevant, corpus=exam.corpus, facets=exam.facets)
    return Row(BASELINE, "text", result)


def encoder_row_within(
    encoder: Encoder, exam: Exam, view: str, *, name: str, dims: Sequence[int] | None = None
) -> Row:
    """`encoder` on each question against the pages of its document; every dimension from one encoding."""
    from sightline.evaluation.results import result_of_run

    evaluator = evaluator_for(exam, view, dims=dims)
    own = own_pages(exam)
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

    results = {
        dim: result_of_run(evaluator.queries, run(dim), exam.relevant, corpus=row_of, facets=exam.facets)
        for dim in dict.fromkeys((queries.dim, *evaluator.dims))
    }
    by_dim = {dim: results[dim].scores for dim in evaluator.dims}
    return Row(name, view, dataclasses.replace(results[queries.dim], by_dim=by_dim))


def own_pages(exam: Exam) -> Mapping[str, frozenset[str]]:
    """Question id -> the pages of the document it is about; page ids name their documents.

    Raises:
        DataError: a question is about no document.
    """
    pages: dict[str, set[str]] = {}
    for docid in exam.corpus:
        pages.setdefault(docid.rpartition("#p")[0], set()).add(docid)
    named = exam.facets.get("document", {})
    lost = next((key for key in exam.queries if not pages.get(named.get(key, ""))), None)
    if lost is not None:
        raise DataError(f"{exam.name}: question '{lost}' names no document to search within")
    return {key: frozenset(pages[named[key]]) for key in exam.queries}
