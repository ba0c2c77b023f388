"""Which documents are for training and which are held out: always whole documents, never single questions."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sightline.documents.records import SPLITS, Document
from sightline.errors import DataError


def assign_splits(
    documents: Sequence[Document],
    asked: Iterable[str],
    given: Mapping[str, str],
    *,
    test_fraction: float,
    seed: int,
) -> dict[str, str]:
    """The split of every readable document.

    Documents are taken in an order that depends on their names and the seed alone, into the test split
    until it holds the asked share of the questions (of the documents, where there are no questions), then
    into the training split. So a new document moves few others across. Copies of one file stay together,
    and where two documents have questions, both splits get one.

    Args:
        documents: all documents; skipped ones get no split.
        asked: the document of each question.
        given: splits decided by a person; they are kept as they are.
        test_fraction: share to hold out.
        seed: another seed, another order.
    """
    readable = [item for item in documents if item.status == "ok"]
    leaders: dict[str, str] = {}  # of the copies of a file, the one whose side they all take
    for item in sorted(readable, key=lambda item: (item.document not in given, item.document)):
        leaders.setdefault(item.sha256, item.document)
    leader_of = {item.document: leaders[item.sha256] for item in readable}
    weights = Counter(leader_of[name] for name in asked if name in leader_of)
    weights = weights or Counter(leaders.values())
    splits = {name: given[name] for name in leaders.values() if name in given}
    free = sorted(
        (name for name in leaders.values() if name not in given), key=lambda name: _draw(name, seed)
    )
    target = test_fraction * sum(weights.values())
    held = sum(weights[name] for name, split in splits.items() if split == "test")
    filling = True
    for name in free:
        filling = filling and abs(held + weights[name] - target) <= abs(held - target)
        splits[name] = "test" if filling else "train"
        held += weights[name] if filling else 0
    counted = [name for name in free if weights[name]]
    if counted and len(weights) > 1 and 0 < test_fraction < 1:
        sides = {splits[name] for name in weights}
        if "test" not in sides:
            splits[counted[0]] = "test"
        elif "train" not in sides:
            splits[counted[-1]] = "train"
    return {name: given.get(name) or splits[leader] for name, leader in leader_of.items()}


def _draw(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on the name and the seed only."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def read_splits(path: Path) -> dict[str, str]:
    """A split file: JSON ``{"train": [documents], "test": [documents]}``.

    Raises:
        DataError: when it is not that, or a document is on two sides.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such split file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict) or not set(content) <= set(SPLITS):
        raise DataError(f'{path}: expected {{"train": [documents], "test": [documents]}}')
    given: dict[str, str] = {}
    for split, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}: '{split}' must be a list of document names")
        for name in names:
            if given.setdefault(name, split) != split:
                raise DataError(f"{path}: '{name}' is in '{given[name]}' and in '{split}'; choose one")
    return given
