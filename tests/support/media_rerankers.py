"""Tiny rerankers that hear or see films, out of checkpoints of the real architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline.models.reranker import Reranker
from support.tiny_answers import qwen3_vl_answers, spread
from support.tiny_media import qwen2_5_omni, qwen2_audio

WIDTH = 0.1  # of the weights: scores then differ from pair to pair by far more than the tests' tolerance


@dataclass(frozen=True)
class MediaReranker:
    """One architecture.

    Attributes:
        name: as in docs/models.md.
        build: writes its bare checkpoint.
        inputs: the rows of the table that its pairs speak for.
        tower: part of the names of the weights that hear or see.
        options: of loading.
    """

    name: str
    build: Callable[[Path], Path]
    inputs: tuple[str, ...]
    tower: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self, folder: Path, **options: Any) -> Reranker:
        """The checkpoint as a reranker, with weights drawn wide."""
        loaded = Reranker.from_pretrained(self.build(folder), device="cpu", **self.options, **options)
        spread(loaded, WIDTH)
        return loaded


# The tokenizers of two of them know no yes and no; digits are words of every one.
_DIGITS = {"answers": ("1", "0")}
MEDIA_RERANKERS = {
    "qwen2_audio": MediaReranker("Qwen2-Audio", qwen2_audio, ("text", "text+audio"), "audio_tower", _DIGITS),
    "qwen2_5_omni": MediaReranker(
        "Qwen2.5-Omni (thinker)", qwen2_5_omni, ("text", "text+audio"), "audio_tower", _DIGITS
    ),
    "qwen3_vl": MediaReranker("Qwen3-VL", qwen3_vl_answers, ("text", "text+video"), "visual"),
}
