"""A reranker behind a retriever, as rows of the results table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.evaluation.results import SHOWN
from sightline.evaluation.rows import Row
from sightline.evaluation.tandem import PairScores, reranked_result, score_pairs
from sightline.evaluation.views import view_of

if TYPE_CHECKING:
    from sightline.documents.dataset import Dataset
    from sightline.evaluation.collection import Exam
    from sightline.models.reranker import Reranker

DEPTHS = (10, 50, 100)
# Pages kept of each question, reranked or behind them: as far as metrics without a cutoff look.
KEPT = 1000


def tandem_rows(
    row: Row, reranker: Reranker, dataset: Dataset, split: str | None, *, depths: Sequence[int] = DEPTHS
) -> list[Row]:
    """What a retriever found, put into a new order: a row per depth, all from one scoring.

    Args:
        row: of the retriever; its result keeps at least as many pages as the greatest depth, and `KEPT` for metrics
            without a cutoff.
        reranker: reads the richest view of a page that it takes.
        dataset: the pages.
        split: whose questions were asked.
        depths: how many pages per question are reranked.

    Raises:
        DataError: the reranker takes neither text nor images.
    """
    from sightline.documents.collection import exam_of

    exam = exam_of(dataset, split)
    wanted = {query: [page for page, _ in found[: max(depths)]] for query, found in row.result.top.items()}
    scored = score_pairs(reranker, exam.query_values(), exam.values(view_of(reranker)), wanted)
    return reranked_rows(row, reranker, exam, scored, depths)


def reranked_rows(
    row: Row, reranker: Reranker, exam: Exam, scored: PairScores, depths: Sequence[int]
) -> list[Row]:
    """A row per depth out of pairs that are scored already; arguments as of `tandem_rows`."""
    name = Path(reranker.name_or_path).name or "reranker"
    return [
        Row(
            f"{row.name} + {name} to {depth}",
            row.fields,
            reranked_result(row.result, scored, depth, corpus=exam.corpus),
        )
        for depth in dict.fromkeys(depths)
    ]


def shown(row: Row) -> Row:
    """The row with as many pages of each question as a report shows."""
    top = {query: pages[:SHOWN] for query, pages in row.result.top.items()}
    return replace(row, result=replace(row.result, top=top))
