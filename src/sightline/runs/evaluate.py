"""An encoder, and BM25, on the questions of a dataset."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from sightline.evaluation.results import SHOWN
from sightline.evaluation.rows import BASELINE, Row
from sightline.evaluation.views import check_views

if TYPE_CHECKING:
    from sightline.documents.dataset import Dataset, Fields
    from sightline.evaluation.collection import Exam
    from sightline.evaluation.retrieval import RetrievalEvaluator
    from sightline.models.encoder import Encoder
    from sightline.training.distributed import Ranks


_TIMED = 20


def check_questions(dataset: Dataset, split: str | None) -> dict[str, Any]:
    """Facts of what is going to be asked: dataset, split, counts, fingerprint.

    Raises:
        DataError: the dataset has no such split, or no questions in it.
    """
    from sightline.documents.collection import exam_of

    return exam_of(dataset, split).facts


def bm25_row(exam: Exam, *, name: str = BASELINE, keep: int = SHOWN) -> Row:
    """BM25 over the documents' text; the result keeps the first `keep` documents of each question."""
    from sightline.evaluation.bm25 import BM25
    from sightline.evaluation.results import result_of_run
    from sightline.evaluation.storage import Cost, hardware

    started = time.perf_counter()
    index = BM25(exam.texts)
    built = time.perf_counter() - started
    run = index.run(exam.queries)
    seconds = []
    for text in list(exam.queries.values())[:_TIMED]:
        started = time.perf_counter()
        index.search(text, 100)
        seconds.append(time.perf_counter() - started)
    pages = len(exam.corpus)
    cost = Cost(index.nbytes / pages, 1000 * built / pages, 1000 * median(seconds), pages, hardware())
    result = result_of_run(
        exam.queries,
        run,
        exam.relevant,
        corpus=exam.corpus,
        facts={"system": "BM25"},
        facets=exam.facets,
        cost=cost,
        keep=keep,
    )
    return Row(name, "text", result)


def evaluator_for(
    exam: Exam,
    view: str,
    *,
    dims: Sequence[int] | None = None,
    keep: int = SHOWN,
    show_progress: bool | None = None,
) -> RetrievalEvaluator:
    """An evaluator of the questions against the documents, seen as `view` says."""
    from sightline.evaluation.retrieval import RetrievalEvaluator

    return RetrievalEvaluator(
        exam.query_values(),
        exam.values(view),
        exam.relevant,
        dims=usable_dims(dims),
        keep=keep,
        query_options={"show_progress": show_progress},
        document_options={"show_progress": show_progress},
        facets=exam.facets,
    )


def encoder_row(
    encoder: Encoder,
    dataset: Dataset,
    fields: Fields,
    split: str | None,
    *,
    name: str,
    dims: Sequence[int] | None = None,
    keep: int = SHOWN,
    ranks: Ranks | None = None,
) -> Row:
    """`encoder` on the questions of `split`; every dimension comes from one encoding, which `ranks` share.

    The result keeps the first `keep` pages of each question.

    Raises:
        DataError: the model does not take what `fields` asks for.
    """
    from sightline.documents.collection import exam_of

    check_views(encoder, [fields])
    evaluator = evaluator_for(exam_of(dataset, split), fields, dims=dims, keep=keep)
    return Row(name, fields, evaluator.evaluate(encoder, ranks))


def usable_dims(dims: Sequence[int] | None) -> list[int] | None:
    """Dimensions without repeats, widest first; None for the full width alone."""
    return sorted(set(dims), reverse=True) if dims else None
