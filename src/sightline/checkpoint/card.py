"""README.md beside a saved model: which of them Sightline wrote, and which it leaves as they are.

A card that Sightline wrote ends with a seal, a comment with the sum of the text above it. A card without a seal, or one
that was edited since, is somebody's own: saving over it, or uploading over it, leaves it there.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import NamedTuple

from sightline.checkpoint import layout

log = logging.getLogger("sightline")

CARD = "README.md"
# Stands in a model card where the name under which the model can be loaded belongs.
PLACEHOLDER = "PATH_OR_NAME"
_SEAL = re.compile(r"\n<!-- Written by Sightline \(([0-9a-f]{16})\)[^<>]*-->\s*\Z")
_NOTE = "saving the model again writes this text anew, unless somebody has edited it"


def sealed(text: str) -> str:
    """A card with a seal at its end; one that it has is replaced."""
    body = _SEAL.sub("", text).rstrip() + "\n"
    return f"{body}\n<!-- Written by Sightline ({_sum(body)}): {_NOTE}. -->\n"


def is_sealed(text: str) -> bool:
    """Whether Sightline wrote a card and nobody has edited it since."""
    found = _SEAL.search(text)
    return found is not None and _sum(text[: found.start()]) == found[1]


def named(text: str, name: str) -> str:
    """A card with the name under which its model can be loaded, sealed if it was."""
    placed = text.replace(PLACEHOLDER, name)
    return sealed(placed) if is_sealed(text) else placed


class Brought(NamedTuple):
    """The card that a model came with.

    Attributes:
        text: of it.
        folder: where it lies.
    """

    text: str
    folder: Path


def may_write(folder: Path, brought: Brought | None) -> bool:
    """Whether a card of ours may be written into a folder; the log says so where one of somebody's stays there.

    Args:
        folder: where a model is saved.
        brought: the card that the model came with. Where saving has put a copy of it, a newer card may take its place,
            but not where it was read: there it is somebody's own.
    """
    path = folder / CARD
    if not path.is_file():
        return True
    there = path.read_text(encoding="utf-8", errors="replace")
    copied = brought is not None and there == brought.text and folder.resolve() != brought.folder
    if not is_sealed(there) and not copied:
        log.info("%s stays as it is: it was written by hand; card=TEXT replaces it", path)
        return False
    return True


def brought_card(folder: Path, model_type: str) -> Brought | None:
    """The card in a checkpoint's folder; None where it tells of another kind of model than the one made of it.

    Args:
        folder: where the checkpoint lies.
        model_type: what was made of it, as in `layout.ModelFacts`. Of a bare transformers model, or one of another
            kind, a new model was made, of which its card knows nothing.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    if (folder / layout.MODULES).is_file():
        facts = layout.ModelFacts.from_json(
            layout.read_facts(folder / layout.MODEL), str(folder / layout.MODEL)
        )
        same = facts.model_type == model_type
    else:
        # Sentence Transformers 2 to 5 saved rerankers as transformers does.
        classes = layout.read_facts(folder / "config.json").get("architectures") or []
        same = model_type == layout.RERANKER and any(
            str(name).endswith("ForSequenceClassification") for name in classes
        )
    if not same:
        return None
    return Brought(path.read_text(encoding="utf-8", errors="replace"), folder.resolve())


def _sum(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]
