"""A tiny encoder with everything the trainer asks of one, and batches for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sightline.inputs.media import open_image
from sightline.inputs.parse import parse
from sightline.models.reranker import Reranker
from sightline.types import Batch, Cost, Embeddings, Features, Item, MicroBatch
from support.tiny_rerankers import bert_scores

WORDS = 97


def preprocess(item: Item, *, role: str | None = None, prompt: str | None = None) -> Features:
    """Words by a hash of their letters; an image by 16 numbers from its pixels."""
    ids = [1 + sum(map(ord, prompt)) % (WORDS - 1)] if prompt else []
    values = {}
    for part in item.parts:
        if part.modality == "text":
            ids += [1 + sum(map(ord, word)) % (WORDS - 1) for word in part.value.split()]
        else:
            image = open_image(part.value, source=item.source)
            pixels = np.asarray(image.resize((4, 4)), dtype=np.float32).mean(-1) / 255
            values["pixel_values"] = torch.from_numpy(pixels.reshape(1, 16))
    values["input_ids"] = torch.tensor(ids or [0])
    group = "image" if "pixel_values" in values else "text"
    return Features(values, group, Cost(len(values["input_ids"])), group)


def collate(features: Sequence[Features], indices: Sequence[int]) -> MicroBatch:
    ids = nn.utils.rnn.pad_sequence([f.values["input_ids"] for f in features], batch_first=True)
    values: dict[str, Any] = {"input_ids": ids, "mask": ids > 0, "group": features[0].group}
    if features[0].group == "image":
        values["pixel_values"] = torch.cat([f.values["pixel_values"] for f in features])
    cost = Cost(sum(f.cost.tokens for f in features))
    return MicroBatch(values, torch.tensor(list(indices)), cost, ids.numel())


class TinyEncoder(nn.Module):
    """Mean of word vectors, through a layer with dropout; images through a layer of their own."""

    modalities = ("text", "image")
    similarity_fn_name = "cosine"

    def __init__(self, dim: int = 16, dropout: float = 0.3) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 24)
        self.pixels = nn.Linear(16, 24)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Dropout(dropout), nn.Linear(32, dim))
        self.embedding_dim = dim
        self.prompts: dict[str, str] = {}
        self.name_or_path = "nobody/tiny"

    @property
    def preprocessor(self) -> Callable[..., Features]:
        return preprocess

    packed_groups: frozenset[str] = frozenset()

    @property
    def device(self) -> torch.device:
        return self.out[0].weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.words.weight.dtype

    def collate(self, features: Sequence[Features], indices: Sequence[int]) -> MicroBatch:
        return collate(features, indices)

    def prompt_for(self, role: str | None, prompt: str | None = None, prompt_name: str | None = None) -> Any:
        return prompt if prompt is not None else self.prompts.get(role or "")

    def forward(self, micro_batch: MicroBatch) -> Embeddings:
        features = micro_batch.features
        vectors = self.drop(self.words(features["input_ids"])) * features["mask"].unsqueeze(-1)
        pooled = vectors.sum(1) / features["mask"].sum(1, keepdim=True).clamp_min(1)
        if "pixel_values" in features:
            pooled = pooled + self.pixels(features["pixel_values"])
        return Embeddings(self.out(pooled))

    @torch.no_grad()
    def encode(self, values: Sequence[Any]) -> torch.Tensor:
        self.eval()
        features = [preprocess(parse(value)) for value in values]
        return torch.cat([self(collate([one], [0])).values for one in features])

    def save_pretrained(
        self, path: Path, *, truncate_dim: int | None = None, card: str | bool = True, verify: bool = True
    ) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        torch.save(self.state_dict(), Path(path) / "weights.pt")
        (Path(path) / "README.md").write_text(card if isinstance(card, str) else "")

    @classmethod
    def from_pretrained(cls, path: str, *, device: Any = None, dtype: Any = None) -> TinyEncoder:
        encoder = cls()
        encoder.load_state_dict(torch.load(Path(path) / "weights.pt"))
        return encoder.to(device=device, dtype=dtype)


@pytest.fixture
def make_encoder() -> Callable[..., TinyEncoder]:
    """``make_encoder(seed, dropout=...)``"""

    def make(seed: int = 0, **options: Any) -> TinyEncoder:
        torch.manual_seed(seed)
        return TinyEncoder(**options)

    return make


@pytest.fixture
def text_rows() -> list[dict[str, str]]:
    """24 pairs, each with a hard negative, of 1 to 12 words."""
    names = ["pump", "valve", "report", "table", "chart", "plant", "north", "staff"]
    rows = []
    for number in range(24):
        topic = f"{names[number % 8]} {number}"
        padding = " ".join(names[: number % 9])
        rows.append(
            {
                "anchor": f"what about {topic}",
                "positive": f"all of {topic} {padding}",
                "negative": f"nothing of {names[(number + 3) % 8]} {number * 7} {padding}",
            }
        )
    return rows


@pytest.fixture
def make_batch(text_rows: list[dict[str, str]]) -> Callable[..., Batch]:
    """``make_batch(groups)``: the rows as one batch, its items split as ``groups`` says (lists of item indices)."""

    def make(groups: Sequence[Sequence[int]] | None = None, *, per_group: int | None = None) -> Batch:
        items = [parse(row[column]) for row in text_rows for column in row]
        features = [preprocess(item) for item in items]
        count = len(items)
        if groups is None:
            size = per_group or count
            groups = [range(start, min(start + size, count)) for start in range(0, count, size)]
        return Batch(
            micro_batches=[collate([features[i] for i in group], list(group)) for group in groups],
            keys_N=torch.tensor([int(item.key[:15], 16) for item in items]),
            columns_BC=torch.arange(count).reshape(-1, 3),
            roles=("query", "document", "document"),
            rows=tuple(range(len(text_rows))),
        )

    return make


@pytest.fixture(scope="session")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Reranker]:
    """``rerankers(3)``: one with three classes."""
    loaded: dict[int, Reranker] = {}

    def of(labels: int) -> Reranker:
        if labels not in loaded:
            folder = bert_scores(tmp_path_factory.mktemp("bert"), labels=labels)
            loaded[labels] = Reranker.from_pretrained(folder, device="cpu")
        return loaded[labels]

    return of
