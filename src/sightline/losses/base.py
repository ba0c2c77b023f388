"""What a loss is: a function from the vectors of a batch's distinct items to named scalar parts.

Shape letters::

    N  distinct items of the batch     D  embedding dimension
    L  left items of the scores        R  right items of the scores     l  some consecutive left items
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from sightline.types import Batch, Embeddings


@runtime_checkable
class Loss(Protocol):
    """Anything callable as ``loss(embeddings, batch) -> {name: scalar tensor}``.

    Rows of ``embeddings`` are the batch's N distinct items in order; ``batch.columns_BC`` indexes into
    them. The sum of the parts is what is minimised; the log shows each part. A loss draws no random
    numbers, keeps no state and does not care how, where or how often the items were embedded.

    Where ``batch.scored`` is set, the parts are this process's share: summed over the processes they are the
    loss of the whole batch, and so are their gradients.
    """

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]: ...


class ScoreTerm(Protocol):
    """A sum over the rows of a score matrix (L, R) that is computed a few rows at a time.

    `sightline.losses.blockwise` computes the scores of some rows, asks for their values and gradients, and goes
    on to the next rows, so that the matrix never exists.

    Attributes:
        name: the part that the rows' values add up to; terms of one name are summed.
        left: (L,) item index per row of the scores; may repeat.
        right: (R,) item index per column of the scores; ascending, each once.
        scale: what similarities are multiplied by to give scores, e.g. one over a temperature.
        weight: what the sum of the rows' values is multiplied by, e.g. one over the number of rows.
    """

    @property
    def name(self) -> str: ...
    @property
    def left(self) -> Tensor: ...
    @property
    def right(self) -> Tensor: ...
    @property
    def scale(self) -> float: ...
    @property
    def weight(self) -> float: ...

    def rows(self, scores_lR: Tensor, begin: int, gradient_lR: Tensor | None) -> Tensor:
        """(l,) values of the rows from ``begin`` on.

        Called without a graph, once per Matryoshka prefix.

        Args:
            scores_lR: scaled scores; may be overwritten.
            begin: number of the first of these rows.
            gradient_lR: to be filled with each value's derivative at its row's scaled scores; None if nobody
                needs it.
        """
        ...


@runtime_checkable
class GroupedTerm(Protocol):
    """A `ScoreTerm` some of whose rows belong together.

    Attributes:
        group: how many consecutive rows `ScoreTerm.rows` is to be given together; divides the number of rows.
    """

    @property
    def group(self) -> int: ...


@runtime_checkable
class ScoreLoss(Protocol):
    """A loss whose value is a function of the similarities between lists of items.

    Such a loss says what it compares apart from how vectors are compared, so that `Matryoshka` gets the cosines
    of all prefixes from one pass over the dimensions.
    """

    def plan(self, batch: Batch) -> Sequence[ScoreTerm]: ...

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]: ...


@runtime_checkable
class RowLoss(Protocol):
    """A loss that honours `Batch.scored` where ``by_rows`` is true: each process computes its rows' share.

    Several ranks call any other loss on the whole batch, each of them.
    """

    @property
    def by_rows(self) -> bool: ...

    def __call__(self, embeddings: Embeddings, batch: Batch) -> dict[str, Tensor]: ...
