"""Values with names as items: what is wrong with one of thousands is told by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from sightline.inputs.parse import parse
from sightline.inputs.refusals import refuse_media_as_text
from sightline.types import Item


class NamedItems(Sequence[Item]):
    """The values of a mapping as items, each read from it and parsed when it is asked for.

    Args:
        kind: what a value is: ``document``.
        values: name -> value, as of `inputs.parse.parse`.
        modalities: what the model reads.
        names: those wanted, in order; by default all.

    Raises (where an item is asked for):
        InputError: a value that is missing or that the model does not read; names it, as ``document 'd2'``.
        MediaError: a file that is missing, empty or not media.
    """

    def __init__(
        self,
        kind: str,
        values: Mapping[str, Any],
        modalities: Sequence[Any],
        names: Sequence[str] | None = None,
    ) -> None:
        self._kind, self._modalities = kind, tuple(modalities)
        self._values, self._names = values, list(values) if names is None else list(names)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, number: int) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> NamedItems: ...
    def __getitem__(self, number: int | slice) -> Item | NamedItems:
        if isinstance(number, slice):
            return NamedItems(self._kind, self._values, self._modalities, self._names[number])
        name = self._names[number]
        return named_item(self._values[name], f"{self._kind} {name!r}", self._modalities)


def named_item(value: Any, name: str, modalities: Sequence[Any]) -> Item:
    """A value as an item, refused under its name.

    Raises:
        InputError, MediaError: as of `NamedItems`; also a medium's path that a model without its modality would take
            for a text.
    """
    refuse_media_as_text(value, name, modalities)
    return parse(value, source=name, modalities=modalities)
