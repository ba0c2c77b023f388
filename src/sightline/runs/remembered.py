"""Vectors of an evaluation that are kept on the disk: what was embedded once is not embedded again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.files import write_json
from sightline.models.embedding_cache import CachedEncoder
from sightline.models.encoder import Encoder
from sightline.models.vector_store import VectorFile
from sightline.types import Embeddings

# A speed measured on fewer items says little.
_FEW = 32
_TOLD = 10.0


class RememberedEncoder:
    """An encoder whose vectors are kept in a folder, as an evaluator takes it; see `CachedEncoder`.

    Args:
        encoder: the model; its weights must not change meanwhile.
        folder: of the vectors.
        tell: called with a line of progress every ten seconds.

    Attributes:
        similarity_fn_name: the model's.
        ms_per_document: milliseconds that embedding a document takes; measured now or, where all vectors were there,
            when they were made; None where too few ever were.
    """

    def __init__(self, encoder: Encoder, folder: Path, tell: Callable[[str], None]) -> None:
        self.similarity_fn_name = encoder.similarity_fn_name
        self.ms_per_document: float | None = None
        self._cached, self._tell = CachedEncoder(encoder, folder), tell
        self._speed = folder / f"{self._cached.entry('document')}.speed.json"

    def encode_query(self, inputs: Sequence[Any], **options: Any) -> Embeddings:
        """One vector per query, in order; options are those of a progress bar, which there is none."""
        found = self._cached.encode_query(list(inputs))
        return found.take(np.arange(len(found)))

    def encode_document(self, inputs: Sequence[Any], **options: Any) -> Embeddings:
        """One vector per document, in order; a killed run goes on where it was."""
        before, started = self._known(), time.perf_counter()
        told = started

        def progress(done: int, total: int) -> None:
            nonlocal told
            if time.perf_counter() - told > _TOLD:
                told = time.perf_counter()
                self._tell(f"{done:,} of {total:,} pages embedded")

        found = self._cached.encode_document(list(inputs), progress)
        seconds, new = time.perf_counter() - started, self._known() - before
        if new >= _FEW or (new and not self._speed.exists()):
            write_json(self._speed, {"ms_per_document": 1000 * seconds / new, "documents": new})
        if self._speed.is_file():
            self.ms_per_document = json.loads(self._speed.read_text(encoding="utf-8"))["ms_per_document"]
        return found.take(np.arange(len(found)))

    def _known(self) -> int:
        """Documents whose vectors are there."""
        file = VectorFile(self._cached.folder / f"{self._cached.entry('document')}.vectors")
        try:
            return len(file)
        finally:
            file.close()
