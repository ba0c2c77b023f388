"""Where an index lies: a folder of this machine, or a prefix on object storage.

Both can replace a small file in one step, which is all that whole versions need; Lance does the rest itself, on both.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sightline.errors import SearchIndexError
from sightline.files import held, write_text

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

LOCK, SWITCH = ".lock", ".switch"
# Ours and Lance's names of the schemes; pyarrow has file systems for all of them.
REMOTE = ("s3", "gs", "az", "abfs", "abfss")


class Folder(Protocol):
    """A folder of small files and Lance tables; names inside it are separated by ``/``."""

    @property
    def uri(self) -> str:
        """Where it is, as people write it and Lance opens it."""

    @property
    def options(self) -> Mapping[str, str] | None:
        """What Lance needs to know besides, to open a table there."""

    def read(self, name: str) -> str | None:
        """The text of a file, None where there is none; OSError or ValueError where it cannot be read."""

    def write(self, name: str, text: str) -> None:
        """Replace a file in one step: readers see the old text or the new one, whatever is killed."""

    def names(self, name: str = "") -> list[str]:
        """What lies in it or in a folder inside it, sorted; nothing where there is no such folder."""

    def drop(self, name: str) -> None:
        """Delete a file, if it is there."""

    def remove(self, name: str) -> None:
        """Delete a folder with all that is in it; what cannot be deleted stays."""

    def size(self, name: str) -> int:
        """Bytes of all files in a folder."""

    def building(self, taken: SearchIndexError) -> AbstractContextManager[None]:
        """Hold it for one build, which may take days; made where there is none.

        Raises:
            SearchIndexError: ``taken``, where another build holds it.
        """

    def switching(self) -> AbstractContextManager[None]:
        """Hold it for a change of what is open, which takes a moment; waits for its turn."""


class LocalFolder:
    """A folder of this machine. Its locks end with the process that has them, after kill -9 too."""

    options: Mapping[str, str] | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def uri(self) -> str:
        return str(self.path)

    def read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        write_text(self.path / name, text, errors="backslashreplace")

    def names(self, name: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self.path / name))
        except FileNotFoundError:
            return []

    def drop(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.path / name, ignore_errors=True)

    def size(self, name: str) -> int:
        return sum(file.stat().st_size for file in (self.path / name).rglob("*") if file.is_file())

    @contextmanager
    def building(self, taken: SearchIndexError) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / LOCK).touch()
        with held(self.path / LOCK, taken):
            yield

    @contextmanager
    def switching(self) -> Iterator[None]:
        (self.path / SWITCH).touch()
        with held(self.path / SWITCH, None):
            yield


class ObjectFolder:
    """A prefix on object storage, where putting an object is one step and nothing can be locked.

    Credentials, region and endpoint are those of the environment (``AWS_ACCESS_KEY_ID``, ``AWS_REGION``,
    ``AWS_ENDPOINT_URL``, ...), as other tools take them.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    @cached_property
    def options(self) -> Mapping[str, str] | None:
        endpoint = _endpoint()
        if not self.uri.startswith("s3:") or endpoint is None:
            return None
        plain = {"allow_http": "true"} if endpoint.startswith("http://") else {}
        return {"aws_endpoint": endpoint, **plain}

    @cached_property
    def _place(self) -> tuple[FileSystem, str]:
        from pyarrow.fs import FileSystem, S3FileSystem

        scheme, _, path = self.uri.partition("://")
        endpoint = _endpoint()
        if scheme == "s3" and endpoint is not None:
            kind, _, host = endpoint.rstrip("/").rpartition("://")
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
            return S3FileSystem(endpoint_override=host, scheme=kind or "https", region=region), path
        system, base = FileSystem.from_uri(self.uri)
        return system, base.rstrip("/")

    def read(self, name: str) -> str | None:
        system, path = self._find(name)
        with self._reached():
            try:
                with system.open_input_stream(path) as file:
                    return str(file.read(), "utf-8")
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        system, path = self._find(name)
        kind = {"Content-Type": "application/json"}
        # The object appears when the stream is closed, not before.
        with self._reached(), system.open_output_stream(path, metadata=kind) as file:
            file.write(text.encode("utf-8", "backslashreplace"))

    def names(self, name: str = "") -> list[str]:
        return sorted(entry.base_name for entry in self._entries(name, recursive=False))

    def drop(self, name: str) -> None:
        system, path = self._find(name)
        with self._reached(), suppress(FileNotFoundError):
            system.delete_file(path)

    def remove(self, name: str) -> None:
        system, path = self._find(name)
        with self._reached(), suppress(FileNotFoundError):
            system.delete_dir(path)

    def size(self, name: str) -> int:
        return sum(entry.size or 0 for entry in self._entries(name, recursive=True))

    def building(self, taken: SearchIndexError) -> AbstractContextManager[None]:
        return nullcontext()

    def switching(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _find(self, name: str) -> tuple[Any, str]:
        system, base = self._place
        return system, f"{base}/{name}" if name else base

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Errors of the storage (no such bucket, no right, no network) as one sentence."""
        try:
            yield
        except OSError as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise SearchIndexError(
                f"{self.uri}: the storage does not answer as it should ({why}); check the address, the "
                f"credentials and the endpoint in the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...)"
            ) from error

    def _entries(self, name: str, *, recursive: bool) -> list[Any]:
        from pyarrow.fs import FileSelector

        system, path = self._find(name)
        with self._reached():
            found = system.get_file_info(FileSelector(path, allow_not_found=True, recursive=recursive))
        return [entry for entry in found if entry.base_name and entry.path.rstrip("/") != path]


def folder_at(path: str | Path) -> Folder:
    """The folder of this name: a path, ``file://``, or an address such as ``s3://bucket/prefix``.

    Raises:
        SearchIndexError: an address nobody here can open.
    """
    text = str(path)
    scheme, found, rest = text.partition("://")
    if isinstance(path, Path) or not found:
        return LocalFolder(Path(path))
    if scheme == "file":
        return LocalFolder(Path(rest))
    if scheme not in REMOTE or not rest.strip("/"):
        known = ", ".join(f"{name}://" for name in REMOTE)
        raise SearchIndexError(f"{text}: an index lies in a folder, or at one of {known}BUCKET/PREFIX")
    return ObjectFolder(text)


def _endpoint() -> str | None:
    """Where S3 is, if not at Amazon."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((value for name in names if (value := os.environ.get(name))), None)
