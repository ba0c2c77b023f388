"""Making a finished table quick to search: is an index worth while, building it, measuring what it finds."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.search.approximate import (
    SAMPLE,
    TOP,
    Approximate,
    Effort,
    Plan,
    build,
    choose,
    efforts,
    spread,
)
from sightline.search.layout import Layout
from sightline.search.matches import METRICS, Match
from sightline.search.nearest import Nearest
from sightline.search.pooled import POOLED
from sightline.types import Embeddings

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

# Tokens of a page that stand in for a question, and exact searches that are timed.
_TOKENS, _TIMED = 32, 7


@dataclass(frozen=True)
class Queries:
    """What recall is measured with.

    Attributes:
        vectors: of each query (>= D,) or (T, >= D).
        own: of each the page it was made from, which is not counted as found; None for questions.
    """

    vectors: Sequence[np.ndarray]
    own: Sequence[str | None]

    @property
    def name(self) -> str:
        return "questions" if all(page is None for page in self.own) else "pages"


def tuned(
    table: Any, layout: Layout, plan: Plan, questions: Sequence[np.ndarray] = ()
) -> dict[int, Approximate]:
    """Build what ``plan`` asks for, and choose how each prefix is searched.

    Args:
        table: the LanceDB table, complete.
        layout: of its vectors.
        plan: what is asked for.
        questions: vectors of real questions; with fewer than some tens, pages of the index are asked for instead.

    Returns:
        dimension -> how it is searched; empty where all vectors are compared.
    """
    pages = table.count_rows(f"{layout.column().name} IS NOT NULL")
    plan.check(layout)
    if not plan.wanted(layout, pages) or not pages:
        return {}
    nearest = Nearest(table, layout)
    queries = _queries(nearest, table, layout, questions)
    built: dict[str, tuple[str, int, float]] = {}
    found = {}
    for dim in layout.dims:
        column, metric = _shortlist(layout, dim)
        if column not in built:
            indexed = plan.indexed(layout, pages)
            built[column] = build(table, column, metric, plan, pages) if indexed else ("", 1, 0.0)
        found[dim] = _measured(nearest, plan, dim, queries, *built[column])
    return found


def _measured(
    nearest: Nearest, plan: Plan, dim: int, queries: Queries, index: str, partitions: int, seconds: float
) -> Approximate:
    """The least effort for one prefix that reaches the recall asked for, and the recall it has."""
    asked = [nearest.asked(vector, dim) for vector in queries.vectors]
    # A page is the nearest to itself, so one more is looked for.
    wanted = TOP + (queries.name == "pages")
    truth = [
        _others(matches, own)
        for matches, own in zip(nearest.exact(Embeddings.concatenate(asked), wanted, dim), queries.own)
    ]
    times = []
    for one in asked[:_TIMED]:
        begun = time.perf_counter()
        nearest.exact(one, wanted, dim)
        times.append(time.perf_counter() - begun)

    def how(effort: Effort, recall: float = 0.0, ms: float = 0.0) -> Approximate:
        return Approximate(
            dim=dim,
            index=index,
            partitions=partitions,
            nprobes=effort.nprobes,
            candidates=effort.candidates,
            ef=effort.ef,
            recall=recall,
            target=plan.recall,
            queries=queries.name,
            sample=len(truth) // 2,
            ms_exact=sorted(times)[len(times) // 2] * 1e3,
            ms=ms,
            seconds=seconds,
        )

    def search(effort: Effort, number: int) -> list[str]:
        found = nearest.approximately(asked[number], wanted, dim, how(effort))
        return _others(found, queries.own[number])

    ways = efforts(nearest.layout, index, partitions)
    effort, recall, error, ms = choose(ways, search, truth, plan.recall)
    chosen = how(effort, recall, ms)
    if recall + 2 * error < plan.recall:
        logger.warning(
            "approximate search at %d dimensions finds %.3f of the exact ten best, asked for was %.2f; "
            "--ann exact compares all",
            dim, chosen.recall, plan.recall,
        )  # fmt: skip
    return chosen


def _others(matches: Sequence[Match], own: str | None) -> list[str]:
    return [match.page_id for match in matches if match.page_id != own][:TOP]


def _shortlist(layout: Layout, dim: int) -> tuple[str, str]:
    """The column that is indexed for a prefix, and Lance's measure for it."""
    if layout.tokens:
        return POOLED, "dot"
    signs = layout.signs(dim)
    if signs is not None:
        return signs.name, "hamming"
    return layout.column(dim).name, METRICS[layout.similarity]


def _queries(nearest: Nearest, table: Any, layout: Layout, questions: Sequence[np.ndarray]) -> Queries:
    """Questions where there are enough to halve, else pages spread evenly over the index.

    Questions lie farther from the pages than these from each other, and are harder to find the neighbours of. So a
    page that stands in for one is moved a third of the way to another page.
    """
    if len(questions) >= SAMPLE // 8:
        kept = [questions[place] for place in spread(len(questions), SAMPLE)]
        return Queries(kept, [None] * len(kept))
    column = layout.original or layout.column()
    rows = table.search().where(f"{column.name} IS NOT NULL").select(["position"]).with_row_id(True)
    row_ids = rows.limit(table.count_rows()).to_arrow()["_rowid"].to_pylist()
    chosen = [row_ids[place] for place in spread(len(row_ids), SAMPLE)]
    found: pa.Table = table.take_row_ids(chosen).select(["page_id", column.name]).to_arrow()
    vectors = column.read(found[column.name].combine_chunks())
    if layout.tokens:
        given = [tokens_tD.numpy() for tokens_tD in vectors.tokens()]
        given = [tokens_tD[spread(len(tokens_tD), _TOKENS)] for tokens_tD in given]
    else:
        values_SD = vectors.normalize().values.numpy() if layout.unit else vectors.values.numpy()
        given = list(2 * values_SD / 3 + np.roll(values_SD, len(values_SD) // 2, axis=0) / 3)
    return Queries(given, found["page_id"].to_pylist())
