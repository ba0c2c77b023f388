"""Approximate search of large collections: which index is built, how much of it a search looks at, and what that finds.

How much is looked at is chosen so that recall@10 against exact search reaches what was asked for, on one half of a
sample of queries; the recall that is told is that of the other half.

Shape letters: S sampled queries, D components.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError

if TYPE_CHECKING:
    from sightline.search.layout import Layout

KINDS = ("auto", "exact", "ivf", "hnsw")
RECALL = 0.95
TOP = 10
# From so many pages on "auto" does not compare all: 100,000 vectors of 256 dimensions take some 20 ms of one core,
# 1,000 pages of 700 tokens of 128 some 200 ms.
PAGES, TOKEN_PAGES = 100_000, 1_000
SAMPLE = 400
# Exact search keeps a column of vectors in memory up to so many bytes.
KEPT = 2**29
# Rows that the centres of an IVF index are learnt from, per centre; more change little.
_PER_CENTRE, _ROUNDS = 64, 20
# Candidates where nothing less is enough.
_MOST = 6400


@dataclass(frozen=True)
class Approximate:
    """How one prefix is searched approximately, and how well.

    Attributes:
        dim: the prefix.
        index: Lance's name of the index, such as "IVF_SQ"; "" where pooled vectors are compared without one.
        partitions: of the index.
        nprobes: partitions that a search looks at.
        candidates: pages that are put into order by the vectors themselves, at least.
        ef: breadth of the search in an HNSW graph, 0 for none.
        recall: recall@10 against exact search, on queries that nothing was chosen by.
        target: the recall that was asked for.
        queries: what it was measured with: "questions" of the dataset, or "pages" of the index.
        sample: how many of them.
        ms_exact, ms: median milliseconds of a search, exact and approximate, while the index was built.
        seconds: to build the index.
    """

    dim: int
    index: str
    partitions: int
    nprobes: int
    candidates: int
    ef: int
    recall: float
    target: float
    queries: str
    sample: int
    ms_exact: float
    ms: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Approximate:
        return Approximate(**{field.name: values[field.name] for field in fields(Approximate)})


@dataclass(frozen=True)
class Effort:
    """How much a search looks at."""

    nprobes: int
    candidates: int
    ef: int = 0


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        kind: one of `KINDS`.
        recall: recall@10 against exact search to reach.

    Raises:
        SearchIndexError: an unknown kind, or a recall outside of (0, 1].
    """

    kind: str = "auto"
    recall: float = RECALL

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SearchIndexError(f"ann must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if not 0 < self.recall <= 1:
            raise SearchIndexError(f"recall must lie above 0 and not above 1, not {self.recall!r}")

    def check(self, layout: Layout) -> None:
        """Whether vectors of this layout can be searched so.

        Raises:
            SearchIndexError: a graph over signs.
        """
        if self.kind == "hnsw" and not layout.tokens and layout.precision in ("int8", "binary"):
            raise SearchIndexError(
                f"{layout.precision} vectors are found by their signs, for which there is no HNSW index; use ivf"
            )

    def wanted(self, layout: Layout, pages: int) -> bool:
        """Whether so many pages are searched approximately."""
        if self.kind == "auto":
            limit = TOKEN_PAGES if layout.tokens else PAGES
            # What does not stay in memory is read from the disk by every exact search.
            return pages >= limit or pages * layout.column().bytes_per_vector > KEPT
        return self.kind != "exact"

    def indexed(self, layout: Layout, pages: int) -> bool:
        """Whether an index is built; pooled vectors of few pages are quicker compared without."""
        return not layout.tokens or self.kind != "auto" or pages >= PAGES


def build(table: Any, column: str, metric: str, plan: Plan, pages: int) -> tuple[str, int, float]:
    """Build Lance's index of a column.

    Returns:
        Its name, its partitions, and the seconds it took.
    """
    from lancedb import index as lance

    begun = time.perf_counter()
    config: Any
    options: dict[str, Any]
    if plan.kind == "hnsw":
        # One graph over all: partitions would have to be searched each on its own.
        name, partitions = "IVF_HNSW_SQ", max(1, pages // 2**20)
        options = {"distance_type": metric, "num_partitions": partitions, "ef_construction": 150}
        config = lance.HnswSq(**options)
    else:
        partitions = max(1, round(math.sqrt(pages)))
        options = {
            "distance_type": metric,
            "num_partitions": partitions,
            "sample_rate": _PER_CENTRE,
            "max_iterations": _ROUNDS,
        }
        if metric == "hamming":
            name, config = "IVF_FLAT", lance.IvfFlat(**options)
        else:
            name, config = "IVF_SQ", lance.IvfSq(**options)
    table.create_index(column, config=config, replace=True)
    return name, partitions, time.perf_counter() - begun


def efforts(layout: Layout, index: str, partitions: int) -> Iterator[Effort]:
    """Ways to search an index, from the least to the whole of it."""
    if layout.tokens:
        many = (50, 200, 800)
    elif layout.precision.startswith("float"):
        many = (TOP, 4 * TOP, 16 * TOP)
    else:
        many = (100, 400, 1600)
    if index == "IVF_HNSW_SQ":
        yield from (
            Effort(partitions, candidates, max(ef, candidates))
            for ef in (32, 64, 128, 256, 512, 1024)
            for candidates in many
        )
        return
    probes = 1
    while probes < partitions:
        yield from (Effort(probes, candidates) for candidates in many)
        probes *= 2
    yield from (Effort(partitions, candidates) for candidates in (*many, _MOST))


def choose(
    ways: Iterator[Effort],
    search: Callable[[Effort, int], Sequence[str]],
    truth: Sequence[Sequence[str]],
    target: float,
) -> tuple[Effort, float, float, float]:
    """The least effort that reaches ``target``, or the one that came nearest.

    Args:
        ways: ascending.
        search: the pages found for the query of a number.
        truth: the pages that exact search finds for each of S queries.
        target: recall to reach on the even queries, by more than one standard error.

    Returns:
        The effort, its recall on the odd queries with one standard error, and the median milliseconds of a search.
    """
    even, odd = range(0, len(truth), 2), range(1, len(truth), 2)
    best: tuple[float, Effort] | None = None
    for way in ways:
        found = [_recall(search(way, number), truth[number]) for number in even]
        mean, error = _mean(found)
        if best is None or mean > best[0]:
            best = (mean, way)
        if mean - error >= target:
            break
    assert best is not None
    told, times = [], []
    for number in odd or even:
        begun = time.perf_counter()
        told.append(_recall(search(best[1], number), truth[number]))
        times.append(time.perf_counter() - begun)
    return best[1], *_mean(told), sorted(times)[len(times) // 2] * 1e3


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error."""
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values)) / len(values)


def _recall(found: Sequence[str], truth: Sequence[str]) -> float:
    return len(set(found) & set(truth)) / len(truth) if truth else 1.0


def spread(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` places among ``count``, evenly spaced."""
    if count <= wanted:
        return list(range(count))
    return [round(step * (count - 1) / (wanted - 1)) for step in range(wanted)]
