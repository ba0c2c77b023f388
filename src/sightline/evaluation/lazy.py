"""Values that stay where they are until they are needed: a collection of images need not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload


class Values(Sequence[Any]):
    """The values of some ids, each read when its turn comes and kept by nobody here.

    Args:
        found: id -> value.
        ids: those wanted, in order.
    """

    def __init__(self, found: Mapping[str, Any], ids: Sequence[str]) -> None:
        self._found, self._ids = found, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> Values: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return Values(self._found, self._ids[place])
        return self._found[self._ids[place]]

    def picked(self, places: Sequence[int]) -> Values:
        """Those at some places."""
        return Values(self._found, [self._ids[place] for place in places])


class InOrder(Mapping[str, Any]):
    """Some values of a mapping in an order of their own; each is read from it every time.

    Args:
        found: id -> value.
        ids: those wanted, in order.
    """

    def __init__(self, found: Mapping[str, Any], ids: Sequence[str]) -> None:
        self._found, self._ids = found, dict.fromkeys(ids)

    def __getitem__(self, identifier: str) -> Any:
        if identifier not in self._ids:
            raise KeyError(identifier)
        return self._found[identifier]

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def in_order(found: Mapping[str, Any], ids: Sequence[str]) -> Mapping[str, Any]:
    """The values of ``ids``, in that order: in a dict where they come from one, else a view that reads each anew."""
    return {one: found[one] for one in ids} if isinstance(found, dict) else InOrder(found, ids)


def values_of(found: Mapping[str, Any], ids: Sequence[str] | None = None) -> Sequence[Any]:
    """The values of ids (of all without any): a list of a dict's, else one after another as they are needed."""
    wanted = list(found) if ids is None else ids
    return [found[one] for one in wanted] if isinstance(found, dict) else Values(found, wanted)


def picked(values: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    """Some of the values, in that order; those that are read when their turn comes stay so."""
    return values.picked(places) if isinstance(values, Values) else [values[place] for place in places]
