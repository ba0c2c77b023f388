"""The pages nearest to a query vector: exactly, or by an approximate index and a better look at what it found.

    float32, float16    all vectors are compared; of a large index those that Lance's IVF or HNSW index points to
    int8                all codes are compared; of a large index the nearest by their signs
    binary              the nearest by Hamming distance, put into order by the query's float vector
    token vectors       MaxSim with all pages; of a large index with those that pooled vectors find

Where originals are kept, what int8 and binary found is put into order by them. Candidates to be put into order are
at least as many as in evaluation (`evaluation.storage.RESCORED`).

Shape letters: D components, T tokens of a query, n candidates, q queries.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.errors import SearchIndexError
from sightline.evaluation.quantized import pair_scores
from sightline.evaluation.storage import RESCORED
from sightline.search.approximate import PAGES, Approximate
from sightline.search.columns import Column
from sightline.search.layout import Layout
from sightline.search.matches import METRICS, Match, ordered
from sightline.search.pooled import POOLED
from sightline.search.scan import Scan
from sightline.types import Embeddings

if TYPE_CHECKING:
    import pyarrow as pa

FEW = 10_000
"""A filter that leaves so many pages or fewer is searched exactly."""
OVERSAMPLING = 4
"""Candidates per page wanted that are put into a better order, where nothing was tuned; never below `RESCORED`."""
_FACTS = ["position", "page_id"]


class Nearest:
    """Search by vectors in one table. Thread-safe.

    Args:
        table: the LanceDB table.
        layout: how its vectors are kept.
        approximate: dimension -> how it is searched approximately; exact where nothing stands.
    """

    def __init__(
        self, table: Any, layout: Layout, approximate: Mapping[int, Approximate] | None = None
    ) -> None:
        self._table = table
        self.layout = layout
        self.approximate = dict(approximate or {})
        columns = {layout.column(dim).name: layout.column(dim) for dim in layout.dims}
        self._lock = threading.Lock()
        self._known: dict[int, tuple[int, str]] | None = None
        self._scans = {name: Scan(table, column, layout.similarity) for name, column in columns.items()}

    def search(
        self,
        query: np.ndarray,
        limit: int,
        where: str | None = None,
        *,
        dim: int | None = None,
        exact: bool = False,
    ) -> list[Match]:
        """The ``limit`` nearest pages, best first; pages without a vector are never among them.

        Args:
            query: (>= D,), or (T, >= D) for an index of token vectors.
            limit: how many.
            where: only pages that meet this.
            dim: compare the first components only; one of the layout's.
            exact: go by no approximate index.

        Raises:
            SearchIndexError: no such prefix, or a query of another kind or width.
        """
        dim = self.layout.dims[0] if dim is None else dim
        asked = self.asked(query, dim)
        how = None if exact else self.approximate.get(dim)
        if how is not None and where is not None and self._few(where):
            how = None
        if how is None:
            return self.exact(asked, limit, dim, where)[0]
        return self.approximately(asked, limit, dim, how, where)

    def bytes_per_page(self) -> float:
        """What the vectors of a page take, all columns together; the mean over the pages that have any."""
        single = sum(column.bytes_per_vector for column in self.layout.columns if not column.tokens)
        if not self.layout.tokens:
            return float(single)
        column = self.layout.column()
        pages, tokens = self._scans[column.name].counts()
        return single + column.bytes_per_vector * tokens / max(pages, 1)

    def vectors(self, page_ids: Sequence[str]) -> Embeddings:
        """The widest vectors of pages, as near to the model's as they are kept, in the order of the ids.

        Raises:
            SearchIndexError: only signs are kept, or a page has no vector or is not there; names it.
        """
        from lancedb.expr import col

        column = self.layout.original or self.layout.column()
        if column.precision == "binary":
            raise SearchIndexError("this index keeps the signs of the vectors alone; build it with rescore")
        query = self._table.search().where(col("page_id").isin(list(page_ids)))
        found = query.select(["page_id", column.name]).limit(len(page_ids)).to_arrow()
        known = found.filter(found[column.name].is_valid())
        place = {page_id: row for row, page_id in enumerate(known["page_id"].to_pylist())}
        missing = next((page_id for page_id in page_ids if page_id not in place), None)
        if missing is not None:
            raise SearchIndexError(f"the index has no vector of page {missing!r}")
        return column.read(known[column.name].combine_chunks().take([place[page_id] for page_id in page_ids]))

    def asked(self, query: np.ndarray, dim: int) -> Embeddings:
        """One query as the vectors of a prefix are compared with it."""
        import torch

        column = self.layout.column(dim)
        if query.ndim != (2 if self.layout.tokens else 1) or query.shape[-1] < dim:
            wanted = "one vector per token" if self.layout.tokens else "one vector"
            raise SearchIndexError(
                f"the index compares {wanted} of {self.layout.dims[0]} components, the query has shape "
                f"{query.shape}; load the model without truncate_dim"
            )
        values = torch.from_numpy(np.ascontiguousarray(query, np.float32))[None]
        if not self.layout.tokens:
            return column.cut(Embeddings(values))
        return Embeddings(values, torch.ones(values.shape[:2], dtype=torch.bool))

    def exact(self, asked: Embeddings, limit: int, dim: int, where: str | None = None) -> list[list[Match]]:
        """The nearest of each of some queries, as `asked` makes them."""
        column = self.layout.column(dim)
        better = self._better(dim)
        wide = limit if better is None else max(limit * OVERSAMPLING, RESCORED)
        scores_qk, rows_qk = self._scans[column.name].search(asked, wide, where, dim=dim)
        found = []
        places = None if better is not None else self._places()
        for number, (scores_k, rows_k) in enumerate(zip(scores_qk, rows_qk)):
            scored = zip(rows_k.tolist(), scores_k.tolist())
            if places is not None:
                found.append(ordered(Match(row, *places[row], score) for row, score in scored))
                continue
            facts = self._facts(rows_k.tolist(), better)
            if better is not None:
                found.append(self._reordered(asked[number], facts, better, dim)[:limit])
                continue
            known = dict(scored)
            found.append(_matches(facts, [known[row] for row in facts["_rowid"].to_pylist()]))
        return found

    def _places(self) -> dict[int, tuple[int, str]] | None:
        """Row id -> position and page id, read once; None for more than `PAGES` pages.

        A version does not change while it is open. Of a small index Lance's look-up of a hundred rows takes longer
        than all comparisons.
        """
        with self._lock:
            if self._known is None and self._table.count_rows() <= PAGES:
                query = self._table.search().select(_FACTS).with_row_id(True).limit(PAGES)
                columns = query.to_arrow().to_pydict()
                facts = zip(columns["position"], columns["page_id"])
                self._known = dict(zip(columns["_rowid"], facts, strict=True))
            return self._known

    def approximately(
        self, asked: Embeddings, limit: int, dim: int, how: Approximate, where: str | None = None
    ) -> list[Match]:
        """The nearest of one query, by an approximate index."""
        column = self.layout.column(dim)
        if column.precision in ("float32", "float16") and not self.layout.tokens:
            return self._by_lance(asked, limit, column, how, where)
        wide = max(how.candidates, 2 * limit)
        query_V: np.ndarray
        if self.layout.tokens:
            assert self.layout.pooling is not None
            # Whole tokens, whatever the prefix: the pooled vectors were made of whole ones.
            query_V = self.layout.pooling.query(asked.values[0]).numpy()
            shortlist, metric = POOLED, "dot"
            better = self.layout.column()
        else:
            signs = self.layout.signs(dim)
            assert signs is not None
            query_V = asked.quantize("ubinary").values[0].numpy()
            shortlist, metric = signs.name, "hamming"
            better = self._better(dim) or column
        query = self._lance(shortlist, query_V, metric, how, where).select(
            [*_FACTS, better.name, "_distance"]
        )
        return self._reordered(asked, query.limit(wide).to_arrow(), better, dim)[:limit]

    def _by_lance(
        self, asked: Embeddings, limit: int, column: Column, how: Approximate, where: str | None
    ) -> list[Match]:
        """By Lance's own comparison of float vectors."""
        metric = METRICS[self.layout.similarity]
        query = self._lance(column.name, asked.values[0].numpy(), metric, how, where)
        # At least 1: scores are those of the vectors, not of what the index makes of them.
        query = query.refine_factor(-(-how.candidates // limit))
        if column.precision == "float16":
            # Lance rounds the query to float16 as well: a few more, compared again in float32.
            query = query.select([*_FACTS, column.name, "_distance"]).limit(limit + limit // 2 + 8)
            return self._reordered(asked, query.to_arrow(), column, column.dim)[:limit]
        found = query.select([*_FACTS, "_distance"]).limit(limit).to_arrow()
        distances_n = found["_distance"].to_numpy()
        scores_n = 1.0 - distances_n if metric == "dot" else -np.sqrt(np.maximum(distances_n, 0.0))
        return _matches(found, scores_n.tolist())

    def _lance(
        self, column: str, query_V: np.ndarray, metric: str, how: Approximate, where: str | None
    ) -> Any:
        query = self._table.search(query_V, vector_column_name=column).distance_type(metric).with_row_id(True)
        if not how.index:
            query = query.bypass_vector_index()
        else:
            # A filter may leave the partitions looked at empty; then Lance goes on to further ones.
            most = how.nprobes if where is None else how.partitions
            query = query.minimum_nprobes(how.nprobes).maximum_nprobes(most)
            if how.ef:
                query = query.ef(how.ef)
        return query if where is None else query.where(where, prefilter=True)

    def _reordered(self, asked: Embeddings, found: pa.Table, better: Column, dim: int) -> list[Match]:
        """Candidates in the order of better vectors than those which found them."""
        import torch

        vectors = found[better.name].combine_chunks()
        if not len(vectors):
            return []
        if self.layout.tokens:
            scores_n = self._scans[better.name].compared(asked, vectors, dim)[0]
        else:
            values = better.read(vectors)
            if better.precision == "binary":
                # The cosine of a unit query with signs of length sqrt(D): evaluation's order, in a known scale.
                scores_n = torch.einsum("d,nd->n", asked.values[0], values.values) / dim**0.5
            else:
                measure = "dot" if self.layout.unit else self.layout.similarity
                cut = self.layout.column(dim).cut(values) if better.dim != dim else values
                scores_n = pair_scores(asked.values, cut.values[None], measure)[0]
        return ordered(_matches(found, scores_n.tolist()))

    def _better(self, dim: int) -> Column | None:
        """By what an exact search's candidates are put into order; None where they are in order."""
        if self.layout.tokens:
            return None
        return self.layout.original or (
            self.layout.column(dim) if self.layout.precision == "binary" else None
        )

    def _facts(self, rows: list[int], better: Column | None) -> pa.Table:
        """Position and id of rows, and the vectors of a column, in any order."""
        names = _FACTS if better is None else [*_FACTS, better.name]
        if not rows:
            return self._table.search().select(names).with_row_id(True).limit(1).to_arrow().slice(0, 0)
        return self._table.take_row_ids(rows).select(names).with_row_id().to_arrow()

    def _few(self, where: str) -> bool:
        found = self._table.search().where(where).select(["position"]).limit(FEW + 1).to_arrow()
        return len(found) <= FEW


def _matches(found: pa.Table, scores: list[float]) -> list[Match]:
    columns = zip(found["_rowid"].to_pylist(), found["position"].to_pylist(), found["page_id"].to_pylist())
    return ordered(Match(*facts, score) for facts, score in zip(columns, scores, strict=True))
