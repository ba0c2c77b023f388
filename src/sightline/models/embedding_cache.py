"""Embeddings that are kept on the disk, so that no item is embedded twice by the same model.

Vectors are found again by what they are of (the content of the item, never its path) and by everything that made
them: the model's weights and configuration, what its processors do, role, prompt, dimension and number type. Two
models never share an entry, whatever they are called.

Items are embedded a chunk at a time, and a chunk is written as a whole: what a killed process had finished is not
done again, and, as chunks are cut by the order of the items alone, the vectors are those of an uninterrupted run, to
the last bit. Several processes that share the work take the chunks by rounds, one each, so theirs are the same
vectors, too. After each round they meet: what one of them fails in the others hear at once, and none of them waits
longer than a chunk takes, however long all of them take.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sightline import __version__
from sightline.errors import DataError
from sightline.files import remove_unfinished, write_json
from sightline.models.encoder import Encoder
from sightline.models.encoding_progress import Report
from sightline.models.fingerprint import exact_fingerprint
from sightline.models.items import items_of
from sightline.models.vector_store import KEY, StoredVectors, VectorFile
from sightline.modules.token_pooling import TokenPooling
from sightline.types import Item

VERSION = 1  # of the files and of what this module leaves out of a name
# Items of a chunk: some seconds of work.
TEXTS, MEDIA = 2048, 256

Progress = Callable[[int, int], None]
Value = TypeVar("Value")


class Peers(Protocol):
    """The processes that embed together, as `sightline.training.distributed.Ranks` are."""

    @property
    def rank(self) -> int:
        """This process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def exchange(self, value: Value, what: str) -> list[Value]:
        """The value of each of them, on all."""
        ...

    def together(self, what: str) -> AbstractContextManager[None]:
        """What one of them fails in, all fail in; it ends when all have come to its end."""
        ...


