"""An index folder on disk: which version is open, what is known of it, and the lock of who builds.

INDEX/index.json                    the open version and the one before it; replaced in one step
INDEX/versions/<version>/facts.json written last: a version without it is unfinished
INDEX/versions/<version>/pages.lance
INDEX/.lock                         held while an index is built
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sightline.errors import SearchIndexError
from sightline.files import held, write_json

FORMAT = 1
POINTER = "index.json"
FACTS = "facts.json"
VERSIONS = "versions"
LOCK = ".lock"


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
        similarity: ``"cosine"``, ``"dot"`` or ``"euclidean"``.
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
    pages: int
    pages_without_vector: int
    documents: int
    media_root: str
    full_text: Mapping[str, Any]
    created: str
    sightline: str
    format: int = FORMAT


def version_folder(root: Path, version: str) -> Path:
    return root / VERSIONS / version


def open_version(root: Path) -> str | None:
    """The version that `index.json` names; None where nothing has been published yet.

    Raises:
        SearchIndexError: the file is damaged.
    """
    path = root / POINTER
    if not path.is_file():
        return None
    return _string(_read(path, root), "version", path, root)


def previous_version(root: Path) -> str | None:
    """The version that was open before, if it is still there."""
    path = root / POINTER
    if not path.is_file():
        return None
    previous = _read(path, root).get("previous")
    return previous if isinstance(previous, str) and previous else None


def publish(root: Path, version: str) -> None:
    """Make ``version`` the open one, in one step, and remove all others but the one open until now."""
    before = open_version(root)
    previous = previous_version(root) if before == version else before
    write_json(root / POINTER, {"format": FORMAT, "version": version, "previous": previous})
    for folder in (root / VERSIONS).iterdir():
        if folder.name not in (version, previous):
            shutil.rmtree(folder, ignore_errors=True)


def is_finished(root: Path, version: str) -> bool:
    """Whether the version was built to the end."""
    return (version_folder(root, version) / FACTS).is_file()


def read_facts(root: Path, version: str) -> IndexFacts:
    """The facts of a finished version.

    Raises:
        SearchIndexError: missing, damaged, or of another layout.
    """
    path = version_folder(root, version) / FACTS
    values = _read(path, root)
    if values.get("format") != FORMAT:
        raise SearchIndexError(
            f"{path}: the index has layout {values.get('format')!r}, this Sightline reads {FORMAT}; "
            f"build it again with `sightline index`"
        )
    types = {field.name: field.type for field in fields(IndexFacts)}
    for name, kind in types.items():
        expected: type | tuple[type, ...] = {"int": int, "str": str}.get(str(kind), dict)
        if not isinstance(values.get(name), expected) or isinstance(values.get(name), bool):
            raise _damaged(path, root, f"{name!r} is missing or of the wrong type")
    return IndexFacts(**{name: values[name] for name in types})


def write_facts(root: Path, facts: IndexFacts) -> None:
    write_json(version_folder(root, facts.version) / FACTS, asdict(facts))


@contextmanager
def building(root: Path) -> Iterator[None]:
    """Hold the folder for one build, making it if needed; the lock ends with the process, even after kill -9.

    Raises:
        SearchIndexError: another build holds it, or the folder holds something that is not an index.
    """
    if root.is_file():
        raise SearchIndexError(f"{root} is a file; choose a folder for the index")
    if (
        root.is_dir()
        and not (root / VERSIONS).is_dir()
        and any(entry.name != LOCK for entry in root.iterdir())
    ):
        raise SearchIndexError(f"{root} holds files that are no index; choose an empty or a new folder")
    (root / VERSIONS).mkdir(parents=True, exist_ok=True)
    (root / LOCK).touch()
    with held(
        root / LOCK, SearchIndexError(f"{root}: another build is writing this index; wait for it to end")
    ):
        yield


def _read(path: Path, root: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SearchIndexError(f"{path} is missing; build the index again with `sightline index`") from error
    except (OSError, ValueError) as error:
        raise _damaged(path, root, str(error)) from error
    if not isinstance(values, dict):
        raise _damaged(path, root, "it holds no JSON object")
    return values


def _string(values: Mapping[str, Any], name: str, path: Path, root: Path) -> str:
    value = values.get(name)
    # A version is the name of a folder beside; anything else could lead out of the index.
    if not isinstance(value, str) or not value.isalnum():
        raise _damaged(path, root, f"{name!r} is missing or no version name")
    return value


def _damaged(path: Path, root: Path, why: str) -> SearchIndexError:
    return SearchIndexError(
        f"{path} is damaged ({why}); delete {root} and build the index again with `sightline index`"
    )
