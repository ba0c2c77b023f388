"""The cache of prepared items: same features, bounded, shared by processes, and nothing damaged is believed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sightline.errors import ConfigError, MediaError
from sightline.inputs.cache import CachedPreprocessor, FeatureCache
from sightline.inputs.parse import parse
from sightline.models.encoder import Encoder
from sightline.models.preprocess import Preprocessor
from sightline.types import Cost, Features, Item
from support.fixtures import make_pictures


class Counting:
    """A preprocessor that counts its calls."""

    def __init__(self, inner: Callable[..., Features]) -> None:
        self.inner = inner
        self.calls = 0

    def __call__(self, item: Item, **options: Any) -> Features:
        self.calls += 1
        return self.inner(item, **options)


@pytest.fixture
def counted(tiny_encoder: Callable[[str], Encoder], tmp_path: Path) -> tuple[CachedPreprocessor, Counting]:
    preprocessor = tiny_encoder("qwen3_vl").preprocessor
    counting = Counting(preprocessor)
    cache = FeatureCache(tmp_path / "cache", 10**8)
    return CachedPreprocessor(counting, cache, preprocessor.fingerprint()), counting


def assert_same(found: Features, expected: Features) -> None:
    assert replace(found, values={}) == replace(expected, values={})
    assert list(found.values) == list(expected.values)
    for name, value in expected.values.items():
        assert found.values[name].dtype == value.dtype
        assert torch.equal(found.values[name], value)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_same_features_from_disk(
    counted: tuple[CachedPreprocessor, Counting], pictures: list[Image.Image], tmp_path: Path
) -> None:
    cached, counting = counted
    page = tmp_path / "page.png"
    pictures[2].save(page)
    values = [pictures[0], page, {"text": "words", "image": pictures[1]}]
    values.append([{"role": "user", "content": [{"type": "image", "image": pictures[0]}]}])
    items = [parse(value) for value in values]
    for role, prompt in (("query", None), ("query", "Find: "), ("document", None)):
        first = [cached(item, role=role, prompt=prompt) for item in items]
        for item, one in zip(items, first, strict=True):
            assert_same(one, counting.inner(item, role=role, prompt=prompt))
            assert_same(cached(item, role=role, prompt=prompt), one)
    assert counting.calls == len(items) * 3
    assert len(entries(cached.cache.folder)) == len(items) * 3


def test_what_is_not_kept(
    counted: tuple[CachedPreprocessor, Counting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, counting = counted
    for _ in range(2):
        cached(parse("only text"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    for _ in range(2):
        with pytest.raises(MediaError, match=r"broken\.png"):
            cached(parse(broken))
    monkeypatch.setattr(counting, "inner", lambda item, **_: Features({}, "g", Cost(1)))
    for _ in range(2):  # what an address shows may change
        cached(parse("https://example.org/page.png", modalities=("image",)))
    assert counting.calls == 6
    assert entries(cached.cache.folder) == []


def test_other_settings_are_other_entries(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    def fingerprint(name: str = "qwen3_vl", **arguments: Any) -> str:
        return Encoder.from_pretrained(
            tiny(name), device="cpu", processor_kwargs=arguments
        ).preprocessor.fingerprint()

    plain = fingerprint()
    assert fingerprint() == plain
    others = [fingerprint(max_pixels=4096), fingerprint(model_max_length=99), fingerprint("clip")]
    template = shutil.copytree(tiny("qwen3_vl"), tmp_path / "template")
    (template / "chat_template.jinja").write_text("{{ messages }}")
    others.append(Encoder.from_pretrained(template, device="cpu").preprocessor.fingerprint())
    assert len({plain, *others}) == 5
    used = Encoder.from_pretrained(tiny("qwen3_vl"), device="cpu")
    before = used.preprocessor.fingerprint()
    used.encode(["a text", "a longer text " * 500])  # leaves its length limit in the tokenizer
    assert used.preprocessor.fingerprint() == before == plain
    marked = replace(used.backbones()[""].processor, image_mark="<image>")
    assert Preprocessor({"": marked}).fingerprint() != plain


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_entries_are_prepared_again(
    counted: tuple[CachedPreprocessor, Counting], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cached, counting = counted
    item = parse(make_pictures()[0])
    whole = cached(item)
    (path,) = entries(cached.cache.folder)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"cut": content[:-1], "flipped": flipped, "empty": b""}[damage])
    assert_same(cached(item), whole)
    assert counting.calls == 2
    assert f"{path} is damaged" in caplog.text
    assert_same(cached(item), whole)
    assert counting.calls == 2


def features(number: int, size: int = 1000) -> Features:
    return Features(
        {"x": torch.full((size,), number % 256, dtype=torch.uint8)}, "g", Cost(number), ("a", "b"), 3
    )


def test_the_folder_stays_within_its_limit(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 50_000)
    abandoned = tmp_path / "00" / ".1-2-name"
    abandoned.parent.mkdir()
    abandoned.write_bytes(b"from a writer that was killed")
    os.utime(abandoned, (0, 0))
    for number in range(200):
        name = f"{number:064x}"[::-1]
        cache.put(name, features(number))
        os.utime(cache._path(name), (number + 1, number + 1))
        used = cache.get("0" * 64)  # the first one is used all the time, so it stays
        assert used is not None
        assert sum(path.stat().st_size for path in entries(tmp_path)) <= 50_000
    assert_same(used, features(0))
    left = {path.stem for path in entries(tmp_path)}
    assert 20 < len(left) < 50
    assert f"{199:064x}"[::-1] in left
    assert f"{1:064x}"[::-1] not in left
    assert not abandoned.exists()


def write_for_ever(folder: Path, seed: int) -> None:
    # A forked process has none of its parent's OpenMP threads, and would wait for them.
    torch.set_num_threads(1)
    cache = FeatureCache(folder, 2_000_000)
    number = seed
    while True:
        number = (number * 1103515245 + 12345) % 40
        cache.put(f"{number:064x}"[::-1], features(number, 100_000))


def test_writers_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2_000_000)
    context = multiprocessing.get_context("fork")
    seen = 0
    for attempt in range(6):
        writers = [context.Process(target=write_for_ever, args=(tmp_path, seed)) for seed in (1, 2)]
        for writer in writers:
            writer.start()
        patience = time.monotonic() + 60
        while not any(path.is_file() for path in tmp_path.rglob("*")) and time.monotonic() < patience:
            time.sleep(0.001)
        time.sleep(0.02 * attempt)
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            writer.join()
        for number in range(40):
            found = cache.get(f"{number:064x}"[::-1])
            if found is not None:
                assert_same(found, features(number, 100_000))
                seen += 1
    assert seen


def test_a_folder_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cache folder cannot be made"):
        FeatureCache(tmp_path / "file" / "cache", 1000)
    cache = FeatureCache(tmp_path / "cache", 10**6)
    (cache.folder / "ab").write_text("in the way")
    for name in ("ab1", "ab2"):
        cache.put(name, features(1))
        assert cache.get(name) is None
    assert caplog.text.count("preparing goes on without") == 1
