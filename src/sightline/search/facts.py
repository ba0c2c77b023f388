"""What is known of a finished version of an index, and of the one that is being built.

INDEX/index.json                    which version is open, see `sightline.search.versions`
INDEX/versions/<version>/plan.json  written first: what its vectors are made by
INDEX/versions/<version>/facts.json written last: a version without it is unfinished
INDEX/versions/<version>/pages.lance
INDEX/.lock, INDEX/.switch          held while an index is built, and while another version is opened
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sightline.errors import SearchIndexError
from sightline.search.folders import Folder

FORMAT = 3
FACTS, PLAN = "facts.json", "plan.json"
VERSIONS = "versions"


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What is known of a finished index.

    Attributes:
        version: name of the version; equal for the same pages, model and settings.
        fingerprint: of the model, see `sightline.models.fingerprint`.
        model: name or path the model was loaded from, ``""`` where nobody said.
        dim: components per vector.
        model_dim: components the model gives; more than ``dim`` where a prefix is kept.
        fields: what of a page was embedded: ``"text"``, ``"image"`` or ``"both"``.
        similarity: ``"cosine"``, ``"dot"`` or ``"euclidean"``; of token vectors ``"maxsim"`` or ``"meanmaxsim"``.
        vectors: how they are kept and searched, see `sightline.search.vector_facts`.
        pages: pages in the index.
        pages_without_vector: pages with nothing to embed, found by neither vectors nor, without text, words.
        documents: documents in the index.
        media_root: folder that relative image paths start from, ``""`` where all are absolute.
        full_text: settings of the full-text index.
        created: UTC time of completion, ISO 8601.
        sightline: version that built it.
        format: version of this folder's layout.
    """

    version: str
    fingerprint: str
    model: str
    dim: int
    model_dim: int
    fields: str
    similarity: str
    vectors: Mapping[str, Any]
    pages: int
    pages_without_vector: int
    documents: int
    media_root: str
    full_text: Mapping[str, Any]
    created: str
    sightline: str
    format: int = FORMAT


def place_of(version: str) -> str:
    """Where a version lies in the index's folder."""
    return f"{VERSIONS}/{version}"


def is_finished(folder: Folder, version: str) -> bool:
    """Whether the version was built to the end."""
    return FACTS in folder.names(place_of(version))


def read_facts(folder: Folder, version: str) -> IndexFacts:
    """The facts of a finished version.

    Raises:
        SearchIndexError: missing, damaged, or of another layout.
    """
    name = f"{place_of(version)}/{FACTS}"
    values = read_object(folder, name)
    if values is None:
        raise SearchIndexError(
            f"{folder.uri}/{name} is missing; build the index again with `sightline index`"
        )
    if values.get("format") != FORMAT:
        raise SearchIndexError(
            f"{folder.uri}/{name}: the index has layout {values.get('format')!r}, this Sightline reads {FORMAT}; "
            f"build it again with `sightline index`"
        )
    types = {field.name: field.type for field in fields(IndexFacts)}
    for key, kind in types.items():
        expected: type | tuple[type, ...] = {"int": int, "str": str}.get(str(kind), dict)
        if not isinstance(values.get(key), expected) or isinstance(values.get(key), bool):
            raise damaged(folder, name, f"{key!r} is missing or of the wrong type")
    return IndexFacts(**{key: values[key] for key in types})


def write_facts(folder: Folder, facts: IndexFacts) -> None:
    write_object(folder, f"{place_of(facts.version)}/{FACTS}", asdict(facts))


def read_recipe(folder: Folder, version: str) -> dict[str, Any] | None:
    """What the vectors of a version, finished or not, are made by; None where that is not known."""
    try:
        recipe = (read_object(folder, f"{place_of(version)}/{PLAN}") or {}).get("recipe")
    except SearchIndexError:
        return None
    return recipe if isinstance(recipe, dict) else None


def write_recipe(folder: Folder, version: str, recipe: Mapping[str, Any]) -> None:
    write_object(folder, f"{place_of(version)}/{PLAN}", {"recipe": dict(recipe)})


def remove_version(folder: Folder, version: str) -> None:
    """Delete a version; cut off on the way, it is neither finished nor one that a build would go on with."""
    for name in (FACTS, PLAN):
        folder.drop(f"{place_of(version)}/{name}")
    folder.remove(place_of(version))


def read_object(folder: Folder, name: str) -> dict[str, Any] | None:
    """A JSON object of the index, None where there is no such file.

    Raises:
        SearchIndexError: it cannot be read, or is something else.
    """
    try:
        text = folder.read(name)
        values = None if text is None else json.loads(text)
    except OSError as error:
        raise SearchIndexError(f"{folder.uri}/{name} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise damaged(folder, name, str(error)) from error
    if text is not None and not isinstance(values, dict):
        raise damaged(folder, name, "it holds no JSON object")
    return values


def write_object(folder: Folder, name: str, values: Mapping[str, Any]) -> None:
    """Replace a JSON file of the index in one step.

    Raises:
        SearchIndexError: the disk is full, or may not be written.
    """
    try:
        folder.write(name, json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise unwritable(folder.uri, error.strerror or str(error)) from error


def unwritable(where: str, why: str) -> SearchIndexError:
    return SearchIndexError(
        f"{where}: the index cannot be written ({why}); "
        f"the version before, if any, is untouched; run the same command again to go on"
    )


def damaged(folder: Folder, name: str, why: str) -> SearchIndexError:
    return SearchIndexError(
        f"{folder.uri}/{name} is damaged ({why}); delete {folder.uri} and build the index again with "
        f"`sightline index`"
    )
