"""A guide: a frozen model whose vectors tell a loss which documents of a batch are too much like right answers.

The loss gets the vectors as part of the batch, and never sees the model. Each distinct item is embedded once, when
a batch first holds it, with the guide's own prompt for its role.

Shape letters::

    N  distinct items of a batch     G  dimension of the guide's vectors
"""

from __future__ import annotations

import torch
from torch import Tensor

from sightline.errors import ConfigError, InputError
from sightline.inputs.parse import parse
from sightline.inputs.refusals import refuse_media_as_text
from sightline.models.encoder import Encoder
from sightline.training.rows import Columns, Rows
from sightline.training.streams import Stream
from sightline.types import Batch, Item

# Vectors that are kept at most; beyond it items are embedded anew in each epoch.
LIMIT_BYTES = 2**30


class Guide:
    """The vectors of a guide for the items of batches.

    Args:
        encoder: the guide; it is not trained and keeps its device.
        limit: bytes of vectors kept at most.

    Attributes:
        embedded: how many items were embedded so far.
    """

    def __init__(self, encoder: Encoder, limit: int = LIMIT_BYTES) -> None:
        self.encoder = encoder
        self.limit = limit
        self.embedded = 0
        self._known: dict[int, Tensor] = {}
        self._bytes = 0

    def vectors(self, batch: Batch, rows: Rows | Stream, columns: Columns) -> Tensor:
        """(N, G) float32 on the CPU, in the order of the batch's items.

        Args:
            batch: made of rows of ``rows``.
            rows: read again where an item is not known yet.
            columns: what their columns mean.

        Raises:
            InputError: an item that the guide does not take; names row and column.
            ConfigError: the guide gives several vectors per item.
        """
        assert batch.identities_N is not None
        identities = batch.identities_N.tolist()
        new = self._embed(self._items(batch, rows, columns, identities))
        for place, vector in new.items():
            self._keep(identities[place], vector)
        return torch.stack(
            [new[place] if place in new else self._known[one] for place, one in enumerate(identities)]
        )

    def check(self, rows: Rows | Stream, columns: Columns) -> None:
        """Whether the guide takes what the first row of a dataset holds.

        Raises:
            InputError: it does not; names row and column.
        """
        number, row = rows[0]
        modalities = self.encoder.modalities
        for column in columns.names:
            if row.get(column) is None:
                continue
            source = f"{rows.row_name(number)}, column {column!r}, for the guide"
            refuse_media_as_text(row[column], source, modalities)
            item = parse(row[column], source=source, modalities=modalities)
            if not self.encoder.supports(item.modalities):
                kinds = " with ".join(sorted(item.modalities))
                raise InputError(f"the guide does not take {kinds} in one item", source=source)

    def _items(
        self, batch: Batch, rows: Rows | Stream, columns: Columns, identities: list[int]
    ) -> dict[str, dict[int, Item]]:
        """The items that are not known, by role and place in the batch."""
        missing = {place for place, identity in enumerate(identities) if identity not in self._known}
        found: dict[str, dict[int, Item]] = {}
        for number, places in zip(batch.rows, batch.columns_BC.tolist(), strict=True):
            if missing.isdisjoint(places):
                continue
            _, row = rows[number]
            for (column, role, _), place in zip(columns.cells, places, strict=True):
                if place in missing:
                    source = f"{rows.row_name(number)}, column {column!r}, for the guide"
                    item = parse(row[column], source=source, modalities=self.encoder.modalities)
                    found.setdefault(role, {})[place] = item
                    missing.discard(place)
        return found

    def _embed(self, items: dict[str, dict[int, Item]]) -> dict[int, Tensor]:
        vectors: dict[int, Tensor] = {}
        for role, by_place in items.items():
            values = self.encoder.encode(list(by_place.values()), role=role, show_progress=False).values
            if values.ndim != 2:
                raise ConfigError("a guide gives one vector per item, and this model gives one per token")
            self.embedded += len(values)
            vectors |= dict(zip(by_place, values.float().cpu(), strict=True))
        return vectors

    def _keep(self, identity: int, vector: Tensor) -> None:
        if self._bytes + vector.nbytes <= self.limit:
            self._known[identity] = vector.clone()
            self._bytes += vector.nbytes
