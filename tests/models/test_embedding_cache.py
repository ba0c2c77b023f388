"""Embeddings kept on the disk: found again by content and model, never mixed up, never made twice."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    left = tmp_path / f".{encoder.entry('query')}.json.4194304.part"
    left.write_text("{")
    os.utime(left, (0, 0))
    encoder.encode_query(TEXTS)
    assert not left.exists()
    assert (tmp_path / f"{encoder.entry('query')}.json").exists()


class Meeting:
    """Processes that are threads: one of `Peers`, who notes when all of them met."""

    def __init__(
        self, rank: int, size: int, meet: threading.Barrier, told: list[Any], seen: list[str]
    ) -> None:
        self.rank, self.size, self._meet, self._told, self._seen = rank, size, meet, told, seen

    def exchange(self, value: Any, what: str) -> list[Any]:
        self._told[self.rank] = value
        self._meet.wait(30)
        found = list(self._told)
        self._meet.wait(30)
        if self.rank == 0:
            self._seen.append(what)
        return found

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.exchange(str(error), what)
            raise
        failed = [one for one in self.exchange(None, what) if one is not None]
        if failed:
            raise DataError(f"another failed while {what}: {failed[0]}")


def among(size: int, work: Callable[[Meeting], Any]) -> tuple[list[Any], list[str]]:
    """What each of some peers makes or raises, and what they met for."""
    meet, told, seen = threading.Barrier(size), [None] * size, []  # type: ignore[var-annotated]

    def run(rank: int) -> Any:
        try:
            return work(Meeting(rank, size, meet, told, seen))
        except (DataError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size))), seen


PAGES = [f"page {number} " + "of the report " * (number % 5) for number in range(14)]
EMBEDDING = "embedding for role 'document'"


def test_peers_meet_after_every_round_and_share_what_is_left(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank waits for the others no longer than a chunk takes, and what a stopped run has left is shared by all."""
    monkeypatch.setattr(embedding_cache, "TEXTS", 2)  # seven chunks
    encoders = [loaded(tiny("bert")) for _ in range(2)]
    told: list[list[int]] = [[], []]

    def work(peers: Meeting) -> StoredVectors:
        cached = CachedEncoder(encoders[peers.rank], tmp_path / "shared", peers=peers)
        return cached.encode_document(PAGES, lambda done, _: told[peers.rank].append(done))

    alone = CachedEncoder(encoders[0], tmp_path / "alone").encode_document(PAGES)
    part = CachedEncoder(encoders[0], tmp_path / "shared")
    part.encode_document([*PAGES[:2], *PAGES[4:6]])  # chunks 0 and 2, both of which would be the first one's
    described = (tmp_path / "shared" / f"{part.entry('document')}.json").stat().st_mtime_ns
    counted = Counted(monkeypatch)
    found, seen = among(2, work)
    assert all(torch.equal(values(one), values(alone)) for one in found)
    assert counted.items == 10
    assert seen.count(EMBEDDING) == 3  # rounds of the five chunks that are left
    for one, stops in zip(told, ([4, 10, 14], [8, 12]), strict=True):
        assert [
            stop for number, stop in enumerate(one) if stop in stops and stop not in one[:number]
        ] == stops
        assert one[-1] == 14
    assert (tmp_path / "shared" / f"{part.entry('document')}.json").stat().st_mtime_ns == described


def test_what_a_peer_fails_in_the_others_hear_after_the_round(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_cache, "TEXTS", 2)
    encoders = [loaded(tiny("bert")) for _ in range(2)]
    inner = Encoder.encode
    embedded: list[str] = []

    def encode(encoder: Encoder, inputs: Any, **options: Any) -> Any:
        if encoder is encoders[1]:
            raise ValueError("damaged")
        embedded.extend(str(one) for one in inputs)
        return inner(encoder, inputs, **options)

    def work(peers: Meeting) -> StoredVectors:
        return CachedEncoder(encoders[peers.rank], tmp_path, peers=peers).encode_document(PAGES)

    monkeypatch.setattr(Encoder, "encode", encode)
    found, seen = among(2, work)
    assert found == [f"DataError: another failed while {EMBEDDING}: damaged", "ValueError: damaged"]
    assert seen.count(EMBEDDING) == 1
    assert len(embedded) == 2, "one chunk, and none after the others had failed"


def test_one_process_alone_describes_the_vectors(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of several machines would else take each other's half-written file for that of a dead process."""
    encoders = [loaded(tiny("bert")) for _ in range(2)]
    wrote: list[str] = []
    monkeypatch.setattr(embedding_cache, "write_json", lambda path, _: wrote.append(path.name))
    entry = CachedEncoder(encoders[0], tmp_path).entry("document")
    among(2, lambda peers: CachedEncoder(encoders[peers.rank], tmp_path, peers=peers).encode_document(PAGES))
    assert wrote == [f"{entry}.json"]
