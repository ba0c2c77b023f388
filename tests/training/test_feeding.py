"""The feed: the same batches however they are prepared, bounded bytes, and what happens when something dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from torch.utils.data import DataLoader

from sightline.errors import ConfigError, DataError, TrainingError
from sightline.losses.contrastive import InfoNCE
from sightline.training.arguments import TrainingArguments
from sightline.training.batches import BatchBuilder, Delivery
from sightline.training.feeding import make_loader
from sightline.training.rows import as_rows, choose_columns
from sightline.training.sampling import BatchOrder
from sightline.training.source import RowSource
from sightline.training.transport import PackedFeatures, PackedMicroBatches, ahead
from sightline.types import Cost, Features, Item
from support.fixtures import make_pictures

ROWS = [{"q": f"query {n}", "d": f"document {n % 7} of {n}"} for n in range(41)]


@pytest.fixture
def builder(make_encoder: Callable) -> BatchBuilder:
    encoder = make_encoder()
    return BatchBuilder(encoder.preprocessor, encoder.collate, choose_columns(("q", "d")), encoder.modalities)


def contents(delivery: Delivery) -> Any:
    """Everything in a delivery, comparable."""
    batch = delivery["batch"]
    if batch is None:
        return delivery["bad"]
    tensors = [
        (name, value.dtype, value.tolist())
        for micro_batch in batch.micro_batches
        for name, value in [*micro_batch.features.items(), ("indices", micro_batch.indices)]
        if isinstance(value, torch.Tensor)
    ]
    targets = {name: value.tolist() for name, value in batch.targets.items()}
    return batch.rows, batch.keys_N.tolist(), batch.columns_BC.tolist(), targets, tensors, delivery["bad"]


def loader_of(builder: BatchBuilder, rows: Any = ROWS, size: int = 8, **options: Any) -> DataLoader[Delivery]:
    order = options.pop("order", None) or BatchOrder(range(len(rows)), size, seed=3)
    return make_loader(as_rows(rows), builder, order, **options)


@pytest.mark.parametrize("feed_bytes", [1, 2**30])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_batches_are_the_same_however_they_are_prepared(
    builder: BatchBuilder, num_workers: int, feed_bytes: int
) -> None:
    rows = [row | {"label": n % 3, "score": [n / 7, 1.0]} for n, row in enumerate(ROWS)]
    rows[5], rows[30] = {"q": "no document"}, {"q": 7.5, "d": "not text", "label": 0, "score": [0, 0]}
    rows[11] = rows[12]  # equal items, perhaps in different parts of a batch
    builder = replace(builder, columns=choose_columns(("q", "d", "label", "score")))
    here = loader_of(builder, rows, num_workers=0)
    there = loader_of(builder, rows, num_workers=num_workers, feed_bytes=feed_bytes)
    epochs = []
    for epoch in range(2):
        for loader in (here, there):
            loader.batch_sampler.set_epoch(epoch)
        deliveries = [contents(delivery) for delivery in there]
        assert deliveries == [contents(delivery) for delivery in here]
        epochs.append(deliveries)
    assert epochs[0] != epochs[1]
    bad = [one.row for delivery in there for one in delivery["bad"]]
    assert sorted(bad) == [5, 30]
    there.dataset.close()


class Bulky:
    """Preprocesses a text to 100 kB."""

    def __call__(self, item: Item, **_: Any) -> Features:
        values = {
            "input_ids": torch.ones(4, dtype=torch.long),
            "x": torch.zeros(1, 100_000, dtype=torch.uint8),
        }
        return Features(values, "text", Cost(4), "text")


def test_bytes_that_wait_are_bounded(builder: BatchBuilder) -> None:
    from sightline.inputs.collate import collate

    builder = replace(builder, preprocess=Bulky(), collate=collate)
    rows = [{"q": f"{n}", "d": f"d{n}"} for n in range(60)]
    batch_bytes = 8 * 100_000
    for feed_bytes, fewest, most in ((1, 1, 1), (3 * batch_bytes, 2, 3), (2**30, 6, 6)):
        loader = loader_of(builder, rows, 4, num_workers=2, prefetch_factor=3, feed_bytes=feed_bytes)
        under_way = []
        for number, delivery in enumerate(loader):
            assert delivery["batch"].micro_batches.nbytes >= batch_bytes
            feed = loader.dataset
            if 2 <= number < 9:
                under_way.append(len(feed._under_way))
            assert feed.bytes_waiting <= max(feed_bytes, delivery["batch"].micro_batches.nbytes)
        assert fewest <= min(under_way)
        assert max(under_way) <= most
        feed.close()


class Marking:
    """Leaves a file for every text it is given."""

    def __init__(self, inner: Callable[..., Features], folder: Path) -> None:
        self.inner, self.folder = inner, folder

    def __call__(self, item: Item, **options: Any) -> Features:
        (self.folder / f"{item.parts[0].value} {time.monotonic_ns()}").touch()
        return self.inner(item, **options)


@pytest.mark.parametrize("wrapped", [False, True])
def test_skipped_batches_are_not_prepared(builder: BatchBuilder, tmp_path: Path, wrapped: bool) -> None:
    marking = replace(builder, preprocess=Marking(builder.preprocess, tmp_path))
    whole = [contents(delivery) for delivery in loader_of(builder)]
    loader = loader_of(marking, num_workers=2)
    feed = loader.dataset
    if wrapped:
        loader = Accelerator(cpu=True).prepare_data_loader(loader, device_placement=False)
    rest = skip_first_batches(loader, 3)
    assert [contents(delivery) for delivery in rest] == whole[3:]
    seen = {name.name.rsplit(" ", 1)[0] for name in tmp_path.iterdir()}
    skipped = {ROWS[number]["q"] for rows in list(BatchOrder(range(41), 8, seed=3))[:3] for number in rows}
    assert len(skipped) == 24
    assert not skipped & seen
    assert rest.dataset is feed
    feed.close()


def test_rows_out_of_order_are_prepared_all_the_same(builder: BatchBuilder) -> None:
    feed = loader_of(builder, num_workers=2).dataset
    expected = builder([(number, ROWS[number]) for number in (40, 2, 9)])
    assert contents(feed.__getitems__([40, 2, 9])) == contents(expected)
    feed.close()


class SomeEmpty(BatchOrder):
    """The order of a rank that has no rows in some batches."""

    def __iter__(self) -> Iterator[list[int]]:
        for number, rows in enumerate(super().__iter__()):
            yield rows if number % 3 else []


@pytest.mark.parametrize("feed_bytes", [1, 2**30])
def test_batches_without_rows(builder: BatchBuilder, feed_bytes: int) -> None:
    order = SomeEmpty(range(41), 4)
    there = loader_of(builder, order=order, num_workers=2, feed_bytes=feed_bytes)
    for _ in range(2):
        assert [contents(one) for one in there] == [contents(one) for one in loader_of(builder, order=order)]
    there.dataset.close()


def test_prepared_pages_are_kept(tiny_encoder: Callable, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, picture in zip(paths, make_pictures([(40 + n, 64) for n in range(6)]), strict=True):
        picture.save(path)
    rows = as_rows([{"q": f"query {number}", "page": path} for number, path in enumerate(paths)])
    encoder = tiny_encoder("qwen3_vl")
    found, kept = [], []
    for cache in (None, str(tmp_path / "cache"), str(tmp_path / "cache")):
        args = TrainingArguments(
            output_dir=str(tmp_path / "run"),
            preprocess_cache=cache,
            dataloader_num_workers=2,
            feed_bytes="1MB",
        )
        source = RowSource(encoder, InfoNCE(), args, {"": rows}, shows_progress=False)
        loader = source.loader(rows, BatchOrder(range(6), 3))
        found.append([contents(delivery) for delivery in loader])
        loader.dataset.close()
        kept.append(sorted(path.stat().st_ino for path in (tmp_path / "cache").rglob("*.features")))
    assert found[0] == found[1] == found[2]
    assert [len(files) for files in kept] == [0, 6, 6]
    assert kept[1] == kept[2]  # nothing was written again


@pytest.mark.parametrize(
    ("setting", "said"),
    [({"feed_bytes": "many"}, "feed_bytes"), ({"preprocess_cache_bytes": 0}, "preprocess_cache_bytes")],
)
def test_sizes_are_checked_at_once(tmp_path: Path, setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"{said} must be a number of bytes"):
        TrainingArguments(output_dir=str(tmp_path), **setting)


class Failing:
    """Fails at one text, in one of several ways."""

    def __init__(self, inner: Callable[..., Features], way: str) -> None:
        self.inner, self.way = inner, way

    def __call__(self, item: Item, **options: Any) -> Features:
        if item.parts[0].value == "query 17":
            if self.way == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("no such page")
        return self.inner(item, **options)


@pytest.mark.parametrize("feed_bytes", [1, 2**30])
@pytest.mark.parametrize(
    ("way", "kind", "said"),
    [
        ("dies", TrainingError, "a worker process died while rows .* memory"),
        ("raises", DataError, "row 17: ZeroDivisionError while preparing it: no such page"),
    ],
)
def test_failures_of_workers_are_reported(
    builder: BatchBuilder, way: str, kind: type[Exception], said: str, feed_bytes: int
) -> None:
    failing = replace(builder, preprocess=Failing(builder.preprocess, way))
    loader = loader_of(failing, num_workers=2, feed_bytes=feed_bytes)
    good = [contents(delivery) for delivery in loader_of(builder)]
    found = []
    with pytest.raises(kind, match=said):
        found += [contents(delivery) for delivery in loader]
    assert found == good[: len(found)]
    loader.dataset.close()


PROGRAM = """
import os, sys, time
from pathlib import Path
import torch
from sightline.training.batches import BatchBuilder
from sightline.training.feeding import make_loader
from sightline.training.rows import as_rows, choose_columns
from sightline.training.sampling import BatchOrder
from sightline.training.source import RowSource
from sightline.inputs.collate import collate
from sightline.types import Cost, Features

