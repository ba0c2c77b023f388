"""Encoding where memory does not last: in smaller passes, with the same vectors, or with the item's name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sightline.errors import ItemMemoryError
from sightline.models.encoder import Encoder
from sightline.models.encoding_passes import at_most
from sightline.models.out_of_memory import is_out_of_memory
from sightline.models.reranker import Reranker
from support.fixtures import many_texts
from support.tiny_rerankers import bert_scores

TinyEncoder = Callable[[str], Encoder]
Limited = Callable[[torch.nn.Module, int], "Room"]


class Room:
    """Memory for so many positions in a pass and no more; counts the passes that went well and those that did not."""

    def __init__(self, positions: int) -> None:
        self.positions, self.failures = positions, 0
        self.sizes: list[int] = []

    def __call__(self, _: Any, inputs: tuple[Any, ...]) -> None:
        (batch,) = inputs
        size = batch.padded_tokens + batch.cost.patches // 4
        if size > self.positions:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")
        self.sizes.append(size)


@pytest.fixture
def limited() -> Iterator[Callable[[torch.nn.Module, int], Room]]:
    """``limited(model, 300)``: the model has room for passes of 300 positions until the test ends."""
    handles: list[Any] = []

    def limit(model: torch.nn.Module, positions: int) -> Room:
        room = Room(positions)
        handles.append(model.register_forward_pre_hook(room))
        return room

    yield limit
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("bf16", [False, True])
def test_passes_become_smaller_and_vectors_stay(
    tiny_encoder: TinyEncoder, limited: Limited, caplog: pytest.LogCaptureFixture, bf16: bool
) -> None:
    encoder, texts = tiny_encoder("bert"), [*many_texts(90), "same " * 20]
    wanted = encoder.encode(texts, bf16=bf16).values
    progress: list[int] = []
    room = limited(encoder, 100)
    with caplog.at_level(logging.WARNING):
        found = encoder.encode(texts, bf16=bf16, show_progress=lambda now: progress.append(now.items)).values
    torch.testing.assert_close(found, wanted, atol=1e-2 if bf16 else 1e-5, rtol=0)
    assert room.failures >= 2
    assert progress == sorted(set(progress)), "nothing is counted twice"
    assert progress[-1] == len(texts)
    (told,) = [record.message for record in caplog.records if "Out of memory" in record.message]
    assert "(CUDA out of memory. Tried to allocate 2.00 GiB.). Encoding goes on" in told


def test_media_and_files(
    tiny_encoder: TinyEncoder, limited: Limited, pictures: list[Image.Image], tmp_path: Path
) -> None:
    encoder = tiny_encoder("qwen3_vl")
    values = [*many_texts(40), *pictures, *many_texts(40, seed=1)]
    costs = [encoder.preprocessor(item).cost.total for item in _items(encoder, values)]
    wanted = encoder.encode(values).values
    room = limited(encoder, max(costs))
    found = encoder.encode(values, output=tmp_path / "v.npy").values
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert room.failures
    assert len(room.sizes) > 1


def _items(encoder: Encoder, values: list[Any]) -> list[Any]:
    from sightline.models.items import items_of

    return list(items_of(values, encoder.modalities).stream)


def test_an_item_that_does_not_fit_alone_is_named(
    tiny_encoder: TinyEncoder, limited: Limited, tmp_path: Path
) -> None:
    encoder = tiny_encoder("bert")
    texts = [f"valve number {number}" for number in range(60)]
    texts[37] = "pump " * 40
    room = limited(encoder, 30)
    with pytest.raises(
        ItemMemoryError, match=r"^input 37: it does not fit .* even alone \(42 tokens; CUDA"
    ) as caught:
        encoder.encode(texts, output=tmp_path / "v.npy")
    assert is_out_of_memory(caught.value), "whoever goes on without vectors can tell"
    assert not list(tmp_path.iterdir())
    assert room.failures < 12


def test_other_errors_pass(tiny_encoder: TinyEncoder) -> None:
    encoder = tiny_encoder("bert")

    def fail(*_: Any) -> None:
        raise RuntimeError("size mismatch")

    handle = encoder.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="size mismatch"):
        encoder.encode(many_texts(5))
    handle.remove()


def test_a_budget_from_outside_bounds_the_default_and_nothing_else(
    tiny_encoder: TinyEncoder, limited: Limited
) -> None:
    encoder, texts = tiny_encoder("bert"), many_texts(40)
    room = limited(encoder, 10**6)

    def largest(**options: Any) -> int:
        room.sizes.clear()
        encoder.encode(texts, **options)
        return max(room.sizes)

    free = largest()
    with at_most(128):
        assert largest() <= 128 < free
        assert 128 < largest(token_budget=256) <= 256, "what is set stays"
    with at_most(10**6):
        assert largest() == free
    assert largest() == free


def test_pairs_are_scored_all_the_same(limited: Limited, tmp_path: Path) -> None:
    reranker = Reranker.from_pretrained(bert_scores(tmp_path, labels=1), device="cpu")
    pairs = [(query, page) for query in many_texts(6) for page in many_texts(4, seed=1)]
    wanted = torch.as_tensor(reranker.predict(pairs))
    room = limited(reranker, 120)
    torch.testing.assert_close(torch.as_tensor(reranker.predict(pairs)), wanted, atol=1e-5, rtol=0)
    assert room.failures
