"""Prepared items on disk, so that opening, decoding and resizing a page happens once and not once per epoch.

An entry is named by what is in the item, what the processor is set to do, the role and the prompt, and holds the
features with a checksum. Any number of processes may share a folder: an entry is written aside and renamed, so a
reader sees all of it or nothing, whenever a writer is killed. What the disk does to an entry later is found by
the checksum, and the item is prepared again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import PIL
import torch
import transformers
from safetensors.torch import load, save
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from sightline.errors import ConfigError
from sightline.inputs.processor import ItemProcessor
from sightline.types import Cost, Features, Item

logger = logging.getLogger(__name__)

VERSION = 1  # of the entries and of our own preprocessing; counted up when either changes
_SUFFIX = ".features"
_DIGEST = 16  # bytes
# After writing this share of the limit a process looks whether the folder is too large; what is deleted then
# leaves room for what eight processes may write before they look again.
_LOOK = 1 / 32
_LEAVE = 3 / 4
_STALE = 3600.0  # seconds after which a file written aside belongs to nobody


class FeatureCache:
    """A folder of features, bounded in size.

    Args:
        folder: made if need be.
        max_bytes: how large it may grow; entries used longest ago are deleted first.

    Raises:
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, max_bytes: int) -> None:
        self.folder = Path(folder).absolute()
        self.max_bytes = max_bytes
        self._written = 0
        self._warned = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: the cache folder cannot be made: {error.strerror}") from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder}: the cache folder cannot be written")

    def get(self, name: str) -> Features | None:
        """The entry, or None where there is none that is whole."""
        path = self._path(name)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        if digest != _digest(body):
            logger.warning("%s is damaged; it is prepared again", path)
            _remove(path)
            return None
        with suppress(OSError):  # another process may have deleted it, and the content is here
            os.utime(path)  # used now
        return _unpacked(body)

    def put(self, name: str, features: Features) -> None:
        """Writes an entry. A full disk is logged once and is no error."""
        path, body = self._path(name), _packed(features)
        aside = path.with_name(f".{os.getpid()}-{time.monotonic_ns()}-{name}")
        try:
            path.parent.mkdir(exist_ok=True)
            aside.write_bytes(_digest(body) + body)
            aside.replace(path)
        except OSError as error:
            _remove(aside)
            if not self._warned:
                logger.warning("%s: cannot be written (%s); preparing goes on without", path, error.strerror)
                self._warned = True
            return
        self._written += len(body)
        if self._written > self.max_bytes * _LOOK:
            self._written = 0
            self.shrink()

    def shrink(self) -> None:
        """Deletes the entries used longest ago, and what dead writers left, where the folder is too large."""
        entries: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*/*"):
            try:
                facts = path.stat()
            except OSError:  # deleted by another process
                continue
            if path.suffix == _SUFFIX:
                entries.append((facts.st_mtime, facts.st_size, path))
            elif path.name.startswith(".") and time.time() - facts.st_mtime > _STALE:
                _remove(path)
        total = sum(size for _, size, _ in entries)
        if total <= self.max_bytes * (1 - _LOOK):
            return
        for _, size, path in sorted(entries):
            if total <= self.max_bytes * _LEAVE:
                break
            _remove(path)
            total -= size

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / (name + _SUFFIX)


@dataclass(frozen=True)
class CachedPreprocessor:
    """A preprocessor that remembers items with media in them; picklable if what it wraps is.

    Text alone is prepared faster than it is read. What a URL points to may change, so it is not remembered.

    Attributes:
        preprocess: ``preprocess(item, role=, prompt=) -> Features``.
        cache: where items are kept.
        fingerprint: of everything in ``preprocess`` that shows in the features.
    """

    preprocess: Callable[..., Features]
    cache: FeatureCache
    fingerprint: str

    def __call__(self, item: Item, *, role: str | None = None, prompt: str | None = None) -> Features:
        """Features of one item, as ``preprocess`` gives them.

        Raises:
            What ``preprocess`` raises.
        """
        media = [part for part in item.parts if part.modality != "text"]
        if not media or any(isinstance(part.value, str) for part in media):
            return self.preprocess(item, role=role, prompt=prompt)
        shape = [(part.modality, part.role) for part in item.parts]
        facts = [VERSION, self.fingerprint, item.key, item.is_message, shape, role, prompt]
        name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        found = self.cache.get(name)
        if found is None:
            found = self.preprocess(item, role=role, prompt=prompt)
            self.cache.put(name, found)
        return found


def fingerprint(processors: Mapping[str, ItemProcessor], *others: Any) -> str:
    """A hash of everything that decides what the processors make of an item.

    Args:
        processors: by route.
        others: further facts with a stable ``repr``.
    """
    facts = {name: _facts(items) for name, items in sorted(processors.items())}
    versions = [transformers.__version__, PIL.__version__, torch.__version__]
    text = json.dumps([facts, versions, repr(others)], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _facts(items: ItemProcessor) -> dict[str, Any]:
    processor = items.processor
    parts = vars(processor) if isinstance(processor, ProcessorMixin) else {"processor": processor}
    found: dict[str, Any] = {"class": type(processor).__qualname__}
    for name, part in sorted(parts.items()):
        if isinstance(part, PreTrainedTokenizerBase):
            found[name] = _tokenizer_facts(part)
        elif isinstance(part, (transformers.ImageProcessingMixin, transformers.FeatureExtractionMixin)):
            found[name] = {"class": type(part).__qualname__, **part.to_dict()}
        elif isinstance(part, (str, int, float, bool, list, dict, type(None))):
            found[name] = part
    return found | {
        "calls": sorted((repr(call), group) for call, group in items.calls.items()),
        "format": items.message_format,
        "kwargs": {name: dict(value) for name, value in items.processing_kwargs.items()},
        "normalization": None if items.normalization is None else asdict(items.normalization),
        "patch": items.patch_size,
        "limit": items.max_tokens,
        "images": repr(items.images),
        "chat": repr(items.chat_tokens),
        "audio": repr(items.audio),
        "frames": None if items.frames is None else items.frames.fixed,
        "film": repr(items.film),
        "mark": items.image_mark,
    }


def _tokenizer_facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    facts = {
        "class": type(tokenizer).__qualname__,
        "special": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "template": tokenizer.chat_template,
        "sides": (tokenizer.padding_side, tokenizer.truncation_side),
    }
    if not tokenizer.is_fast:
        return facts | {"vocabulary": sorted(tokenizer.get_vocab().items())}
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    # These two are the last call's, not the tokenizer's.
    return facts | {name: value for name, value in whole.items() if name not in ("truncation", "padding")}


def _packed(features: Features) -> bytes:
    facts = {
        "group": features.group,
        "cost": [features.cost.tokens, features.cost.patches],
        "modality": features.modality,
        "prompt_length": features.prompt_length,
        "names": list(features.values),  # in their order, which safetensors does not keep
    }
    tensors = {name: value.contiguous() for name, value in features.values.items()}
    return save(tensors, metadata={"facts": json.dumps(facts)})


def _unpacked(body: bytes) -> Features:
    length = int.from_bytes(body[:8], "little")
    facts = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["facts"])
    modality, tensors = facts["modality"], load(body)
    return Features(
        values={name: tensors[name] for name in facts["names"]},
        group=facts["group"],
        cost=Cost(*facts["cost"]),
        modality=tuple(modality) if isinstance(modality, list) else modality,
        prompt_length=facts["prompt_length"],
    )


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