folder, ending = Path(sys.argv[1]), sys.argv[2]

def preprocess(item, **_):
    (folder / f"{os.getpid()} {item.parts[0].value}").touch()
    time.sleep(0.1)
    return Features({"input_ids": torch.ones(4, dtype=torch.long)}, "text", Cost(4), "text")

rows = as_rows([{"q": str(n)} for n in range(2000)])
builder = BatchBuilder(preprocess, collate, choose_columns(("q",)), ("text",))
loader = make_loader(rows, builder, BatchOrder(range(2000), 1), num_workers=2, prefetch_factor=400)
for number, _ in enumerate(loader):
    if number == 3:
        print("ready", flush=True)
        if ending == "interrupt":
            raise KeyboardInterrupt
        time.sleep(600)
"""


def run_program(folder: Path, ending: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), ending]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def alive(pid: int) -> bool:
    try:
        # A zombie is dead, too; it only waits for somebody to ask.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_workers_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    program = run_program(tmp_path, "killed")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n", program.communicate()[1]
    workers = {int(path.name.split()[0]) for path in tmp_path.iterdir()}
    assert workers
    assert all(alive(pid) for pid in workers)
    program.kill()
    program.communicate()
    deadline = time.monotonic() + 120
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)


def test_an_interrupted_program_ends_without_preparing_what_it_had_ordered(tmp_path: Path) -> None:
    program = run_program(tmp_path, "interrupt")
    _, errors = program.communicate(timeout=240)
    assert program.returncode in (1, 130, -signal.SIGINT)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1, errors
    assert len(list(tmp_path.iterdir())) < 200  # of the 800 ordered ahead


def test_the_clock_counts_waiting(builder: BatchBuilder) -> None:
    loader = loader_of(builder, num_workers=0)
    clock = loader.dataset.clock
    assert clock.waiting_share() == 0
    for _ in loader:
        pass
    assert 0 < clock.waiting_share() <= 1
    assert clock.waiting_share() == 0


def test_features_cross_in_one_buffer(builder: BatchBuilder) -> None:
    done = builder.prepare(list(enumerate(ROWS[:5])))
    features = list(done.features.values())
    packed = PackedFeatures(features)
    found = packed.unpack()
    assert [replace(one, values={}) for one in found] == [replace(one, values={}) for one in features]
    for one, other in zip(found, features, strict=True):
        assert one.values.keys() == other.values.keys()
        assert all(torch.equal(one.values[name], other.values[name]) for name in one.values)
    storages = {value.untyped_storage().data_ptr() for one in found for value in one.values.values()}
    assert len(storages) == 1
    assert packed.nbytes >= sum(value.nbytes for one in features for value in one.values.values())


def test_micro_batches_reach_the_device_in_order(builder: BatchBuilder) -> None:
    builder.limits.set(None, 2)
    micro_batches = builder(list(enumerate(ROWS[:9])))["batch"].micro_batches
    assert isinstance(micro_batches, PackedMicroBatches)
    moved = list(ahead(micro_batches, torch.device("cpu")))
    assert [one.indices.tolist() for one in moved] == [one.indices.tolist() for one in micro_batches]
    for device in [torch.device("cuda")] if torch.cuda.is_available() else []:
        for one, here in zip(ahead(micro_batches.pinned(), device), micro_batches, strict=True):
            assert one.features["input_ids"].device.type == "cuda"
            assert torch.equal(one.features["input_ids"].cpu(), here.features["input_ids"])
