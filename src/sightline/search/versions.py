"""The versions of an index: which is open, which are kept, and how another one is opened.

``index.json`` names the open version. It is replaced in one step, so a reader opens the old version or the new one;
what is deleted is named by it no more. Kept are the open version, the one open before, and those that were built
beside (``--no-switch``), until a build or `prune_versions` clears away the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.errors import SearchIndexError
from sightline.search import facts as store
from sightline.search.facts import FORMAT, VERSIONS, IndexFacts, damaged, read_object, write_object
from sightline.search.folders import LOCK, SWITCH, Folder, LocalFolder, folder_at
from sightline.search.table import PageTable
from sightline.search.vector_facts import VectorFacts

POINTER = "index.json"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What ``index.json`` says.

    Attributes:
        version: the open version.
        previous: the one open before, ``""`` for none.
        beside: versions that were built without being opened.
    """

    version: str
    previous: str = ""
    beside: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """The versions that may not be cleared away."""
        return tuple(dict.fromkeys(name for name in (self.version, self.previous, *self.beside) if name))

    def opening(self, version: str) -> Pointer:
        """With ``version`` open, and the one open until now as the one before."""
        if version == self.version:
            return self
        return Pointer(version, self.version, tuple(name for name in self.beside if name != version))

    def keeping(self, version: str) -> Pointer:
        """With ``version`` kept beside the open one."""
        if version in self.kept:
            return self
        return Pointer(self.version, self.previous, (*self.beside, version))

    def only(self, versions: set[str]) -> Pointer:
        """Without what is not among ``versions``."""
        previous = self.previous if self.previous in versions else ""
        return Pointer(self.version, previous, tuple(name for name in self.beside if name in versions))


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One finished version of an index.

    Attributes:
        version: its name.
        is_open: whether it is the one that `open_index` opens.
        is_previous: whether it was open before.
        facts: what is known of it, None where that cannot be read.
        problem: why it cannot be read, ``""`` where it can.
        size: bytes on disk.
    """

    version: str
    is_open: bool
    is_previous: bool
    facts: IndexFacts | None
    problem: str
    size: int


def open_version(path: str | Path) -> str | None:
    """The version that is open now; None where nothing has been published yet. A watcher of switches asks this.

    Raises:
        SearchIndexError: the file that says so is damaged.
    """
    pointer = read_pointer(folder_at(path))
    return None if pointer is None else pointer.version


def list_versions(path: str | Path) -> list[VersionFacts]:
    """The finished versions of an index, newest first.

    Raises:
        SearchIndexError: no index, or a damaged one.
    """
    folder = folder_at(path)
    pointer = needed_pointer(folder)
    found = []
    for version in _finished(folder):
        try:
            facts, problem = store.read_facts(folder, version), ""
        except SearchIndexError as error:
            facts, problem = None, str(error)
        found.append(
            VersionFacts(
                version=version,
                is_open=version == pointer.version,
                is_previous=version == pointer.previous,
                facts=facts,
                problem=problem,
                size=folder.size(store.place_of(version)),
            )
        )
    return sorted(found, key=lambda one: one.facts.created if one.facts else "", reverse=True)


def use_version(path: str | Path, version: str) -> str:
    """Open another version, in one step; what searches already goes on undisturbed until it opens the index again.

    Args:
        path: the index.
        version: its name, the beginning of it, or "previous" for the one that was open before.

    Returns:
        The whole name.

    Raises:
        SearchIndexError: no such version, or one that was not built to the end.
    """
    folder = folder_at(path)
    needed_pointer(folder)
    with folder.switching():
        pointer = needed_pointer(folder)
        chosen = find_version(folder, version)
        # A version that cannot be opened must not become the open one.
        VectorFacts.from_json(store.read_facts(folder, chosen).vectors)
        PageTable.open(folder, chosen)
        write_pointer(folder, pointer.opening(chosen))
    return chosen


def prune_versions(path: str | Path, keep: int) -> list[str]:
    """Delete all but the open version and the newest others, and what unfinished builds left.

    Args:
        path: the index.
        keep: how many versions stay, the open one among them.

    Returns:
        The versions deleted, newest first.

    Raises:
        SearchIndexError: ``keep`` is below 1, or a build is writing the index.
    """
    if keep < 1:
        raise SearchIndexError(f"at least one version must be kept, not {keep}")
    folder = folder_at(path)
    needed_pointer(folder)
    with building(folder), folder.switching():
        pointer = needed_pointer(folder)
        ordered = sorted(list_versions(path), key=lambda one: not one.is_open)
        kept = {one.version for one in ordered[:keep]} | {pointer.version}
        write_pointer(folder, pointer.only(kept))
        for name in folder.names(VERSIONS):
            if name not in kept:
                store.remove_version(folder, name)
    return [one.version for one in ordered if one.version not in kept]


def publish(folder: Folder, version: str, *, switch: bool = True) -> None:
    """Open a finished version, or keep it beside the open one, and clear away what is not to be kept.

    Args:
        folder: the index.
        version: its name.
        switch: False to leave the open version open; where there is none, the new one is opened all the same.
    """
    with folder.switching():
        pointer = read_pointer(folder)
        if pointer is None:
            changed = Pointer(version)
        else:
            changed = pointer.opening(version) if switch else pointer.keeping(version)
        if changed != pointer:
            write_pointer(folder, changed)
        for name in folder.names(VERSIONS):
            if name not in changed.kept:
                store.remove_version(folder, name)


def find_version(folder: Folder, name: str) -> str:
    """The finished version called so, see `use_version`.

    Raises:
        SearchIndexError: there is none, or more than one.
    """
    if name == "previous":
        previous = needed_pointer(folder).previous
        if not previous or not store.is_finished(folder, previous):
            raise SearchIndexError(f"{folder.uri}: there is no version before the open one")
        return previous
    finished = _finished(folder)
    matching = [version for version in finished if version.startswith(name)] if name else []
    if name in finished or len(matching) == 1:
        return name if name in finished else matching[0]
    known = ", ".join(finished)
    raise SearchIndexError(
        f"{folder.uri}: {'several versions begin' if matching else 'no finished version begins'} with {name!r}; "
        f"there are {known}"
    )


def read_pointer(folder: Folder) -> Pointer | None:
    """What ``index.json`` says; None where nothing has been published yet.

    Raises:
        SearchIndexError: the file is damaged.
    """
    values = read_object(folder, POINTER)
    if values is None:
        return None
    beside = values.get("beside")
    names = [values.get("version"), values.get("previous"), *(beside if isinstance(beside, list) else [])]
    # A version is the name of a folder; anything else could lead out of the index.
    good = [name if isinstance(name, str) and name.isalnum() else "" for name in names]
    if not good[0]:
        raise damaged(folder, POINTER, "'version' is missing or no version name")
    return Pointer(good[0], good[1], tuple(filter(None, good[2:])))


def needed_pointer(folder: Folder) -> Pointer:
    """What ``index.json`` says.

    Raises:
        SearchIndexError: no index, one that was not built to the end, or a damaged one.
    """
    pointer = read_pointer(folder)
    if pointer is not None:
        return pointer
    if VERSIONS in folder.names():
        raise SearchIndexError(
            f"{folder.uri}: the index was not built to the end; run the same `sightline index` again"
        )
    raise SearchIndexError(
        f"{folder.uri} is no search index; `sightline index DATASET -o {folder.uri}` builds one"
    )


def write_pointer(folder: Folder, pointer: Pointer) -> None:
    values: dict[str, Any] = {"format": FORMAT, "version": pointer.version, "previous": pointer.previous}
    write_object(folder, POINTER, {**values, "beside": list(pointer.beside)})


@contextmanager
def building(folder: Folder) -> Iterator[None]:
    """Hold an index for one build, making its folder if needed.

    Raises:
        SearchIndexError: another build holds it, or the folder holds something that is not an index.
    """
    if isinstance(folder, LocalFolder) and folder.path.is_file():
        raise SearchIndexError(f"{folder.uri} is a file; choose a folder for the index")
    entries = set(folder.names()) - {LOCK, SWITCH}
    if entries and VERSIONS not in entries:
        raise SearchIndexError(f"{folder.uri} holds files that are no index; choose an empty or a new folder")
    taken = SearchIndexError(f"{folder.uri}: another build is writing this index; wait for it to end")
    with folder.building(taken):
        yield


def _finished(folder: Folder) -> list[str]:
    return [name for name in folder.names(VERSIONS) if store.is_finished(folder, name)]
