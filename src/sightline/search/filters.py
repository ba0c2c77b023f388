"""Which pages a search may find: conditions on document, language, kind of file and metadata.

Metadata is kept twice: as JSON, to give back, and as facets, to compare with. A facet is one name with one
value, written as JSON, so that 3, "3" and true stay different and a value may hold any character; a list
gives a facet per element, so that a condition on it means "contains".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sightline.errors import SearchIndexError
from sightline.search.words import clean


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that a page must meet, all of them; an empty one is no condition.

    Attributes:
        documents: the page is of one of these documents.
        languages: its language is one of these (ISO 639-1; ``""`` for pages whose language nobody knows).
        kinds: its file is one of these: "pdf", "image", "office", "html", "markdown", "text".
        metadata: name -> value that the page's metadata has. A list of values means any of them; where the
            page has a list, one of its elements is enough. 3 and 3.0 are equal, 3 and "3" are not.

    Raises:
        SearchIndexError: conditions of another type.
    """

    documents: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("documents", "languages", "kinds"):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise SearchIndexError(f"{name} of a filter must be a list of names, not {values!r}")
            values = tuple(values)
            if not all(isinstance(value, str) for value in values):
                raise SearchIndexError(f"{name} of a filter must be names, not {values!r}")
            object.__setattr__(self, name, values)
        check_metadata(self.metadata, "a filter")

    def __bool__(self) -> bool:
        return bool(self.documents or self.languages or self.kinds or self.metadata)


def check_metadata(metadata: Any, whose: str) -> None:
    """Whether it is a JSON object.

    Raises:
        SearchIndexError: it is something else; says whose it is.
    """
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        raise SearchIndexError(f"the metadata of {whose} must map names to values, not {metadata!r}")
    try:
        stored_metadata(metadata)
    except (TypeError, ValueError) as error:
        raise SearchIndexError(
            f"the metadata of {whose} must hold what JSON can: text, numbers, true, false, null and lists ({error})"
        ) from error


def stored_metadata(metadata: Mapping[str, Any]) -> str:
    """Metadata as the index keeps it, ``""`` where there is none."""
    return clean(json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)) if metadata else ""


def read_metadata(stored: str) -> dict[str, Any]:
    """What `stored_metadata` wrote."""
    return dict(json.loads(stored)) if stored else {}


def facets_of(metadata: Mapping[str, Any]) -> list[str]:
    """What conditions on metadata are compared with, in a settled order and without repeats."""
    found = {
        _facet(name, value)
        for name, values in metadata.items()
        for value in (values if isinstance(values, (list, tuple)) else [values])
    }
    return sorted(found)


def facet_names(facets: Iterable[str]) -> list[str]:
    """The names of metadata among facets, sorted."""
    return sorted({json.loads(facet)[0] for facet in facets})


def condition(where: Filter | None) -> str | None:
    """A filter as Lance takes it; None where it filters nothing. Lance itself writes the values, as literals."""
    from lancedb.expr import col, lit

    if not where:
        return None
    columns = (("document", where.documents), ("language", where.languages), ("kind", where.kinds))
    parts = [col(name).isin(list(map(clean, values))).to_sql() for name, values in columns if values]
    for name, value in where.metadata.items():
        wanted = ", ".join(lit(facet).to_sql() for facet in facets_of({name: value}))
        # No value at all is equal to none: a condition that no page meets.
        parts.append(f"array_has_any(facets, [{wanted}])" if wanted else "false")
    return " AND ".join(f"({part})" for part in parts)


def _facet(name: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return clean(json.dumps([name, value], ensure_ascii=False, sort_keys=True, allow_nan=False))
