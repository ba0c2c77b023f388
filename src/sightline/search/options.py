"""What a person chooses about the vectors of an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sightline.errors import SearchIndexError
from sightline.models.similarity import TOKEN_SIMILARITIES
from sightline.search.approximate import RECALL, Plan
from sightline.search.layout import Layout

PRECISIONS = ("float32", "float16", "int8", "binary")


@dataclass(frozen=True)
class VectorOptions:
    """How pages' vectors are kept and searched.

    Attributes:
        precision: one of `PRECISIONS`; float32, or float16 for a model with a vector per token, where None.
        dims: leading components that can be searched besides the widest; by default those the model was trained
            with, where its checkpoint says so.
        rescore: keep float16 originals beside int8 or binary, by which what they find is put into order.
        token_pooling: of a model with a vector per token: tokens merged into one, 1 for none.
        ann: "auto" (by the size of the collection), "exact", "ivf" or "hnsw".
        recall: recall@10 against exact search that an approximate one has to reach.

    Raises:
        SearchIndexError: values that do not exist or do not go together.
    """

    precision: str | None = None
    dims: tuple[int, ...] | None = None
    rescore: bool = False
    token_pooling: float = 1.0
    ann: str = "auto"
    recall: float = RECALL

    def __post_init__(self) -> None:
        if self.precision is not None and self.precision not in PRECISIONS:
            raise SearchIndexError(
                f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )
        if self.rescore and self.precision not in ("int8", "binary"):
            raise SearchIndexError("originals are kept beside int8 or binary vectors only; leave rescore out")
        if self.token_pooling < 1:
            raise SearchIndexError(f"token_pooling must be 1 or more, not {self.token_pooling!r}")
        self.plan()

    def plan(self) -> Plan:
        return Plan(self.ann, self.recall)

    def layout(self, encoder: Any, kept: int, similarity: str) -> Layout:
        """The columns for a model.

        Args:
            encoder: the model.
            kept: components of the widest vectors.
            similarity: how they are compared.

        Raises:
            SearchIndexError: options that are not for this model.
        """
        tokens = similarity in TOKEN_SIMILARITIES
        if self.token_pooling > 1 and not tokens:
            raise SearchIndexError("the model gives one vector per page, so there are no tokens to pool")
        if self.rescore and tokens:
            raise SearchIndexError("token vectors are not rescored; leave rescore out")
        precision = self.precision or ("float16" if tokens else "float32")
        layout = Layout((kept, *self._further(encoder, kept)), precision, similarity, self.rescore)
        if tokens and len(layout.dims) > 1 and precision in ("int8", "binary"):
            raise SearchIndexError(f"prefixes of {precision} token vectors are not kept; leave dims out")
        self.plan().check(layout)
        return layout

    def _further(self, encoder: Any, kept: int) -> tuple[int, ...]:
        """Prefixes besides the widest, in descending order."""
        if self.dims is None:
            return tuple(dim for dim in encoder.trained_dims if dim < kept)
        wrong = [dim for dim in self.dims if type(dim) is not int or not 1 <= dim <= kept]
        if wrong:
            raise SearchIndexError(f"dims must be whole numbers from 1 to {kept}, not {wrong[0]!r}")
        return tuple(sorted(set(self.dims) - {kept}, reverse=True))
