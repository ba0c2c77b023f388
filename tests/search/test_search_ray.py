"""`--engine ray`: two workers of a local cluster, one killed on the way; the index is that of one process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.words_encoder import make_pages
from sightline.errors import ConfigError, InputError, SearchIndexError
from sightline.models.encoder import Encoder
from sightline.search.index import build_index
from sightline.search.ray_engine import RayEngine


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A small cluster of this process's own, whatever others run on this machine."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_worker_is_killed_and_the_index_is_that_of_one_process(
    cluster: None, tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    import ray

    model, pages = tiny("bert"), make_pages(5, 8)
    encoder = Encoder.from_pretrained(model, device="cpu")
    with RayEngine(encoder, str(model), workers=2, device="cpu") as engine:
        before = [ray.get(worker.process.remote()) for worker in engine.workers]

        def kill_one(done: int, total: int) -> None:
            if done == 8:
                os.kill(before[0], signal.SIGKILL)

        path = tmp_path / "ray"
        built = build_index(
            path, pages, encoder, batch_size=2, commit_seconds=0.0, engine=engine, progress=kill_one
        )
        after = [ray.get(worker.process.remote()) for worker in engine.workers]
        assert (after[0] != before[0], after[1] == before[1]) == (True, True)

        other = Encoder.from_pretrained(model, device="cpu")
        next(other.parameters()).data.add_(1.0)
        with pytest.raises(SearchIndexError, match="the workers load another model"):
            engine.check(other)

        # An image no worker can read is the page's fault, and said so.
        broken = [{"image": b"no image"}]
        with pytest.raises((InputError, SearchIndexError)):
            list(engine.embed(iter([broken]), 1.0))
    local = build_index(tmp_path / "local", pages, encoder, batch_size=2, progress=False)
    assert built.facts.version == local.facts.version
    rows, expected = (one.table._table.to_arrow().sort_by("position").to_pylist() for one in (built, local))
    for row, same in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row.pop("vector"), same.pop("vector"), atol=1e-6, rtol=0)
        assert row == same

    with pytest.raises(ConfigError, match="has 2 CPUs, which is too few for 3 workers"):
        RayEngine(encoder, str(model), workers=3).__enter__()


def test_without_ray_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    encoder: Any = None
    with pytest.raises(ConfigError, match=r"pip install 'sightline\[ray\]'"):
        RayEngine(encoder, "model").__enter__()