class CachedEncoder:
    """An encoder that remembers in a folder. Its weights must not change while it is used.

    Args:
        encoder: the model.
        folder: one file of vectors, and one of facts, per model, role and settings; any number of models and
            processes may share it, and it may be deleted at any time.
        bf16: as of `Encoder.encode`.
        token_pooling: likewise.
        token_budget: likewise; of no account for the entries.
        peers: processes that share the work. All of them make the same calls, with the same model, over a folder
            that all of them see; each embeds some of the chunks, and all get all vectors.
    """

    def __init__(
        self,
        encoder: Encoder,
        folder: str | Path,
        *,
        bf16: bool = False,
        token_pooling: TokenPooling | None = None,
        token_budget: int | None = None,
        peers: Peers | None = None,
    ) -> None:
        self.encoder = encoder
        self.folder = Path(folder)
        self.bf16 = bf16
        self.token_pooling = token_pooling
        self.token_budget = token_budget
        self.peers = peers

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of the model and its processors."""
        facts = [exact_fingerprint(self.encoder), self.encoder.preprocessor.fingerprint()]
        return _hashed(facts)

    def entry(self, role: str) -> str:
        """The name of the files that hold the vectors of a role."""
        return _hashed([VERSION, *self._facts(role).items()])

    def encode_query(self, inputs: Sequence[Any], progress: Progress | None = None) -> StoredVectors:
        """`encode` with the role and prompt of queries."""
        return self.encode(inputs, role="query", progress=progress)

    def encode_document(self, inputs: Sequence[Any], progress: Progress | None = None) -> StoredVectors:
        """`encode` with the role and prompt of documents."""
        return self.encode(inputs, role="document", progress=progress)

    def encode(self, inputs: Sequence[Any], *, role: str, progress: Progress | None = None) -> StoredVectors:
        """Vectors of all inputs, in their order; those not known yet are embedded first.

        Args:
            inputs: as of `Encoder.encode`, a list of them.
            role: ``query`` or ``document``.
            progress: told now and then how many inputs are done, of how many.

        Raises:
            InputError: an input the model does not take; names its position.
            DataError: no inputs, the folder cannot be written, or it is another one for another process.
        """
        if not len(inputs):
            raise DataError("there is nothing to embed")
        items = list(items_of(list(inputs), self.encoder.modalities).stream)
        keys = [_key(item) for item in items]
        with ExitStack() as held:
            with self._together("opening the file of vectors"):
                file = held.enter_context(closing(VectorFile(self.folder / f"{self.entry(role)}.vectors")))
                self._tell(self.entry(role), role)
            self._embed(file, items, keys, role, progress)
            if self.peers is not None:
                self._collect(file, keys)
            if progress is not None:
                progress(len(items), len(items))
            return file.vectors(keys)

    def _together(self, what: str) -> AbstractContextManager[None]:
        return nullcontext() if self.peers is None else self.peers.together(what)

    def _collect(self, file: VectorFile, keys: Sequence[bytes]) -> None:
        """Finds what the other processes have added."""
        with self._together("looking for what the others have embedded"):
            file.refresh()
            absent = sum(key not in file for key in keys)
            if absent:
                raise DataError(
                    f"{self.folder}: {absent:,} of {len(keys):,} vectors that other processes have embedded are not "
                    "here; give a folder that all of them see"
                )

    def _embed(
        self,
        file: VectorFile,
        items: Sequence[Item],
        keys: Sequence[bytes],
        role: str,
        progress: Progress | None,
    ) -> None:
        """Adds what is missing to the file: this process its chunk of each round."""
        chunks = list(_chunks(items))
        first: dict[bytes, int] = {}  # an item that stands in several chunks belongs to the first of them
        for number, (start, stop) in enumerate(chunks):
            for key in keys[start:stop]:
                first.setdefault(key, number)
        # What is there already is dealt out to nobody, so that all have work after a stop of one of them, too.
        wanted = sorted({number for key, number in first.items() if key not in file})
        rank, size = 0, 1
        if self.peers is not None:
            rank, size = self.peers.rank, self.peers.size
            wanted = self.peers.exchange(wanted, "sharing what is to be embedded")[0]
        for begin in range(0, len(wanted), size):
            with self._together(f"embedding for role {role!r}"):
                for number in wanted[begin : begin + size][rank : rank + 1]:
                    start, stop = chunks[number]
                    missing = {
                        key: item
                        for key, item in zip(keys[start:stop], items[start:stop], strict=True)
                        if key not in file and first[key] == number
                    }
                    self._add(file, missing, role, progress and _within(progress, start, len(items)))
                    if progress is not None:
                        progress(stop, len(items))

    def _add(self, file: VectorFile, missing: Mapping[bytes, Item], role: str, report: Report | None) -> None:
        if missing:
            found = self.encoder.encode(
                list(missing.values()),
                role=role,
                token_budget=self.token_budget,
                bf16=self.bf16,
                token_pooling=self.token_pooling,
                show_progress=report or False,
            )
            file.add(list(missing), found)

    def _facts(self, role: str) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "role": role,
            "prompt": self.encoder.prompt_for(role),
            "dim": self.encoder.truncate_dim,
            "bf16": self.bf16,
            "token_pooling": repr(self.token_pooling),
        }

    def _tell(self, name: str, role: str) -> None:
        """Writes beside the vectors what they are, for people who look into the folder."""
        path = self.folder / f"{name}.json"
        if path.exists() or (self.peers is not None and self.peers.rank):
            return
        facts = {"model": self.encoder.name_or_path, **self._facts(role), "sightline": __version__}
        try:
            remove_unfinished(path, shared=True)
            write_json(path, facts)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _within(progress: Progress, done: int, total: int) -> Report:
    """What tells of the items of a chunk, as those behind ``done`` others."""
    return lambda now: progress(done + now.items, total)


def _chunks(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    """First item and the one after the last of each chunk."""
    start = media = 0
    for number, item in enumerate(items, start=1):
        media += item.modalities != {"text"}
        if number - start == TEXTS or media == MEDIA or number == len(items):
            yield start, number
            start, media = number, 0


def _key(item: Item) -> bytes:
    """The content of an item and the shape it has: a text and an image of the same bytes are two things."""
    shape = [(part.modality, part.role) for part in item.parts]
    facts = json.dumps([item.key, item.is_message, shape])
    return hashlib.blake2b(facts.encode(), digest_size=KEY).digest()


def _hashed(facts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
