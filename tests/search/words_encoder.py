"""A small deterministic encoder for tests of search: a vector is the sum of vectors of its words."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.search.pages import PageRecord
from sightline.types import Embeddings

TOPICS = {
    "energy": "solar wind turbine grid battery storage power megawatt",
    "health": "hospital nurse patient vaccine clinic therapy surgery recovery",
    "finance": "revenue profit margin dividend equity debt interest audit",
    "rail": "train track signal platform carriage freight timetable junction",
    "ocean": "whale coral current tide fishery plankton harbour reef",
}


class WordsEncoder(torch.nn.Module):
    """Bag of words; an image counts as one word, its file's bytes. Implements the Encoder's surface."""

    prompts: Mapping[str, str] = {}
    trained_dims: tuple[int, ...] = ()
    truncate_dim: int | None = None
    multi_vector = False
    name_or_path = "tests/words"

    def __init__(
        self,
        dim: int = 24,
        *,
        seed: int = 0,
        modalities: tuple[str, ...] = ("text", "image"),
        similarity: str = "cosine",
        seconds: float = 0.0,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.projection = torch.nn.Parameter(torch.randn(16, dim, generator=generator), requires_grad=False)
        self.modalities = modalities
        self.similarity_fn_name = similarity
        self.seconds = seconds
        self.encoded = 0

    @property
    def embedding_dim(self) -> int:
        return int(self.projection.shape[1])

    def supports(self, modality: str | Iterable[str]) -> bool:
        return ({modality} if isinstance(modality, str) else set(modality)) <= set(self.modalities)

    def prompt_for(self, role: str | None) -> str | None:
        return None

    def encode_document(
        self, inputs: Any, *, show_progress: bool | None = None, truncate_dim: int | None = None
    ) -> Embeddings:
        self.encoded += len(inputs)
        time.sleep(self.seconds)
        found = self._encode(inputs)
        return found if truncate_dim is None else found.truncate(truncate_dim)

    def encode_query(self, inputs: Any, *, show_progress: bool | None = None) -> Embeddings:
        return self._encode(inputs)

    def _encode(self, inputs: Any) -> Embeddings:
        # One by one: what a page gets must not depend on the batch it is in, to the last bit.
        return Embeddings(torch.stack([self._bag(value) @ self.projection for value in inputs]))

    def _bag(self, value: Any) -> torch.Tensor:
        parts = value if isinstance(value, dict) else {"text": value}
        words = re.findall(r"\w+", str(parts.get("text", "")).lower())
        if "image" in parts:
            words.append(hashlib.sha256(Path(parts["image"]).read_bytes()).hexdigest())
        total = torch.zeros(16)
        for word in words:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
            total += torch.randn(16, generator=torch.Generator().manual_seed(seed))
        return total


def make_pages(documents: int = 5, pages: int = 6, *, seed: int = 0) -> list[PageRecord]:
    """Pages without images: every document has a topic, every page words of it and a number of its own."""
    rng = np.random.default_rng(seed)
    names = list(TOPICS)
    found = []
    for number in range(documents):
        topic = names[number % len(names)]
        for page in range(pages):
            words = rng.choice(TOPICS[topic].split(), size=12)
            text = (
                f"{topic} report {number} page {page}: {' '.join(words)}. Reference {number * 100 + page}x."
            )
            name = f"{topic}-{number}.pdf"
            found.append(PageRecord(f"{name}#p{page}", name, page, text))
    return found
