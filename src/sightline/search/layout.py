"""Which vectors of a page are kept, and in which columns.

    vector, vector_128, ...   each searchable Matryoshka prefix at the precision of the index
    signs, signs_128, ...     beside int8: the signs, by which a large index finds what it puts into order by the codes
    original                  the widest vectors in float16, to put into order what coarser ones have found
    pooled                    of token vectors: one vector per page that finds the pages to be compared token by token

The table carries its layout in its schema, so that it can be read without anything beside it.

Shape letters: N pages, D components.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sightline.errors import SearchIndexError
from sightline.models.similarity import TOKEN_SIMILARITIES
from sightline.search.columns import Column, gathered
from sightline.search.pooled import POOLED, Pooling

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from torch import Tensor

VECTOR, SIGNS, ORIGINAL = "vector", "signs", "original"
_KEY = b"sightline"


@dataclass(frozen=True)
class Layout:
    """How the vectors of an index are kept.

    Attributes:
        dims: leading components that can be searched, widest first.
        precision: "float32", "float16", "int8" or "binary".
        similarity: "cosine", "dot" or "euclidean"; of token vectors "maxsim" or "meanmaxsim".
        rescore: float16 originals are kept beside int8 or binary.
        ranges: dimension -> (2, dim) least and greatest values, for int8; empty until the collection is there.
    """

    dims: tuple[int, ...]
    precision: str = "float32"
    similarity: str = "cosine"
    rescore: bool = False
    ranges: Mapping[int, Tensor] = field(default_factory=dict, compare=False)

    @property
    def tokens(self) -> bool:
        """Whether a page has a vector per token."""
        return self.similarity in TOKEN_SIMILARITIES

    @property
    def unit(self) -> bool:
        return self.similarity == "cosine"

    @property
    def unsettled(self) -> bool:
        """Whether int8 still waits for the ranges of the collection."""
        return self.precision == "int8" and not self.ranges

    def staged(self) -> Layout:
        """What an unsettled build is kept as until all its vectors are there."""
        return Layout(self.dims[:1], "float32", self.similarity)

    def settled(self, ranges: Mapping[int, Tensor]) -> Layout:
        return replace(self, ranges=dict(ranges))

    def column(self, dim: int | None = None) -> Column:
        """The vectors cut to ``dim`` components; of token vectors always the widest, which are cut when compared.

        Raises:
            SearchIndexError: the index has no such prefix.
        """
        dim = self.dims[0] if dim is None else dim
        if dim not in self.dims:
            known = ", ".join(map(str, self.dims))
            raise SearchIndexError(
                f"this index has no vectors of {dim} dimensions, only of {known}; "
                f"`sightline index --dims` chooses which"
            )
        kept = self.dims[0] if self.tokens else dim
        return Column(
            self._named(VECTOR, kept), kept, self.precision, self.unit, self.tokens, self.ranges.get(kept)
        )

    def signs(self, dim: int | None = None) -> Column | None:
        """The column whose Hamming distances shortlist, where there is one."""
        if self.tokens or self.precision not in ("int8", "binary"):
            return None
        dim = self.dims[0] if dim is None else dim
        name = self._named(SIGNS if self.precision == "int8" else VECTOR, dim)
        return Column(name, dim, "binary")

    @property
    def original(self) -> Column | None:
        """The float16 originals, where they are kept."""
        return Column(ORIGINAL, self.dims[0], "float16", self.unit) if self.rescore else None

    @cached_property
    def pooling(self) -> Pooling | None:
        """How token vectors become one, for a first look."""
        return Pooling(self.dims[0]) if self.tokens else None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """All columns of vectors."""
        kept = self.dims[:1] if self.tokens else self.dims
        found = [self.column(dim) for dim in kept]
        if self.precision == "int8":
            found += [column for dim in kept if (column := self.signs(dim)) is not None]
        if self.original is not None:
            found.append(self.original)
        if self.pooling is not None:
            found.append(Column(POOLED, self.pooling.width, "float16"))
        return tuple(found)

    @property
    def bytes_per_vector(self) -> int:
        """What one vector takes on disk, all prefixes and originals together, without `pooled`."""
        return sum(column.bytes_per_vector for column in self.columns if column.name != POOLED)

    def arrays(self, vectors: Sequence[np.ndarray | None]) -> dict[str, pa.Array]:
        """The columns for N pages.

        Args:
            vectors: of each page float32 (>= D,), or (T, >= D) with a row per token; None for none.
        """
        import numpy as np

        present_N = np.array([vector is not None for vector in vectors], bool)
        given = gathered(
            [vector for vector in vectors if vector is not None], tokens=self.tokens, dim=self.dims[0]
        )
        found = {}
        for column in self.columns:
            if column.name == POOLED:
                assert self.pooling is not None
                found[POOLED] = column.stored(self.pooling.documents(given), present_N)
            else:
                found[column.name] = column.stored(given, present_N)
        return found

    def metadata(self) -> dict[bytes, bytes]:
        """What stands in the table's schema."""
        facts = {
            "dims": self.dims,
            "precision": self.precision,
            "similarity": self.similarity,
            "rescore": self.rescore,
            "ranges": {dim: _text(ranges_2D) for dim, ranges_2D in self.ranges.items()},
        }
        return {_KEY: json.dumps(facts).encode()}

    @staticmethod
    def read(metadata: Mapping[bytes, bytes] | None) -> Layout:
        """The layout of a table with this schema metadata.

        Raises:
            SearchIndexError: there is none.
        """
        raw = (metadata or {}).get(_KEY)
        if raw is None:
            raise SearchIndexError(
                "the index does not say how its vectors are kept; build it again with `sightline index`"
            )
        facts: dict[str, Any] = json.loads(raw)
        return Layout(
            tuple(facts["dims"]),
            facts["precision"],
            facts["similarity"],
            facts["rescore"],
            {int(dim): _numbers(text) for dim, text in facts["ranges"].items()},
        )

    def _named(self, name: str, dim: int) -> str:
        return name if dim == self.dims[0] else f"{name}_{dim}"


def _text(ranges_2D: Tensor) -> str:
    return base64.b64encode(ranges_2D.contiguous().numpy().astype("<f4").tobytes()).decode()


def _numbers(text: str) -> Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f4").reshape(2, -1).copy())
