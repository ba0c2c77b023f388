"""Folders in the spellings of Sentence Transformers 2 to 6, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sightline.models.encoder import Encoder

FLAGS = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "sqrt": "mean_sqrt_len_tokens"}


def write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))


def modules(folder: Path, *entries: tuple[str, str]) -> None:
    """``modules.json`` out of (path, class) pairs."""
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(entries)
    ]
    write(folder / "modules.json", listed)


def old_pooling(mode: str) -> dict[str, Any]:
    return {"word_embedding_dimension": 32} | {
        f"pooling_mode_{flag}": name == mode for name, flag in FLAGS.items()
    }


def load(folder: Path, **options: Any) -> Encoder:
    return Encoder.from_pretrained(folder, device="cpu", **options)


SPELLINGS = {
    2: ("sentence_transformers.models.Transformer", "sentence_transformers.models.Pooling"),
    3: (
        "sentence_transformers.models.Transformer.Transformer",
        "sentence_transformers.models.Pooling.Pooling",
    ),
    5: (
        "sentence_transformers.models.transformer.Transformer",
        "sentence_transformers.sentence_transformer.models.Pooling",
    ),
    6: (
        "sentence_transformers.base.modules.transformer.Transformer",
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    ),
}
