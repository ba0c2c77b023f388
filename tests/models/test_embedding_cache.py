"""Embeddings kept on the disk: found again by content and model, never mixed up, never made twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.errors import DataError, InputError
from sightline.models import embedding_cache
from sightline.models.embedding_cache import CachedEncoder
from sightline.models.encoder import Encoder
from sightline.models.fingerprint import exact_fingerprint
from sightline.models.vector_store import StoredVectors
from support.fixtures import make_pictures

TEXTS = ["the annual report", "pump, valves, seals", "x", "the annual report", "costs of the plant"]


def loaded(folder: Path, **options: Any) -> Encoder:
    return Encoder.from_pretrained(folder, device="cpu", **options)


def values(stored: StoredVectors) -> torch.Tensor:
    return stored.take(np.arange(len(stored))).values


class Counted:
    """Counts what an encoder embeds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items = 0
        inner = Encoder.encode

        def encode(encoder: Encoder, inputs: Any, **options: Any) -> Any:
            self.items += len(inputs)
            return inner(encoder, inputs, **options)

        monkeypatch.setattr(Encoder, "encode", encode)


def test_vectors_are_those_of_the_encoder_and_made_once(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder("bert")
    expected = encoder.encode_document(TEXTS).values
    counted = Counted(monkeypatch)
    told: list[tuple[int, int]] = []
    first = CachedEncoder(encoder, tmp_path).encode_document(TEXTS, lambda *now: told.append(now))
    torch.testing.assert_close(values(first), expected)
    assert counted.items == 4  # one text stands there twice
    assert told[-1] == (5, 5)
    again = CachedEncoder(encoder, tmp_path).encode_document([*TEXTS[::-1], "new"])
    assert counted.items == 5
    assert torch.equal(values(again)[:5], values(first).flip(0))


def test_the_same_picture_is_found_by_its_content_not_its_path(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder("clip")
    picture = make_pictures(((40, 50),))[0]
    picture.save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    counted = Counted(monkeypatch)
    cached = CachedEncoder(encoder, tmp_path / "cache")
    first = cached.encode_document([tmp_path / "a.png"])
    second = cached.encode_document([tmp_path / "b.png"])
    assert counted.items == 1
    assert torch.equal(values(first), values(second))
    make_pictures(((40, 50),), seed=1)[0].save(tmp_path / "a.png")  # other content under the old name
    third = cached.encode_document([tmp_path / "a.png"])
    assert counted.items == 2
    assert not torch.equal(values(first), values(third))


def test_two_models_of_one_name_share_nothing(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    one, other = loaded(tiny("bert")), loaded(tiny("bert"))
    assert exact_fingerprint(one) == exact_fingerprint(other)
    weight = next(parameter for name, parameter in other.named_parameters() if name.endswith("weight"))
    with torch.no_grad():
        # Less than bfloat16 can tell, so that `fingerprint` would call them equal.
        weight.view(-1)[-1] *= 1 + 1e-6
    assert exact_fingerprint(one) != exact_fingerprint(other)
    assert one.name_or_path == other.name_or_path
    CachedEncoder(one, tmp_path).encode_document(TEXTS)
    files = set(tmp_path.iterdir())
    CachedEncoder(other, tmp_path).encode_document(TEXTS)
    assert len(list(tmp_path.iterdir())) == 2 * len(files)


def test_whatever_changes_a_vector_changes_the_entry(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tiny("bert")
    plain = loaded(folder)
    entries = {CachedEncoder(plain, tmp_path).entry("document")}

    def different(cached: CachedEncoder, role: str = "document") -> None:
        entry = cached.entry(role)
        assert entry not in entries
        entries.add(entry)

    different(CachedEncoder(plain, tmp_path), "query")
    different(CachedEncoder(plain, tmp_path, bf16=True))
    different(CachedEncoder(loaded(folder, dtype="bfloat16"), tmp_path))
    different(CachedEncoder(loaded(folder, truncate_dim=8), tmp_path))
    different(CachedEncoder(loaded(folder, prompts={"document": "page: "}), tmp_path))
    different(CachedEncoder(loaded(folder, processor_kwargs={"model_max_length": 7}), tmp_path))
    heads = loaded(folder)
    heads.backbones()[""].model.config.num_attention_heads = 1  # the same weights, read otherwise
    different(CachedEncoder(heads, tmp_path))
    assert CachedEncoder(loaded(folder), tmp_path / "elsewhere").entry("document") in entries


def test_token_vectors(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = loaded(tiny("bert"), multi_vector=True)
    expected = encoder.encode_document(TEXTS)
    stored = CachedEncoder(encoder, tmp_path).encode_document(TEXTS)
    found = stored.take(np.arange(len(TEXTS)))
    assert expected.mask is not None
    assert stored.multi_vector
    assert found.mask is not None
    assert torch.equal(found.mask, expected.mask)
    torch.testing.assert_close(found.values, expected.values)


def test_chunks_end_at_the_same_items_whatever_was_there(
    tiny_encoder: Callable[[str], Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_cache, "TEXTS", 4)
    encoder = tiny_encoder("bert")
    texts = [f"page {number} " + "of the report " * (number % 5) for number in range(14)]
    whole = CachedEncoder(encoder, tmp_path / "whole").encode_document(texts)
    # A run that was stopped after its second chunk, and in the middle of writing the third.
    part = CachedEncoder(encoder, tmp_path / "part")
    part.encode_document(texts[:8])
    (file,) = (tmp_path / "part").glob("*.vectors")
    with file.open("ab") as end:
        end.write(b"SLvector half a block")
    resumed = CachedEncoder(encoder, tmp_path / "part").encode_document(texts)
    assert torch.equal(values(whole), values(resumed))
    (finished,) = (tmp_path / "whole").glob("*.vectors")
    assert file.read_bytes() == finished.read_bytes()


def test_people_can_read_what_an_entry_is(tiny_encoder: Callable[[str], Encoder], tmp_path: Path) -> None:
    CachedEncoder(tiny_encoder("bert"), tmp_path).encode_query(["a question"])
    (facts,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert facts["role"] == "query"
    assert facts["model"] == tiny_encoder("bert").name_or_path


def test_mistakes(tiny_encoder: Callable[[str], Encoder], tmp_path: Path) -> None:
    cached = CachedEncoder(tiny_encoder("bert"), tmp_path)
    with pytest.raises(DataError, match="nothing to embed"):
        cached.encode_document([])
    with pytest.raises(InputError, match="input 1"):
        cached.encode_document(["fine", None])


def test_what_a_killed_process_has_left_is_removed(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = CachedEncoder(loaded(tiny("bert")), tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = tmp_path / f".{encoder.entry('query')}.json.{ended.pid}.part"
    left.write_text("{")
    encoder.encode_query(TEXTS)
    assert not left.exists()
    assert (tmp_path / f"{encoder.entry('query')}.json").exists()
